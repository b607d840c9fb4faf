import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { scratch, until, writeRun } from '../../test/lab.js'
import type { CheckpointList, LabInfo, Metrics, PaperList, RunList, RunPage } from './api.js'
import { openLab } from './lab.js'
import type { Lab } from './lab.js'

const { folder, remove } = scratch('left-out')
const home = join(folder, 'runs')
const secret = join(folder, 'secret.json')
const warnings: string[] = []
let lab: Lab

const pipe = (...path: string[]): void => void execFileSync('mkfifo', [join(...path)])

/** A finished reproduction of LoRA with `result` as it stands. */
const reproduction = (id: string, result: unknown, started: string): string =>
  writeRun(home, id, { command: 'reproduce', subject: 'lora', result: result as never, started })

const claim = { text: 'a higher rank is better', verdict: 'holds', mean: 0.9, spread: 0.01, unit: 'of lora2' }
const sound = {
  paper: 'lora',
  quick: false,
  seeds: [0, 1, 2],
  arms: {},
  claims: [claim],
  plots: [],
  seconds: 1,
}

/** A file a kind of record that would have frozen the lab, in one folder each. */
const breakEverything = (): void => {
  writeRun(home, 'subject', { subject: 5 as never })
  writeRun(home, 'pid', { process: { host: 'h', pid: 'x' as never } })
  for (let i = 0; i < 6; i++) {
    mkdirSync(join(home, `pipe-${i}`))
    pipe(home, `pipe-${i}`, 'run.json')
  }
  const links = writeRun(home, 'links')
  for (const name of ['metrics.jsonl', 'plots.json', 'log.txt']) {
    rmSync(join(links, name), { force: true })
    symlinkSync(secret, join(links, name))
  }
  const pipes = writeRun(home, 'pipes')
  for (const name of ['metrics.jsonl', 'plots.json', 'log.txt', 'recipe.yaml']) {
    rmSync(join(pipes, name), { force: true })
    pipe(pipes, name)
  }
  reproduction('sound', sound, '2026-01-01T00:00:00.000Z')
  reproduction('mean', { ...sound, claims: [{ ...claim, mean: 'high' }] }, '2026-01-02T00:00:00.000Z')
  reproduction('claims', { ...sound, claims: [null] }, '2026-01-03T00:00:00.000Z')
  mkdirSync(join(home, 'papers'))
  writeFileSync(join(home, 'papers', '2601.00001.json'), '{"id":"2601.00001"}')
  pipe(home, 'papers', '2601.00002.json')
  mkdirSync(join(home, 'model'))
  writeFileSync(join(home, 'model', 'a.safetensors'), '')
  pipe(home, 'model', 'config.json')
}

beforeAll(async () => {
  mkdirSync(home)
  writeFileSync(secret, '{"loss":12345}\n')
  writeRun(home, 'good', { started: '2026-02-01T00:00:00.000Z' }, [{ step: 1, loss: 1 }])
  breakEverything()
  const reference = join(folder, 'reference')
  lab = await openLab({ home, reference, interval: 1e6, warn: (text) => warnings.push(text) })
  await lab.ready
  // Results are read a moment after their runs.
  await until(async () => (await get<LabInfo>('/api/lab')).leftOut.total === 14)
})
afterAll(async () => {
  await lab.close()
  remove()
})

const get = async <T>(path: string): Promise<T> => {
  const response = await lab.app.request(path)
  expect(response.status, path).toBe(200)
  return (await response.json()) as T
}

