import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { post, scratch, until } from '../../test/lab.js'
import { readMetrics, readRun } from '../runs/index.js'
import type { Job, JobList, Metrics, PaperCard, RunPage, RunRow } from './api.js'
import { loader } from './self.js'

const { folder, remove } = scratch('crash')
const home = join(folder, 'runs')
const children: ChildProcess[] = []
afterAll(() => {
  for (const child of children) child.kill('SIGKILL')
  remove()
})

/** Starts a lab over `home`; resolves with its address and what kills it. */
const startLab = async (): Promise<{ address: string; kill: () => Promise<void> }> => {
  const program = fileURLToPath(new URL('../../test/lab-process.ts', import.meta.url))
  const child = spawn(process.execPath, [...loader(), program, home], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  children.push(child)
  const ended = new Promise((done) => child.once('exit', done))
  const port = await new Promise<string>((done, fail) => {
    child.stdout.once('data', (bytes: Buffer) => done(bytes.toString().trim()))
    void ended.then(() => fail(new Error('the lab ended before it listened')))
  })
  return {
    address: `http://127.0.0.1:${port}`,
    kill: async () => {
      child.kill('SIGKILL')
      await ended
    },
  }
}

const token = (): string => readFileSync(join(home, '.lab', 'token'), 'utf8').trim()
const get = async <T>(url: string, init?: RequestInit): Promise<T> =>
  (await (await fetch(url, init)).json()) as T

describe('a lab that is killed while a job runs and people vote', () => {
  test('loses no row of metrics and no vote, ends the job, and makes a deleted index again', async () => {
    const first = await startLab()
    const { id } = await get<Job>(`${first.address}/api/jobs`, post(token(), { paper: 'lora' }))
    const job = async (address: string): Promise<Job> => get<Job>(`${address}/api/jobs/${id}`)
    await until(async () => (await job(first.address)).runs.length === 1)
    const [run] = (await job(first.address)).runs
    let votes = 0
    const voting = (async () => {
      // Every visitor has no cookie and so is a new one; a vote counts when it has been answered.
      for (;;) {
        const response = await fetch(`${first.address}/api/papers/mos/vote`, post(token(), { vote: true }))
        if (response.status === 200) votes++
      }
    })().catch(() => undefined)
    await until(() => votes >= 5)
    await first.kill()
    await voting

    // The process of the run goes on without its lab: what it records is not the lab's to lose.
    const folderOfRun = join(home, run)
    const before = (await readMetrics(folderOfRun)).rows.length
    await until(async () => (await readMetrics(folderOfRun)).rows.length > before)

    const second = await startLab()
    expect(await job(second.address)).toMatchObject({ status: 'interrupted', runs: [run] })
    await until(async () => (await readRun(folderOfRun))?.status === 'cancelled')
    await until(async () => (await get<RunPage>(`${second.address}/api/runs/${run}`)).status === 'cancelled')
    const { rows } = await readMetrics(folderOfRun)
    expect(rows.map(({ step }) => step)).toEqual(rows.map((_, i) => i + 1))
    const curves = await get<Metrics>(`${second.address}/api/runs/${run}/metrics`)
    expect(curves.rows).toBe(rows.length)
    const counted = (await get<PaperCard>(`${second.address}/api/papers/mos`)).votes
    // The last vote may have been recorded and its answer lost with the lab.
    expect([votes, votes + 1]).toContain(counted)
    const row = await get<RunRow>(`${second.address}/api/runs/${run}`)
    await second.kill()

    rmSync(join(home, '.lab', 'index'), { recursive: true })
    const third = await startLab()
    await until(async () => (await fetch(`${third.address}/api/runs/${run}`)).status === 200)
    expect(await get<RunRow>(`${third.address}/api/runs/${run}`)).toEqual(row)
    expect((await get<PaperCard>(`${third.address}/api/papers/mos`)).votes).toBe(counted)
    expect((await get<JobList>(`${third.address}/api/jobs`)).jobs.map((j) => j.id)).toEqual([id])
    await third.kill()
    expect(existsSync(folderOfRun)).toBe(true)
  })

  test('a second lab over the same runs is refused while the first lives', async () => {
    const first = await startLab()
    const { openLab } = await import('./lab.js')
    await expect(openLab({ home })).rejects.toThrow('runs a lab over')
    await first.kill()
    const second = await openLab({ home })
    await second.close()
  })
})
