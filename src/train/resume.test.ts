import { spawn } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bundleForNode } from '../../test/bundle.js'
import { trainForResume } from '../../test/resume-run.js'
import { scratchFolder, writeTinyLlama } from '../../test/tiny.js'
import { Stream } from '../random/index.js'
import { RunFolder } from './run-folder.js'
import type { FitResult } from './index.js'

/** Runs `program` in a process of its own and kills it once it has said that step `last` is done. */
const killedRun = (program: URL, base: string, out: string, last: number): Promise<void> =>
  new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [fileURLToPath(program), base, out], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let errors = ''
    child.stderr.on('data', (text: Buffer) => (errors += text.toString()))
    createInterface(child.stdout).on('line', (step) => Number(step) >= last && child.kill('SIGKILL'))
    child.on('exit', (code, signal) =>
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
let program: URL
beforeAll(async () => {
  scratch = await scratchFolder()
  program = await bundleForNode(new URL('../../test/fit-child.ts', import.meta.url))
  await writeTinyLlama(join(scratch.path, 'base'))
})
afterAll(async () => {
  await scratch.remove()
  await rm(program)
})

describe('a run killed by SIGKILL at a random moment', () => {
  it('resumes and ends with the loss, weights and optimiser state of an undisturbed run, bit for bit', async () => {
    const base = join(scratch.path, 'base')
    const whole = everything(await trainForResume(base, undefined))
    const moments = new Stream('kill').fork('moments')
    let underWay = 0
    for (let i = 0; i < 10; i++) {
      const out = join(scratch.path, `run-${i}`)
      await killedRun(program, base, out, 1 + moments.int(36))
      const [newest = 0] = await new RunFolder(out).steps()
      underWay += Number(newest < 40)
      expect(everything(await trainForResume(base, out))).toEqual(whole)
    }
    expect(underWay).toBeGreaterThan(4)
  })
})