describe('files that cannot be used', () => {
  test('keep the lab from nothing: it starts, lists the rest, and names each with the reason', async () => {
    const { runs } = await get<RunList>('/api/runs')
    expect(runs.map(({ id }) => id).sort()).toEqual([
      ...['claims', 'good', 'links', 'mean', 'pipes', 'sound'],
    ])
    const { leftOut } = await get<LabInfo>('/api/lab')
    const reasons = Object.fromEntries(leftOut.first.map(({ path, reason }) => [path, reason]))
    expect(reasons).toMatchObject({
      subject: 'run.json: subject: Invalid input: expected string, received number',
      pid: 'run.json: process.pid: Invalid input: expected number, received string',
      'pipe-0': 'run.json is not a regular file',
      'pipe-5': 'run.json is not a regular file',
      links: 'metrics.jsonl lies outside its folder',
      pipes: 'metrics.jsonl is not a regular file',
      claims: expect.stringMatching(/^run.json: result: claims.0: Invalid input/) as string,
      mean: expect.stringMatching(/^run.json: result: claims.0.mean: Invalid input/) as string,
      'papers/2601.00001.json': expect.stringMatching(/^2601.00001.json: title/) as string,
      'papers/2601.00002.json': '2601.00002.json is not a regular file',
    })
    expect(leftOut.total).toBe(Object.keys(reasons).length)
  })

  test('stand in a banner on every page', async () => {
    for (const path of ['/', '/papers/lora', '/runs', '/runs/good', '/playground', '/subscribe']) {
      const html = await (await lab.app.request(path)).text()
      const banner = /<aside class="left-out"[^]*<\/aside>/.exec(html)?.[0]
      expect(banner, path).toMatch(/14 things were\s+left out/)
      expect(banner, path).toContain('metrics.jsonl lies outside its folder')
    }
  })

  test('show nothing of what lies outside, and are named on the page of their run', async () => {
    for (const id of ['links', 'pipes']) {
      const page = await get<RunPage>(`/api/runs/${id}`)
      expect(page).toMatchObject({ plots: [], logBytes: 0, rows: 0, metrics: {} })
      expect(page.leftOut.map(({ path }) => path).sort()).toEqual(['log.txt', 'metrics.jsonl', 'plots.json'])
      expect(await get<Metrics>(`/api/runs/${id}/metrics`)).toMatchObject({ series: [], rows: 0 })
      expect((await lab.app.request(`/api/runs/${id}/log`)).status).toBe(404)
      const events = await (await lab.app.request(`/api/runs/${id}/events`)).text()
      expect(events).not.toContain('12345')
      expect((await lab.app.request(`/api/compare?runs=${id},good`)).status).toBe(200)
    }
  })

  test('decide nothing: the newest reproduction that can be read does', async () => {
    const { papers } = await get<PaperList>('/api/papers?limit=200')
    expect(papers.find(({ id }) => id === 'lora')!.claims).toMatchObject({ holds: 1, fails: 0 })
  })

  test('are no checkpoints', async () => {
    expect((await get<CheckpointList>('/api/checkpoints')).checkpoints).toEqual([])
    expect((await lab.app.request('/api/tensors?checkpoint=runs/model')).status).toBe(404)
  })

  test('are left out no longer once they are mended or gone', async () => {
    const before = (await get<LabInfo>('/api/lab')).leftOut.total
    writeRun(home, 'subject', { subject: 'mended' })
    rmSync(join(home, 'pipe-5'), { recursive: true })
    await lab.look()
    expect((await get<LabInfo>('/api/lab')).leftOut.total).toBe(before - 2)
    expect((await get<RunList>('/api/runs?q=mended')).total).toBe(1)
  })
})

describe('whatever JSON lies in', () => {
  const whole = { ...JSON.parse(JSON.stringify(sound)) } as Record<string, unknown>
  const odd = fc.jsonValue({ noUnicodeString: false })
  /** JSON of any shape, and a good record with one field of it. */
  const spoilt = (good: Record<string, unknown>): fc.Arbitrary<unknown> =>
    fc.oneof(
      odd,
      fc.tuple(fc.constantFrom(...Object.keys(good)), odd).map(([key, value]) => ({ ...good, [key]: value })),
    )
  const record = {
    command: 'train',
    subject: 's',
    argv: [],
    config: {},
    process: { host: 'h', pid: 5 },
    started: '2026-01-02T03:04:05.000Z',
    ended: '2026-01-02T03:04:05.000Z',
    status: 'finished',
    versions: {},
    machine: null,
    error: null,
    seed: 1,
  }
  const plot = { kind: 'bars', title: 't', x: { label: 'x' }, y: { label: 'y' }, series: [] }
  const kinds: [string, fc.Arbitrary<unknown>, (value: unknown) => void][] = [
    [
      'run.json',
      spoilt(record),
      (value) => writeFileSync(join(writeRun(home, 'odd'), 'run.json'), JSON.stringify(value)),
    ],
    ['a result', spoilt(whole), (value) => void reproduction('odd', value, '2026-03-01T00:00:00.000Z')],
    [
      'metrics',
      fc.array(spoilt({ step: 1, series: 's', loss: 2 })),
      (value) =>
        void writeRun(home, 'odd', { status: 'running', process: { host: 'h', pid: 5 } }, value as object[]),
    ],
    [
      'plots',
      fc.oneof(
        spoilt({ 0: plot }),
        spoilt(plot).map((one) => [one]),
      ),
      (value) => writeFileSync(join(writeRun(home, 'odd'), 'plots.json'), JSON.stringify(value)),
    ],
    [
      'a listed paper',
      spoilt({
        id: '2601.00003',
        arxiv: '2601.00003',
        title: 't',
        date: '2026-01-01',
        summary: 's',
        claims: [],
      }),
      (value) => writeFileSync(join(home, 'papers', '2601.00003.json'), JSON.stringify(value)),
    ],
  ]

  test.each(kinds)('%s, the lab lists the rest and fails at nothing', async (_, value, write) => {
    await fc.assert(
      fc
        .asyncProperty(value, async (json) => {
          write(json)
          await lab.look()
          const { runs } = await get<RunList>('/api/runs?limit=200')
          expect(runs.map(({ id }) => id)).toContain('good')
          for (const path of ['/runs', '/runs/good', '/papers/lora', '/compare?runs=good,sound'])
            expect((await lab.app.request(path)).status, path).toBe(200)
          const isListed = runs.some(({ id }) => id === 'odd')
          for (const path of [
            '/runs/odd',
            '/api/runs/odd',
            '/api/runs/odd/metrics',
            '/api/compare?runs=odd,good',
          ])
            expect((await lab.app.request(path)).status, path).toBe(isListed ? 200 : 404)
          expect(warnings).toEqual([])
        })
        .beforeEach(async () => {
          rmSync(join(home, 'odd'), { recursive: true, force: true })
          await lab.look()
        }),
      { numRuns: 20 },
    )
  })
})
