import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type BrowserPage, openBrowser } from './browser.js'

let page: BrowserPage
beforeAll(async () => {
  const job = new URL('./job.worker.ts', import.meta.url)
  page = await openBrowser(new URL('./worker.browser.entry.ts', import.meta.url), { job })
})
afterAll(() => page.close())

describe('the worker host in a page', () => {
  it('leaves the page free while the worker runs', async () => {
    const { ticks, runs } = await page.run<{ ticks: number; runs: number }>('ticks')
    expect(runs).toBe(2)
    expect(ticks).toBeGreaterThan(5)
  })

  it('stops between runs when aborted', async () => {
    const { message, events } = await page.run<{ message: string; events: number }>('abort')
    expect(message).toBe('enough')
    expect(events).toBeLessThan(10)
  })

  it('opens the sessions of compile in the worker', async () => {
    expect(await page.run('sessions')).toEqual([5])
  })
})
