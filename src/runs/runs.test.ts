import fc from 'fast-check'
import { spawn } from 'node:child_process'
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import {
  artifactsOf,
  createRun,
  diffRuns,
  finalMetrics,
  findRun,
  prunable,
  readMetrics,
  readRun,
  readRuns,
  recordRun,
  removeRun,
} from './index.js'
import { append, maxOf } from '../tensor/numbers.js'

const base = mkdtempSync(join(tmpdir(), 'weft-runs-'))
afterAll(() => rmSync(base, { recursive: true, force: true }))
let homes = 0
const freshHome = (): string => join(base, `home-${homes++}`)

const api = JSON.stringify(new URL('./index.ts', import.meta.url).href)
/** A process of its own that runs `body` with the run store in scope. */
const child = (home: string, body: string): ReturnType<typeof spawn> =>
  spawn(
    process.execPath,
    [
      '--import',
      'tsx',
      '--input-type=module',
      '--eval',
      `const { createRun } = await import(${api}); const home = ${JSON.stringify(home)}; ${body}`,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
const ended = (process: ReturnType<typeof spawn>): Promise<void> =>
  new Promise((done) => process.once('close', () => done()))

describe('a run', () => {
  test('is a folder whose record says what was started and how it ended', async () => {
    const home = freshHome()
    const run = await createRun(home, {
      command: 'train',
      subject: 'gpt2',
      config: { lr: 1e-3, skip: undefined },
      seed: 7,
    })
    run.log({ loss: 2.5, broken: NaN }, { step: 1 })
    run.log({ loss: 1.5 }, { step: 2 })
    await run.artifact('plots/loss.csv', 'a,b\n')
    expect((await readRun(run.folder))!.status).toBe('running')
    await run.finish('finished', { result: { loss: 1.5 } })
    const record = JSON.parse(readFileSync(join(run.folder, 'run.json'), 'utf8')) as Record<string, unknown>
    expect(record).toMatchObject({
      command: 'train',
      subject: 'gpt2',
      config: { lr: 1e-3 },
      seed: 7,
      status: 'finished',
      result: { loss: 1.5 },
    })
    expect(record.versions).toMatchObject({ node: process.versions.node, weft: expect.any(String) as string })
    expect(record.commit).toMatch(/^[0-9a-f]{40}\+?$/)
    const { rows } = await readMetrics(run.folder)
    expect(rows.map(({ step, values }) => ({ step, values }))).toEqual([
      { step: 1, values: { loss: 2.5 } },
      { step: 2, values: { loss: 1.5 } },
    ])
    expect((await artifactsOf(run.folder)).map(({ name }) => name)).toEqual(['plots/loss.csv'])
    expect(() => run.log({ loss: 1 })).toThrow(/has ended/)
    expect(readFileSync(join(run.folder, 'metrics.jsonl'), 'utf8')).toMatch(
      /^\{"time":"[^"]+","step":1,"loss":2.5\}\n/,
    )
  })

  test('that fails or is cancelled says so, and the error goes on', async () => {
    const home = freshHome()
    await expect(
      recordRun(home, { command: 'merge' }, () => Promise.reject(new TypeError('no'))),
    ).rejects.toThrow('no')
    expect((await readRuns(home))[0]).toMatchObject({
      status: 'failed',
      error: { code: 'TypeError', message: 'no' },
    })
    const stop = new AbortController()
    await recordRun(home, { command: 'adapt' }, () => Promise.resolve(stop.abort()), { signal: stop.signal })
    expect((await readRuns(home)).find(({ command }) => command === 'adapt')!.status).toBe('cancelled')
  })

  test('never takes a folder that holds one already, unless it continues it', async () => {
    const folder = join(freshHome(), 'mine')
    const first = await createRun('', { command: 'train', folder })
    await expect(createRun('', { command: 'train', folder })).rejects.toMatchObject({
      code: 'RunExists',
      exitCode: 2,
    })
    await expect(createRun('', { command: 'train', folder, resume: true })).rejects.toMatchObject({
      code: 'RunInUse',
    })
    first.log({ loss: 1 }, { step: 1 })
    await first.finish('cancelled')
    const again = await createRun('', { command: 'train', folder, resume: true })
    again.log({ loss: 0.5 }, { step: 2 })
    await again.finish('finished')
    expect((await readMetrics(folder)).rows.map(({ step }) => step)).toEqual([1, 2])
    expect(readdirSync(folder).sort()).toEqual(['metrics.jsonl', 'run.json'])
  })

  test.each(['../out', '/etc/out', '..', '.', 'a/../../out'])('refuses the artifact %s', async (name) => {
    const run = await createRun(freshHome(), { command: 'train' })
    await expect(run.artifact(name, '')).rejects.toMatchObject({ code: 'OutsideRun' })
    await run.finish('finished')
  })
})

describe('crashes', () => {
  test('kill -9 in mid-append loses no row that was logged, and the run reads as interrupted', async () => {
    const home = freshHome()
    // The child says a step's number only after it was logged.
    const process = child(
      home,
      `const run = await createRun(home, { command: 'train' })
       for (let step = 0; ; step++) { run.log({ loss: 1 / step, noise: 'x'.length }, { step }); if (step % 50 === 0) console.log(step) }`,
    )
    let said = -1
    await new Promise<void>((done) =>
      process.stdout!.on('data', (text: Buffer) => {
        said = maxOf(String(text).trim().split('\n').map(Number), said)
        if (said >= 2000) done(void process.kill('SIGKILL'))
      }),
    )
    await ended(process)
    const [run] = await readRuns(home)
    expect(run.status).toBe('interrupted')
    const rows: Awaited<ReturnType<typeof readMetrics>>['rows'][number][] = []
    for (let from = 0; ;) {
      const page = await readMetrics(run.folder, { from, limit: 20_000 })
      append(rows, page.rows)
      from = page.next
      if (!page.more) break
    }
    expect(rows.length).toBeGreaterThan(said)
    expect(rows.every(({ step }, i) => step === i)).toBe(true)
  })

  test('a torn last line is passed over by readers and does not spoil what a resumed run appends', async () => {
    const folder = join(freshHome(), 'torn')
    const run = await createRun('', { command: 'train', folder })
    run.log({ loss: 1 }, { step: 1 })
    await run.finish('failed')
    appendFileSync(join(folder, 'metrics.jsonl'), '{"time":"2026-01-01T00:00:00Z","st')
    const before = await readMetrics(folder)
    expect(before.rows).toHaveLength(1)
    const again = await createRun('', { command: 'train', folder, resume: true })
    again.log({ loss: 2 }, { step: 2 })
    await again.finish('finished')
    const after = await readMetrics(folder, { from: before.next })
    expect(after.rows.map(({ step }) => step)).toEqual([2])
  })

  test('rows that a training loop wrote by itself are read too, nested numbers by path', async () => {
    const folder = join(freshHome(), 'fit')
    mkdirSync(folder, { recursive: true })
    writeFileSync(
      join(folder, 'metrics.jsonl'),
      '{"step":1,"loss":2}\n{"step":1,"evaluation":{"loss":3,"name":"x"}}\n[1]\n7\n',
    )
    expect((await readMetrics(folder)).rows).toEqual([
      { step: 1, values: { loss: 2 } },
      { step: 1, values: { 'evaluation/loss': 3 } },
    ])
    expect(await finalMetrics(folder)).toEqual({ loss: 2, 'evaluation/loss': 3 })
  })

  test('reading in pieces of any size, while lines arrive, gives every row once', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 0, max: 400 }), { minLength: 1, maxLength: 12 }),
        fc.integer({ min: 600, max: 3000 }),
        async (widths, limit) => {
          const folder = join(freshHome(), 'pieces')
          mkdirSync(folder, { recursive: true })
          const lines = widths.map(
            (width, step) => `${JSON.stringify({ time: 't', step, series: 'ü'.repeat(width / 2) })}\n`,
          )
          const bytes = Buffer.from(lines.join(''))
          const rows: (number | undefined)[] = []
          let from = 0
          for (let at = 0; at < bytes.length;) {
            const end = Math.min(bytes.length, at + 97)
            appendFileSync(join(folder, 'metrics.jsonl'), bytes.subarray(at, end))
            at = end
            const page = await readMetrics(folder, { from, limit })
            append(
              rows,
              page.rows.map(({ step }) => step),
            )
            from = page.next
          }
          expect(rows).toEqual(widths.map((_, step) => step))
        },
      ),
      { numRuns: 25 },
    )
  })

  test('broken records, foreign folders and links are no runs', async () => {
    const home = freshHome()
    const run = await createRun(home, { command: 'train' })
    await run.finish('finished')
    for (const [name, text] of [
      ['a', '{"command":'],
      ['b', '[]'],
      ['c', 'null'],
      ['d', '{}'],
    ]) {
      mkdirSync(join(home, name))
      writeFileSync(join(home, name, 'run.json'), text)
    }
    mkdirSync(join(home, 'empty'))
    symlinkSync(run.folder, join(home, 'link'))
    expect((await readRuns(home)).map(({ id }) => id)).toEqual([run.id])
    expect(await readRuns(join(home, 'missing'))).toEqual([])
  })
})

