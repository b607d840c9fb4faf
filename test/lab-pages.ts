/** @file What tests do on the lab's pages: look for what axe finds wrong, search papers. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { Browser, BrowserContext, BrowserContextOptions, Page } from 'playwright-core'

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** A context whose pages wait for what hangs, not for what is slow on a busy machine. */
export const patientContext = async (
  browser: Browser,
  options?: BrowserContextOptions,
): Promise<BrowserContext> => {
  const context = await browser.newContext(options)
  context.setDefaultTimeout(300_000)
  return context
}

/** What axe finds wrong, by rule and place. The page's policy lets nothing be injected, so axe runs as the tool's own script. */
export const violations = async (page: Page): Promise<string[]> => {
  await page.evaluate(axe)
  return page.evaluate(async () => {
    const { axe } = globalThis as unknown as {
      axe: { run(): Promise<{ violations: { id: string; nodes: { target: string[] }[] }[] }> }
    }
    const { violations } = await axe.run()
    return violations.flatMap(({ id, nodes }) => nodes.map(({ target }) => `${id}: ${target.join(' ')}`))
  })
}

/** Types a search and waits for its results. */
export const search = async (page: Page, words: string): Promise<void> => {
  await page.waitForSelector('.card')
  await page.getByLabel('Search papers').pressSequentially(words)
  await page.waitForFunction((q) => document.querySelector('.count')?.textContent?.includes(`“${q}”`), words)
}
