/**
 * The lab as a person uses it, in headless Chromium: the built page, the real server, a mail server on loopback. Screenshots
 * of every page, light and dark, are left in bench/out/lab for a person to look at.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core'
import { SMTPServer } from 'smtp-server'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { patientContext, search, violations } from './lab-pages.js'
import { findChromium } from '../scripts/chromium.mjs'
import { scratch, until, writeRun } from './lab.js'
import { readRuns } from '../src/runs/index.js'
import { sentences, tinyConfig, writeRandom, writeTinyLlama } from './tiny.js'
import { weftWith } from './weft.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const pictures = join(root, 'bench', 'out', 'lab')
const mails: string[] = []
const smtp = new SMTPServer({
  authOptional: true,
  disabledCommands: ['STARTTLS', 'AUTH'],
  onData: (stream, _session, done) => {
    let text = ''
    stream.on('data', (chunk: Buffer) => (text += String(chunk)))
    stream.on('end', () => {
      mails.push(text)
      done()
    })
  },
})
const home = scratch('lab-page')
let server: ChildProcess
let browser: Browser
let base = ''
const curve = (from: number): object[] =>
  Array.from({ length: 120 }, (_, i) => ({ step: i + 1, loss: from / (1 + i / 20), learningRate: 1e-3 }))

const startServer = async (smtpPort: number): Promise<string> => {
  const argv = [
    'dist/cli/main.js',
    'lab',
    '--port',
    '0',
    '--runs',
    home.folder,
    '--models',
    join(home.folder, 'models'),
    '--json',
  ]
  server = spawn(process.execPath, argv, {
    cwd: root,
    env: { ...process.env, SMTP_URL: `smtp://127.0.0.1:${smtpPort}`, SMTP_FROM: 'lab@example.org' },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let out = ''
  server.stdout!.on('data', (chunk: Buffer) => (out += String(chunk)))
  await until(() => /"url": "([^"]+)"/.test(out))
  return /"url": "([^"]+)"/.exec(out)![1].replace(/\/$/, '')
}

beforeAll(async () => {
  mkdirSync(pictures, { recursive: true })
  writeRun(home.folder, 'first', { command: 'adapt', config: { rank: 4 } }, curve(4))
  writeRun(home.folder, 'second', { command: 'adapt', config: { rank: 8 } }, curve(3))
  await writeTinyLlama(join(home.folder, 'models', 'tiny'))
  const smtpPort = await new Promise<number>((done) => {
    const listening = smtp.listen(0, '127.0.0.1', () => done((listening.address() as { port: number }).port))
  })
  base = await startServer(smtpPort)
  browser = await chromium.launch({
    executablePath: findChromium(),
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'],
  })
})

afterAll(async () => {
  await browser?.close()
  server?.kill()
  await new Promise<void>((done) => smtp.close(() => done()))
  home.remove()
})

interface Visit {
  readonly page: Page
  readonly context: BrowserContext
  readonly complaints: string[]
}

const visit = async (path: string, options: Parameters<Browser['newContext']>[0] = {}): Promise<Visit> => {
  const context = await patientContext(browser, { viewport: { width: 1200, height: 900 }, ...options })
  const page = await context.newPage()
  const complaints: string[] = []
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()))
  page.on('pageerror', (error) => complaints.push(String(error)))
  await page.goto(base + path)
  return { page, context, complaints }
}

const places = [
  ['papers', '/'],
  ['paper', '/papers/lora'],
  ['runs', '/runs'],
  ['run', '/runs/first'],
  ['compare', '/compare?runs=first,second'],
  ['playground', '/playground'],
  ['subscribe', '/subscribe'],
] as const

describe('the lab', () => {
  it.each(places)(
    '%s: no accessibility violation, light and dark; nothing wider than a phone; no complaint',
    async (name, path) => {
      for (const colorScheme of ['light', 'dark'] as const) {
        const { page, context, complaints } = await visit(path, { colorScheme })
        await page.waitForSelector('#app h1')
        await page.waitForLoadState('networkidle').catch(() => undefined)
        expect(await violations(page)).toEqual([])
        expect(complaints).toEqual([])
        await page.screenshot({ path: join(pictures, `${name}-${colorScheme}.png`) })
        await context.close()
      }
      const { page, context } = await visit(path, { viewport: { width: 400, height: 800 } })
      await page.waitForSelector('#app h1')
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(400)
      await page.screenshot({ path: join(pictures, `${name}-phone.png`) })
      await context.close()
    },
  )

  it('finds a paper by meaning as one types, opens it, and votes for it once', async () => {
    const { page, context } = await visit('/')
    await search(page, 'average of checkpoints')
    const first = page.locator('.card h3 a').first()
    const title = (await first.textContent())!
    await first.click()
    await page.waitForURL(/\/papers\//)
    await expect.poll(() => page.locator('h1').textContent()).toBe(title)
    const vote = page.locator('.heading .vote')
    await vote.click()
    await page.waitForSelector('.heading .vote[aria-pressed="true"]')
    await page.reload()
    await page.waitForSelector('.heading .vote[aria-pressed="true"]')
    await expect.poll(async () => (await vote.textContent())!.trim()).toBe('1')
    await vote.click()
    await page.waitForSelector('.heading .vote[aria-pressed="false"]')
    await context.close()
  })

  it('reads without JavaScript', async () => {
    const { page, context } = await visit('/papers/mos', { javaScriptEnabled: false })
    expect(await page.locator('h1').textContent()).toContain('MoS')
    expect(await page.locator('table tbody tr').count()).toBeGreaterThan(0)
    await context.close()
  })

  it('starts the quick reproduction of LoRA and shows what it measured; verdicts wait for a full run', async () => {
    const { page, context } = await visit('/papers/lora')
    await page.getByRole('button', { name: 'Run, quick form' }).click()
    await page.waitForSelector('.job [data-state="finished"]')
    await page.waitForSelector('section[aria-labelledby="claims"] .facts')
    const claims = page.locator('section[aria-labelledby="claims"]')
    expect(await claims.locator('.facts').textContent()).toContain('quick form: verdicts need a full run')
    expect(await claims.locator('tbody [data-state="holds"]').count()).toBe(0)
    expect(await claims.locator('tbody td', { hasText: 'times' }).count()).toBeGreaterThan(0)
    await page.screenshot({ path: join(pictures, 'paper-measured.png'), fullPage: true })
    await context.close()
  })

  it('compares two runs: one plot a metric, the settings that differ', async () => {
    const { page, context } = await visit('/runs')
    await page.getByLabel('Compare first').check()
    await page.getByLabel('Compare second').check()
    await page.getByRole('link', { name: /^Compare/ }).click()
    await page.waitForURL(/compare/)
    await page.waitForSelector('.uplot')
    expect(await page.locator('.uplot').count()).toBeGreaterThanOrEqual(1)
    await expect.poll(() => page.locator('tr', { hasText: 'rank' }).textContent()).toContain('48')
    await context.close()
  })

  it('shows a merge: its recipe, heat maps by layer, the loss along its paths', async () => {
    const models = ['tiny', 'one', 'two'].map((name) => join(home.folder, 'models', name))
    const data = join(home.folder, 'data.jsonl')
    await writeRandom(models[1], tinyConfig(320), 1)
    await writeRandom(models[2], tinyConfig(320), 2)
    writeFileSync(
      data,
      sentences
        .slice(0, 8)
        .map((text) => JSON.stringify({ text }))
        .join('\n'),
    )
    const [tiny, ...others] = models
    const call = ['merge', '--method', 'task_arithmetic', '--base', tiny, '--weight', '0.5,0.5', ...others]
    const out = join(home.folder, 'models', 'merged')
    const flags = ['--out', out, '--analyse', '--data', data]
    expect(await weftWith({ WEFT_HOME: home.folder }, [...call, ...flags])).toMatchObject({ code: 0 })
    const [run] = (await readRuns(home.folder)).filter(({ command }) => command === 'merge')
    await until(async () => (await fetch(`${base}/api/runs/${run.id}`)).ok)
    const { page, context, complaints } = await visit(`/runs/${run.id}`)
    await page.waitForSelector('.cell')
    const titles = await page.locator('.plot figcaption').allTextContents()
    expect(titles).toContain('Agreement of the changes in sign')
    expect(titles).toContain('Loss from the merged model to each model')
    expect(await page.locator('.plot .cell').count()).toBeGreaterThan(20)
    expect(await page.getByLabel('recipe.yaml').textContent()).toMatch(/merge_method: task_arithmetic/)
    expect(await violations(page)).toEqual([])
    expect(complaints).toEqual([])
    await page.screenshot({ path: join(pictures, 'merge.png'), fullPage: true })
    await context.close()
  })

  it('compares adapters of one base: their curves, and score against size', async () => {
    const arms = [
      ['lora', 3000, 2.5],
      ['full', 90_000, 2.4],
      ['ia3', 200, 3.1],
    ] as const
    const series = arms.map(([name, x, y]) => ({ name, points: [{ x, y }] }))
    const pareto = {
      kind: 'pareto',
      title: 'Held-out loss by trained numbers',
      x: { label: 'trained numbers', log: true },
      y: { label: 'loss' },
      series,
    }
    const rows = arms.flatMap(([name, , y]) =>
      [1, 2, 3].map((step) => ({ step, series: name, loss: y + 1 / step })),
    )
    const folder = writeRun(home.folder, 'comparison', { command: 'adapt', subject: 'compare' }, rows)
    writeFileSync(join(folder, 'plots.json'), JSON.stringify([pareto]))
    await until(async () => (await fetch(`${base}/api/runs/comparison`)).ok)
    const { page, context } = await visit('/runs/comparison')
    await page.waitForSelector('.plot circle')
    expect(await page.locator('.plot circle').count()).toBe(3)
    expect(await page.locator('.plot .legend li').allTextContents()).toEqual([' lora', ' full', ' ia3'])
    await expect.poll(() => page.locator('.plots').first().textContent()).toMatch(/lora.*full.*ia3/s)
    await page.screenshot({ path: join(pictures, 'comparison.png'), fullPage: true })
    await context.close()
  })

  it('generates in the playground, with probabilities and alternatives, and shows a tensor', async () => {
    const { page, context } = await visit('/playground')
    await page.getByLabel('Tokens').fill('6')
    await page.getByLabel('Prompt').fill('The cat')
    await page.getByRole('button', { name: 'Generate' }).click()
    await page.waitForFunction(() => /\d+ tokens? in/.test(document.body.textContent ?? ''))
    expect(await page.locator('.token').count()).toBeGreaterThan(0)
    await page.locator('.token').first().click()
    await expect.poll(() => page.locator('.alternatives tbody tr').count()).toBeGreaterThan(1)
    await page.getByText('Tensors', { exact: true }).click()
    await page.getByRole('button', { name: 'model.layers.0.self_attn.q_proj.weight' }).click()
    await page.getByText('Singular values').waitFor()
    await page.screenshot({ path: join(pictures, 'playground-used.png'), fullPage: true })
    await context.close()
  })

  it('subscribes by double opt-in and receives the digest', async () => {
    const { page, context } = await visit('/subscribe')
    await page.getByLabel('E-mail').fill('reader@example.org')
    await page.getByRole('button', { name: 'Subscribe' }).click()
    await page.getByText('A mail is on its way').waitFor()
    await until(() => mails.length > 0)
    const link = /https?:\/\/[^\s"<>]*\/confirm\/[A-Za-z0-9_-]+/.exec(mails[0].replace(/=\r?\n/g, ''))![0]
    await page.goto(base + new URL(link).pathname)
    await page.getByRole('button', { name: 'Confirm' }).click()
    await page.getByText('Subscribed').first().waitFor()
    const ended = new Date().toISOString()
    writeRun(home.folder, 'news', { started: ended, ended })
    await until(async () => (await fetch(`${base}/api/runs/news`)).ok)
    await page.goto(`${base}/subscribe`)
    const sent = await page.evaluate(async () => {
      const token = document.querySelector<HTMLMetaElement>('meta[name="weft-token"]')!.content
      const headers = { 'content-type': 'application/json', 'x-weft-token': token }
      return (await fetch('/api/digest', { method: 'POST', headers, body: '{}' })).json()
    })
    expect(sent).toEqual({ sent: 1 })
    await until(() => mails.length > 1)
    expect(mails[1]).toContain('List-Unsubscribe')
    await context.close()
  })

  it('is used by keyboard alone: skip link, search, a paper, its vote', async () => {
    const { page, context } = await visit('/')
    await page.waitForSelector('.card')
    await page.keyboard.press('Tab')
    expect(await page.evaluate(() => document.activeElement?.textContent)).toContain('Skip')
    await page.keyboard.press('Enter')
    await page.keyboard.press('Tab')
    await expect.poll(() => page.evaluate(() => document.activeElement?.id)).toBe('q')
    await page.keyboard.type('permutation')
    await page.waitForFunction(() => document.querySelector('.count')?.textContent?.includes('“permutation”'))
    const focused = (): Promise<string> => page.evaluate(() => document.activeElement?.className ?? '')
    for (let i = 0; i < 12 && (await focused()) !== 'vote'; i++) await page.keyboard.press('Tab')
    await page.keyboard.press('Space')
    await page.waitForSelector('.vote[aria-pressed="true"]')
    await page.keyboard.press('Tab')
    await page.keyboard.press('Enter')
    await page.waitForURL(/\/papers\//)
    await context.close()
  })

  it('shows the points of a running run as they are recorded', async () => {
    const folder = writeRun(
      home.folder,
      'live',
      { status: 'running', ended: undefined },
      curve(2).slice(0, 5),
    )
    await until(async () => (await fetch(`${base}/api/runs/live`)).ok)
    const { page, context } = await visit('/runs/live')
    await page.waitForSelector('.uplot')
    const { appendFileSync } = await import('node:fs')
    appendFileSync(join(folder, 'metrics.jsonl'), `${JSON.stringify({ step: 6, loss: 0.125 })}\n`)
    await page.waitForFunction(() =>
      [...document.querySelectorAll('figure')].some((f) => f.ariaLabel?.includes('0.125')),
    )
    await context.close()
  })

  it('has any number of tabs open at once, and each hears what happens', async () => {
    const context = await patientContext(browser)
    const pages: Page[] = []
    for (let i = 0; i < 9; i++) {
      const page = await context.newPage()
      await page.goto(`${base}/runs`)
      await page.waitForSelector('tbody tr')
      pages.push(page)
    }
    writeRun(home.folder, 'heard', { started: new Date().toISOString() })
    for (const page of pages) await page.getByRole('link', { name: 'heard' }).waitFor()
    await context.close()
  })

  it('a hidden page keeps no stream, and reads again when it is seen', async () => {
    const context = await patientContext(browser)
    const page = await context.newPage()
    await page.addInitScript(() => {
      const state = globalThis as unknown as { streams: EventSource[]; hide(hidden: boolean): void }
      state.streams = []
      const Source = globalThis.EventSource
      globalThis.EventSource = class extends Source {
        constructor(url: string | URL) {
          super(url)
          state.streams.push(this)
        }
      }
      let isHidden = false
      Object.defineProperty(document, 'hidden', { get: () => isHidden })
      state.hide = (hidden) => {
        isHidden = hidden
        document.dispatchEvent(new Event('visibilitychange'))
      }
    })
    const hide = (hidden: boolean): Promise<void> =>
      page.evaluate((value) => (globalThis as unknown as { hide(hidden: boolean): void }).hide(value), hidden)
    const open = (): Promise<number> =>
      page.evaluate(
        () =>
          (globalThis as unknown as { streams: EventSource[] }).streams.filter(
            ({ readyState }) => readyState !== EventSource.CLOSED,
          ).length,
      )
    await page.goto(`${base}/runs`)
    await until(async () => (await open()) === 1)
    await hide(true)
    await until(async () => (await open()) === 0)
    // What was being read when it was hidden comes to its end.
    await new Promise((done) => setTimeout(done, 1500))
    writeRun(home.folder, 'missed', { started: new Date().toISOString() })
    await until(async () => (await fetch(`${base}/api/runs/missed`)).ok)
    await new Promise((done) => setTimeout(done, 1500))
    expect(await page.getByRole('link', { name: 'missed' }).count()).toBe(0)
    await hide(false)
    await page.getByRole('link', { name: 'missed' }).waitFor()
    await until(async () => (await open()) === 1)
    await context.close()
  })

  it('names on every page what it could not use, without a violation', async () => {
    const folder = writeRun(home.folder, 'broken')
    writeFileSync(join(folder, 'run.json'), '{"subject":5}')
    await until(async () => (await (await fetch(`${base}/api/lab`)).text()).includes('broken'))
    const { page, context, complaints } = await visit('/runs')
    await page.waitForSelector('tbody tr')
    await page.locator('aside.left-out summary').click()
    await expect.poll(() => page.locator('aside.left-out').textContent()).toContain('run.json: command')
    expect(await violations(page)).toEqual([])
    expect(complaints).toEqual([])
    await page.screenshot({ path: join(pictures, 'left-out.png') })
    await context.close()
  })
})
