import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { trainForResume } from '../../test/resume-run.js'
import { scratchFolder, writeTinyLlama } from '../../test/tiny.js'
import { Stream } from '../random/index.js'
import { RunFolder } from './run-folder.js'
import type { FitResult } from './index.js'

const child = fileURLToPath(new URL('../../test/fit-child.ts', import.meta.url))

/** Starts the run in a process of its own and kills it `delay` ms after its first step. */
const killedRun = (base: string, out: string, delay: number): Promise<void> =>
  new Promise((resolve, reject) => {
    const process_ = spawn(process.execPath, ['--import', 'tsx', child, base, out], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let errors = ''
    process_.stderr.on('data', (text: Buffer) => (errors += text.toString()))
    process_.stdout.once('data', () => setTimeout(() => process_.kill('SIGKILL'), delay))
    process_.on('exit', (code, signal) =>
      signal === 'SIGKILL' || code === 0 ? resolve() : reject(new Error(errors)),
    )
  })

const everything = ({ state, loss }: FitResult): unknown => ({
  loss,
  step: state.step,
  parameters: Object.entries(state.parameters).map(([name, v]) => [name, [...v.data]]),
  optimizers: state.optimizers.map((o) =>
    Object.entries(o).map(([name, slots]) => [name, Object.values(slots).map((v) => [...v.data])]),
  ),
})

let scratch: Awaited<ReturnType<typeof scratchFolder>>
beforeAll(async () => {
  scratch = await scratchFolder()
  await writeTinyLlama(join(scratch.path, 'base'))
})
afterAll(() => scratch.remove())

describe('a run killed by SIGKILL at a random moment', () => {
  it('resumes and ends with the loss, weights and optimiser state of an undisturbed run, bit for bit', async () => {
    const base = join(scratch.path, 'base')
    const whole = everything(await trainForResume(base, undefined))
    const moments = new Stream('kill').fork('moments')
    let underWay = 0
    for (let i = 0; i < 10; i++) {
      const out = join(scratch.path, `run-${i}`)
      await killedRun(base, out, moments.int(600))
      const [newest = 0] = await new RunFolder(out).steps()
      underWay += Number(newest < 40)
      expect(everything(await trainForResume(base, out))).toEqual(whole)
    }
    expect(underWay).toBeGreaterThan(4)
  })
})
