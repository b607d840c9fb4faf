import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { eventsOf, post, scratch, until } from '../../../test/lab.js'
import { readMetrics, readRun } from '../../runs/index.js'
import type { Job, JobEvents, JobList, LogPart, RunRow } from '../api.js'
import type { JobRecord } from '../index/events.js'
import { openLab } from '../lab.js'
import type { Lab, LabOptions } from '../lab.js'
import { loader } from '../self.js'

const { folder, remove } = scratch('jobs')
const home = join(folder, 'runs')
/** A job writes as many rows as it is told seeds; a quick one without goes on for ever, another fails. */
const command = ({ paper, quick, seeds }: JobRecord): string[] => [
  ...loader(),
  fileURLToPath(new URL('../../../test/job.ts', import.meta.url)),
  paper,
  String(seeds ?? (quick ? 'forever' : 'fail')),
]
const options: LabOptions = { home, jobs: 1, interval: 50, command }
let lab: Lab

beforeAll(async () => {
  lab = await openLab(options)
  await lab.ready
})
afterAll(async () => {
  await lab.close()
  remove()
})

const json = async <T>(path: string, init?: RequestInit): Promise<T> =>
  (await (await lab.app.request(path, init)).json()) as T
const start = (request: object = { quick: true }): Promise<Job> =>
  json<Job>('/api/jobs', post(lab.token, { paper: 'lora', ...request }))
const get = (id: string): Promise<Job> => json<Job>(`/api/jobs/${id}`)
const cancel = (id: string): Promise<Job> => json<Job>(`/api/jobs/${id}/cancel`, post(lab.token, {}))
const ended = (id: string): Promise<void> =>
  until(async () => !['queued', 'running'].includes((await get(id)).status))

describe('jobs', () => {
  test('one runs to its end, with its lines, its progress and its run', async () => {
    const { id } = await start({ seeds: 20 })
    const seen: Job[] = []
    const lines: string[] = []
    for await (const { event, data } of eventsOf(await lab.app.request(`/api/jobs/${id}/events`))) {
      if (event === 'job') seen.push(data as JobEvents['job'])
      if (event === 'log') lines.push((data as JobEvents['log']).line)
    }
    const last = seen.at(-1)!
    expect(last).toMatchObject({ status: 'finished', error: null, progress: null })
    expect(seen.some(({ progress }) => progress?.total === 20 && progress.metrics.loss !== undefined)).toBe(
      true,
    )
    expect(lines).toEqual([`begun ${last.runs[0]}`])
    const row = await json<RunRow>(`/api/runs/${last.runs[0]}`)
    expect(row).toMatchObject({ status: 'finished', job: id, paper: 'lora', rows: 20 })
    const log = await json<LogPart>(`/api/runs/${last.runs[0]}/log`)
    expect(log.text).toMatch(/^begun .*\njob {2}1 of 20 steps {2}loss 1\n/)
    const later: string[] = []
    for await (const { event } of eventsOf(await lab.app.request(`/api/jobs/${id}/events`))) later.push(event)
    expect(later).toEqual(['log', 'job'])
  })

  test('one that fails says its last words', async () => {
    const { id } = await start({})
    await ended(id)
    expect(await get(id)).toMatchObject({ status: 'failed', error: 'it went wrong' })
  })

  test('no more run at once than allowed; the others wait, and can be taken from the queue', async () => {
    const first = await start()
    const second = await start({ seeds: 3 })
    const third = await start({ seeds: 3 })
    expect([first.status, second.status, third.status]).toEqual(['running', 'queued', 'queued'])
    expect([first.position, second.position, third.position]).toEqual([null, 0, 1])
    expect(await cancel(second.id)).toMatchObject({ status: 'cancelled', runs: [] })
    expect((await get(third.id)).position).toBe(0)
    await until(async () => (await get(first.id)).runs.length === 1)
    const stopped = await cancel(first.id)
    expect(stopped.status).toBe('cancelled')
    await lab.look()
    expect(await json<RunRow>(`/api/runs/${stopped.runs[0]}`)).toMatchObject({ status: 'cancelled' })
    await ended(third.id)
    expect((await get(third.id)).status).toBe('finished')
    const { jobs } = await json<JobList>('/api/jobs')
    expect(jobs.slice(0, 3).map(({ id }) => id)).toEqual([third.id, second.id, first.id])
    const again = await lab.app.request(`/api/jobs/${first.id}/cancel`, post(lab.token, {}))
    expect(again.status).toBe(409)
  })

  test('a job is cancelled through its run', async () => {
    const { id } = await start()
    await until(async () => (await get(id)).runs.length === 1)
    const [run] = (await get(id)).runs
    expect(await json<RunRow>(`/api/runs/${run}/cancel`, post(lab.token, {}))).toMatchObject({
      status: 'cancelled',
    })
    expect((await get(id)).status).toBe('cancelled')
  })

  test('a job that is killed has failed, its run is interrupted, and no row of it is lost', async () => {
    const { id } = await start()
    await until(async () => (await get(id)).runs.length === 1 && (await get(id)).progress)
    const [run] = (await get(id)).runs
    process.kill((await readRun(join(home, run)))!.process.pid, 'SIGKILL')
    await ended(id)
    await lab.look()
    expect(await get(id)).toMatchObject({ status: 'failed' })
    const { rows } = await readMetrics(join(home, run))
    expect(rows.map(({ step }) => step)).toEqual(rows.map((_, i) => i + 1))
    expect(await json<RunRow>(`/api/runs/${run}`)).toMatchObject({ status: 'interrupted', rows: rows.length })
  })

  test('papers without an experiment, and what is no request, are refused', async () => {
    const status = async (body: object): Promise<number> =>
      (await lab.app.request('/api/jobs', post(lab.token, body))).status
    expect(await status({ paper: 'nothing' })).toBe(404)
    expect(await status({ paper: '--help' })).toBe(404)
    expect(await status({ paper: 'lora', seeds: 0 })).toBe(400)
    expect(await status({ paper: 'lora', command: 'rm' })).toBe(400)
  })

  test('a lab that closes stops its jobs; the next one has them as interrupted, from the journal alone', async () => {
    const { id } = await start()
    const { id: waiting } = await start()
    await until(async () => (await get(id)).runs.length === 1)
    const [run] = (await get(id)).runs
    await lab.close()
    expect((await readRun(join(home, run)))?.status).toBe('cancelled')
    rmSync(join(home, '.lab', 'index'), { recursive: true })
    lab = await openLab(options)
    await lab.ready
    expect(await get(id)).toMatchObject({ status: 'interrupted', runs: [run] })
    expect(await get(waiting)).toMatchObject({ status: 'interrupted', runs: [] })
    expect(await json<RunRow>(`/api/runs/${run}`)).toMatchObject({ job: id, status: 'cancelled' })
  })
})
