import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { createRun } from '../runs/index.js'
import { clip, wrap, wrappedTable } from './columns.js'
import { run } from './program.js'
import { maxOf } from '../tensor/numbers.js'

const home = mkdtempSync(join(tmpdir(), 'weft-research-'))
afterAll(() => rmSync(home, { recursive: true, force: true }))

const weft = async (
  argv: string[],
  { columns = 80, env = {} }: { columns?: number; env?: Record<string, string> } = {},
): Promise<{ code: number; out: string; err: string }> => {
  let [out, err] = ['', '']
  const code = await run(argv, {
    stdout: { write: (text) => (out += text), columns },
    stderr: { write: (text) => (err += text) },
    env: { WEFT_HOME: home, ...env },
    signal: new AbortController().signal,
  })
  return { code, out, err }
}

/** The longest line that is not an address or a path, which a terminal should not break. */
const widest = (text: string): number =>
  maxOf(text.split('\n').map((line) => (/https?:|\//.test(line) ? 0 : line.length)))

describe('weft papers', () => {
  it('lists every paper within 80 columns, and within 100 with its family', async () => {
    const { code, out } = await weft(['papers'])
    expect(code).toBe(0)
    expect(widest(out)).toBeLessThanOrEqual(80)
    expect(out.trim().split('\n').length).toBeGreaterThanOrEqual(2 + 64)
    expect(out).toMatch(/^masa +2025-08-06 +planned +Share Your Attention/m)
    const wide = await weft(['papers', '--family', 'merge'], { columns: 100 })
    expect(widest(wide.out)).toBeLessThanOrEqual(100)
    expect(wide.out).toMatch(/^pleas +2024-07-02 +merge +(works|not measured yet) /m)
    expect(wide.out).not.toMatch(/masa/)
  })

  it('finds by meaning, in order of it', async () => {
    const { out } = await weft([
      'papers',
      'quick',
      'lookup',
      'of',
      'lookalike',
      'species',
      '--json',
      '--limit',
      '3',
    ])
    const found = JSON.parse(out) as { id: string }[]
    expect(found).toHaveLength(3)
    expect(found[0].id).toBe('eet')
  })

  it('shows one paper by either id: facts, summary, claims', async () => {
    const { out } = await weft(['papers', 'bitstack'])
    expect(widest(out)).toBeLessThanOrEqual(80)
    expect(out).toMatch(/^BitStack: Fine-Grained/)
    expect(out).toMatch(/^state +planned$/m)
    expect(out).toMatch(/22\.3 points against/)
    expect((await weft(['papers', '2410.23918'])).out).toBe(out)
    expect(JSON.parse((await weft(['papers', 'lora', '--json'])).out)).toMatchObject({
      id: 'lora',
      reproducible: true,
      source: 'src/adapt/lora/lora.ts',
    })
  })

  it('says so when nothing fits', async () => {
    const { out, code } = await weft(['papers', '--state', 'short', '--family', 'curate'])
    expect([code, out]).toEqual([0, 'No paper fits. See all of them: weft papers\n'])
    expect((await weft(['papers', '--state', 'broken'])).code).toBe(2)
  })

  it('syncs from the addresses it is given, and lists what was found', async () => {
    const paper = {
      id: '2603.00007',
      title: 'A zebra',
      summary: 'Stripes.',
      publishedAt: new Date(),
      authors: [],
    }
    const server = createServer((request, response) =>
      response.end(request.url!.startsWith('/daily') ? JSON.stringify([{ paper }]) : '<feed/>'),
    )
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const env = { WEFT_DAILY_PAPERS_URL: `${base}/daily` }
    const { code, out } = await weft(['papers', 'sync', '--days', '1', '--arxiv-url', `${base}/arxiv`], {
      env,
    })
    server.close()
    expect([code, out]).toEqual([0, '1 new paper, 0 known. See them: weft papers --state listed\n'])
    expect((await weft(['papers', '--state', 'listed'])).out).toMatch(/^2603\.00007 .* listed +A zebra$/m)
    expect((await weft(['papers'])).out).not.toMatch(/zebra/)
    expect((await weft(['papers', 'zebra'])).out).toMatch(/2603\.00007/)
  })
})

describe('weft reproduce', () => {
  it('prints arms and verdicts within 80 columns, and keeps the run, which the catalogue shows', async () => {
    const { code, out, err } = await weft(['reproduce', 'lora', '--quick', '--seeds', '1'])
    expect(err).toMatch(/reproduce lora/)
    expect(code).toBe(0)
    expect(widest(out)).toBeLessThanOrEqual(80)
    expect(out).toMatch(/^lora, quick: 1 seed, /)
    expect(out).toMatch(/^claim +paper +here +verdict$/m)
    const folder = /^Kept in (.*)$/m.exec(out)![1]
    expect(readdirSync(folder).sort()).toEqual(['metrics.jsonl', 'run.json'])
    const page = (await weft(['papers', 'lora'])).out
    expect(page).toMatch(/Measured \(quickly\) in \d{8}-\d{6}-reproduce-lora/)
    expect(widest(page)).toBeLessThanOrEqual(80)
  })

  it('refuses, before anything runs, unknown papers, planned ones and one folder for two', async () => {
    expect((await weft(['reproduce', 'lorra'])).err).toMatch(/UnknownPaper.*\n +Nearest: lora/)
    expect((await weft(['reproduce', 'lora', 'masa'])).err).toMatch(/NotReproducible: masa is planned/)
    expect((await weft(['reproduce', 'lora', 'lora', '--out', join(home, 'x')])).code).toBe(2)
  })
})

describe('weft runs', () => {
  it('lists, shows, compares and prunes', async () => {
    const env = { WEFT_HOME: join(home, 'own') }
    for (const [lr, loss] of [
      [0.1, 2],
      [0.01, 1],
    ]) {
      const run = await createRun(env.WEFT_HOME, {
        command: 'train',
        subject: 'gpt2',
        config: { lr },
        argv: ['train', 'x'],
      })
      run.log({ loss }, { step: 1 })
      await run.artifact('model/config.json', '{}')
      await run.finish(lr > 0.05 ? 'failed' : 'finished', {
        error: lr > 0.05 ? new Error('no luck') : undefined,
      })
    }
    const list = await weft(['runs'], { env })
    expect(widest(list.out)).toBeLessThanOrEqual(80)
    expect(list.out).toMatch(/^\d{8}-\d{6}-train-gpt2(-2)? +failed +0s$/m)
    const ids = (
      JSON.parse((await weft(['runs', '--json', '--status', 'finished'], { env })).out) as { id: string }[]
    ).map(({ id }) => id)
    expect(ids).toHaveLength(1)
    const page = await weft(['runs', ids[0]], { env })
    expect(page.out).toMatch(/^command +weft train x$/m)
    expect(page.out).toMatch(/^loss +1$/m)
    expect(page.out).toMatch(/Files: model\/config\.json/)
    const all = JSON.parse((await weft(['runs', '--json'], { env })).out) as { id: string }[]
    const other = all.map(({ id }) => id).find((id) => id !== ids[0])!
    const diff = await weft(['runs', 'diff', other, ids[0]], { env })
    expect(diff.out).toMatch(/^lr +0\.1 +0\.01$/m)
    expect(diff.out).toMatch(/^loss +2 +1 +-1$/m)
    expect((await weft(['runs', 'prune'], { env })).code).toBe(2)
    expect((await weft(['runs', 'prune', '--status', 'failed', '--dry-run'], { env })).out).toMatch(
      /Would remove 1 run:/,
    )
    expect((await weft(['runs', 'prune', '--before', '1d'], { env })).out).toBe('Removed 0 runs.\n')
    await weft(['runs', 'prune', '--status', 'failed'], { env })
    expect((JSON.parse((await weft(['runs', '--json'], { env })).out) as object[]).length).toBe(1)
  })

  it.each([
    [['runs', 'diff', 'a'], /compares two runs/],
    [['runs', 'nothing'], /UnknownRun/],
    [['runs', 'a', 'b'], /takes no "b"/],
    [['runs', 'prune', '--before', 'soon'], /expected a date/],
  ])('refuses %j', async (argv, message) => {
    const { code, err } = await weft(argv)
    expect(err).toMatch(message)
    expect(code).toBe(2)
  })

  it('of an empty home says that there are none', async () => {
    const { out } = await weft(['runs'], { env: { WEFT_HOME: join(home, 'empty') } })
    expect(out).toMatch(/^No runs in /)
  })
})

describe('columns', () => {
  it('never exceed their width, and lose no word', () => {
    const words = 'one two supercalifragilistic three'
    for (const width of [4, 9, 20, 80]) {
      expect(maxOf(wrap(words, width).map(({ length }) => length))).toBeLessThanOrEqual(width)
      expect(wrap(words, width).join('').replace(/ /g, '')).toBe(words.replace(/ /g, ''))
    }
    expect(wrap('', 5)).toEqual([''])
    expect(clip('abcdef', 4)).toBe('abc…')
    const text = wrappedTable(
      ['a', 'b'],
      [
        ['x'.repeat(50), 'short'],
        ['y', words],
      ],
      40,
    )
    expect(maxOf(text.split('\n').map(({ length }) => length))).toBeLessThanOrEqual(40)
  })
})