test('four processes that begin twenty runs each at once get eighty folders, none shared', async () => {
  const home = freshHome()
  const body = `await Promise.all(Array.from({ length: 20 }, async (_, i) => {
    const run = await createRun(home, { command: 'train', subject: 'same', config: { owner: process.pid } })
    for (let step = 0; step < 5; step++) run.log({ owner: process.pid }, { step })
    await run.finish('finished')
  }))`
  const processes = Array.from({ length: 4 }, () => child(home, body))
  await Promise.all(processes.map(ended))
  const runs = await readRuns(home)
  expect(runs).toHaveLength(80)
  expect(runs.every(({ status }) => status === 'finished')).toBe(true)
  for (const { folder, config } of runs) {
    const { rows } = await readMetrics(folder)
    expect(rows.map(({ step, values }) => [step, values.owner])).toEqual(
      [0, 1, 2, 3, 4].map((s) => [s, config.owner]),
    )
  }
})

test('a fresh run of a dead process id that somebody else has now is interrupted', async () => {
  const home = freshHome()
  const run = await createRun(home, { command: 'train' })
  const path = join(run.folder, 'run.json')
  const record = JSON.parse(readFileSync(path, 'utf8')) as { process: { born?: string } }
  if (record.process.born === undefined) return
  writeFileSync(path, JSON.stringify({ ...record, process: { ...record.process, born: '1' } }))
  expect((await readRun(run.folder))!.status).toBe('interrupted')
})

