import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scratchFolder, sentences, writeTinyLlama } from '../../test/tiny.js'
import { weft } from '../../test/weft.js'
import { methods } from '../adapt/index.js'
import { RunFolder } from '../train/run-folder.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
let base: string
let data: string
const at = (name: string): string => join(scratch.path, name)

beforeAll(async () => {
  scratch = await scratchFolder()
  base = at('base')
  data = at('data.jsonl')
  await writeTinyLlama(base)
  await writeFile(data, sentences.map((text) => JSON.stringify({ text })).join('\n'))
})
afterAll(() => scratch.remove())

const weights = (folder: string): Buffer => readFileSync(join(folder, 'adapter_model.safetensors'))

describe('weft adapt', () => {
  it('has a noun for every method of the family', async () => {
    const { out } = await weft('adapt', '--help')
    for (const { paper } of methods) expect(out).toContain(`${paper.id} <base>`)
  })

  it('writes a folder that PEFT knows, from the options of the method', async () => {
    const out = at('adapter')
    const options = ['--rank', '4', '--alpha', '8', '--targets', 'q_proj,v_proj', '--rslora', '--steps', '2']
    const { code, err } = await weft('adapt', 'lora', base, '--data', data, '--out', out, ...options)
    expect(err).not.toMatch(/Error/)
    expect(code).toBe(0)
    const config = JSON.parse(readFileSync(join(out, 'adapter_config.json'), 'utf8')) as object
    expect(config).toMatchObject({ peft_type: 'LORA', r: 4, lora_alpha: 8, use_rslora: true })
    expect(config).toMatchObject({ target_modules: ['q_proj', 'v_proj'] })
  })

  it('refuses a target that matches nothing, with the nearest', async () => {
    const argv = ['adapt', 'lora', base, '--data', data, '--out', at('refused'), '--targets', 'q_porj']
    const { code, err } = await weft(...argv)
    expect(err).toMatch(/^NoSuchModule: .*"q_porj"[\s\S]*Nearest: q_proj \(2 layers\)/)
    expect(code).toBe(2)
    expect(existsSync(at('refused'))).toBe(false)
  })

  it.each([
    ['an unknown method', ['loraa', 'BASE'], 2, /^UnknownNoun: .*[\s\S]*Nearest: lora/],
    ['a base that is nowhere', ['lora', 'nobody/nothing', '--data', 'DATA'], 3, /weft pull nobody\/nothing/],
    ['a rank beyond the weights', ['lora', 'BASE', '--data', 'DATA', '--rank', '999'], 2, /^RankTooHigh: /],
    ['no data', ['lora', 'BASE'], 2, /^BadValue: --data/],
  ])('refuses %s', async (_, words, exitCode, message) => {
    const argv = words.map((word) => ({ BASE: base, DATA: data })[word] ?? word)
    const { code, err } = await weft('adapt', ...argv)
    expect(err).toMatch(message)
    expect(code).toBe(exitCode)
  })
})

describe('Ctrl-C in training', () => {
  const main = fileURLToPath(new URL('main.ts', import.meta.url))
  const steps = 200
  const argv = (out: string): string[] => [
    ...['adapt', 'lora', base, '--data', data, '--out', out, '--steps', String(steps), '--lr', '1e-2'],
    ...['--dropout', '0.1', '--batch', '4', '--eval-split', '0.2', '--eval-every', '50'],
  ]

  it('writes a checkpoint and exits 130; --resume ends with the bytes of a run left alone', async () => {
    const [whole, cut] = [at('whole'), at('cut')]
    expect((await weft(...argv(whole))).code).toBe(0)

    const child = spawn(process.execPath, ['--import', 'tsx', main, ...argv(cut), '--json'])
    const ended = once(child, 'exit')
    let events = ''
    child.stderr.on('data', (text: Buffer) => {
      // The first step that is reported: the run is under way.
      if (events === '' || !events.includes('"loss"')) {
        events += text.toString()
        if (events.includes('"loss"')) child.kill('SIGINT')
      }
    })
    expect(await ended).toEqual([130, null])
    const [step] = await new RunFolder(cut).steps()
    expect(step).toBeGreaterThan(0)
    expect(step).toBeLessThan(steps)
    expect(existsSync(join(cut, 'adapter_model.safetensors'))).toBe(false)
    expect(JSON.parse(readFileSync(join(cut, 'run.json'), 'utf8'))).toMatchObject({ status: 'cancelled' })

    const resumed = await weft(...argv(cut), '--resume')
    expect(resumed.code).toBe(0)
    expect(weights(cut)).toEqual(weights(whole))
  })
})
