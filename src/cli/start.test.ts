import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scratchFolder } from '../../test/tiny.js'
import { type Outcome, weft, weftWith } from '../../test/weft.js'
import { readAdapter } from '../checkpoint/index.js'
import type { MainJob } from './main-job.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
let started: Outcome
beforeAll(async () => {
  scratch = await scratchFolder()
  started = await weftWith({ WEFT_HOME: scratch.path }, ['start', '--quick'])
})
afterAll(() => scratch.remove())

/** The words of a command as a shell would split them. */
const words = (command: string): string[] =>
  [...command.matchAll(/'([^']*)'|(\S+)/g)].map((match) => match[1] ?? match[2])

describe('weft start', () => {
  it('measures and shows before and after, and names the folders', () => {
    expect(started.code).toBe(0)
    expect(started.out).toMatch(/base: stories, loss +[\d.]+ +[\d.]+/)
    expect(started.out).toMatch(/\n {2}before .*\n {2}after /)
    for (const name of ['base', 'adapter', 'merged'])
      expect(started.out).toContain(`  ${scratch.path}/start/${name}\n`)
    expect(started.err).toMatch(/stories {2}\d+% .*steps/)
  })

  it('prints commands that work on what it wrote', async () => {
    const section = started.out.split('Look closer:\n')[1].split('\n\n')[0]
    const commands = section.split('\n').map((line) => line.trim().replace(/^weft /, ''))
    expect(commands.length).toBeGreaterThan(3)
    for (const command of commands) {
      const fast = command.startsWith('adapt') ? ['--steps', '1'] : []
      const { code, err } = await weft(...words(command), ...fast)
      expect([command, code, code === 0 ? '' : err]).toEqual([command, 0, ''])
    }
  })

  it('can be started again, with the same bits for the same seed', async () => {
    const again = await weftWith({ WEFT_HOME: scratch.path }, ['start', '--quick', '--json'])
    expect(again.code).toBe(0)
    const { base, adapter, merged } = JSON.parse(again.out) as MainJob
    expect(merged.evaluation.loss).toBeCloseTo(adapter.after.loss, 4)
    const first = started.out
    expect(first).toContain(base.samples[0].after.trim().replaceAll('\n', ' '))
    const { tensors, config } = await readAdapter(join(scratch.path, 'start', 'adapter'))
    await tensors.close()
    expect(config.base_model_name_or_path).toBe(base.folder)
  })

  it('leaves a folder of somebody else alone', async () => {
    const { code, err } = await weft('start', '--quick', '--out', scratch.path)
    expect(err).toMatch(/^FolderInUse: /)
    expect(code).toBe(2)
  })
})