test('two runs differ where their settings do, and by how much their metrics do', async () => {
  const home = freshHome()
  const [a, b] = [
    await createRun(home, { command: 'train', config: { lr: 1, model: { width: 4, depth: 2 } }, seed: 0 }),
    await createRun(home, { command: 'train', config: { lr: 2, model: { width: 4 } }, seed: 0 }),
  ]
  a.log({ loss: 1, only: 3 }, { step: 1 })
  b.log({ loss: 0.25 }, { step: 1 })
  b.log({ loss: 0.75 }, { step: 2, series: 'eval' })
  await a.finish('finished')
  await b.finish('finished')
  const difference = await diffRuns((await readRun(a.folder))!, (await readRun(b.folder))!)
  expect(difference.settings).toEqual([
    { name: 'lr', a: 1, b: 2 },
    { name: 'model.depth', a: 2, b: undefined },
  ])
  expect(difference.metrics).toEqual([
    { name: 'eval/loss', a: undefined, b: 0.75 },
    { name: 'loss', a: 1, b: 0.25, change: -0.75 },
    { name: 'only', a: 3, b: undefined },
  ])
  expect(await finalMetrics(join(home, 'missing'))).toEqual({})
})

test('a run is found by folder, id, a unique part of it, or as the latest', async () => {
  const home = freshHome()
  const one = await createRun(home, { command: 'train', subject: 'alpha' })
  const two = await createRun(home, { command: 'train', subject: 'beta' })
  await one.finish('finished')
  await two.finish('finished')
  for (const name of [one.id, one.folder, 'alpha']) expect((await findRun(home, name)).id).toBe(one.id)
  await expect(findRun(home, one.id.slice(0, 4))).rejects.toMatchObject({ code: 'AmbiguousRun' })
  await expect(findRun(home, 'gamma')).rejects.toMatchObject({ code: 'UnknownRun' })
  expect([one.id, two.id]).toContain((await findRun(home, 'latest')).id)
})

test('pruning removes what every rule fits, never a running run', async () => {
  const home = freshHome()
  const running = await createRun(home, { command: 'train' })
  for (const status of ['failed', 'failed', 'finished'] as const)
    await (await createRun(home, { command: 'train' })).finish(status)
  expect(await prunable(home, {})).toHaveLength(3)
  expect(await prunable(home, { before: new Date(0) })).toEqual([])
  const [gone, ...others] = await prunable(home, { status: ['failed'], keep: 1 })
  expect(others).toEqual([])
  await removeRun(gone)
  expect(existsSync(gone.folder)).toBe(false)
  expect(await readRuns(home)).toHaveLength(3)
  await running.finish('finished')
})
