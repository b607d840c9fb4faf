/** @file `weft extract`: an adapter from two checkpoints that loads, folds and generates; what is printed and refused. */
import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scratchFolder, sentences, tinyConfig, writeRandom, writeTinyLlama } from '../../test/tiny.js'
import { type Outcome, weftWith } from '../../test/weft.js'
import { open } from '../checkpoint/index.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
const at = (name: string): string => join(scratch.path, name)
const weft = (...argv: string[]): Promise<Outcome> => weftWith({ WEFT_HOME: at('home') }, argv)

beforeAll(async () => {
  scratch = await scratchFolder()
  await writeTinyLlama(at('base'))
  await writeFile(at('data.jsonl'), sentences.map((text) => JSON.stringify({ text })).join('\n'))
  const training = ['--data', at('data.jsonl'), '--steps', '3', '--batch', '2', '--lr', '0.1']
  await weft('adapt', 'lora', at('base'), ...training, '--rank', '2', '--out', at('adapter'))
  await weft('fold', at('base'), at('adapter'), '--out', at('tuned'))
})
afterAll(() => scratch.remove())

const distance = async (a: string, b: string): Promise<number> => {
  await using x = await open(a)
  await using y = await open(b)
  let worst = 0
  for (const name of x.names()) {
    const [p, q] = [await x.read(name, 'float32'), await y.read(name, 'float32')]
    p.data.forEach((v, i) => (worst = Math.max(worst, Math.abs(Number(v) - Number(q.data[i])))))
  }
  return worst
}

describe('weft extract', () => {
  it('gives an adapter that folds to what was tuned, and says what it leaves', async () => {
    const { code, out } = await weft(
      'extract',
      at('base'),
      at('tuned'),
      '--rank',
      '2',
      '--out',
      at('extracted'),
    )
    expect(code).toBe(0)
    expect(out).toMatch(/^tensor +shape +kept +rank +change +left of it/)
    expect(out).toMatch(/layers.0.self_attn.q_proj.weight +32x32 +low-rank +2 +[\d.]+ % +[\d.e-]+ %/)
    expect(out).toMatch(/Extracted 4 modules; 17 tensors are the same in both/)
    const report = JSON.parse(await readFile(join(at('extracted'), 'extract-report.json'), 'utf8')) as {
      tensors: { kept: string; rank: number; error: number }[]
    }
    expect(report.tensors).toHaveLength(4)
    for (const { kept, rank, error } of report.tensors) {
      expect([kept, rank]).toEqual(['low-rank', 2])
      expect(error).toBeLessThan(1e-3)
    }
    expect(await weft('fold', at('base'), at('extracted'), '--out', at('again'))).toMatchObject({ code: 0 })
    expect(await distance(at('tuned'), at('again'))).toBeLessThan(1e-5)
    expect(await distance(at('tuned'), at('base'))).toBeGreaterThan(1e-3)
    const generated = await weft('generate', at('extracted'), '--prompt', 'The cat', '--max-tokens', '3')
    expect(generated.code).toBe(0)
  })

  it('takes a base with an adapter where a model is named', async () => {
    const tuned = `${at('base')}+${at('adapter')}`
    const { out } = await weft(
      'extract',
      at('base'),
      tuned,
      '--energy',
      '0.999999',
      '--out',
      at('named'),
      '--json',
    )
    const { tensors } = JSON.parse(out) as { tensors: { rank: number; error: number }[] }
    expect(tensors.map(({ rank }) => rank)).toEqual([2, 2, 2, 2])
    await weft('fold', at('base'), at('named'), '--out', at('named-again'))
    expect(await distance(at('tuned'), at('named-again'))).toBeLessThan(1e-3)
  })

  it('says what it would do, and writes nothing, with --dry-run', async () => {
    const { out } = await weft('extract', at('base'), at('tuned'), '-r', '2', '--out', at('dry'), '--dry-run')
    expect(out).toMatch(/^Would extract 14 modules \(at most .* kB\) to .*dry\.\n$/)
    expect(existsSync(at('dry'))).toBe(false)
  })

  it('refuses a folder in use, no rank, and shapes that differ, and then writes nothing', async () => {
    const inUse = await weft('extract', at('base'), at('tuned'), '-r', '2', '--out', at('extracted'))
    expect(inUse).toMatchObject({ code: 2 })
    expect(inUse.err).toMatch(/not empty/)
    for (const flags of [[], ['--dry-run']]) {
      const noRank = await weft('extract', at('base'), at('tuned'), '--out', at('none'), ...flags)
      expect(noRank.code).toBe(2)
      expect(noRank.err).toMatch(/neither a rank nor an energy/)
    }
    await writeRandom(at('other'), tinyConfig(321))
    const other = await weft('extract', at('base'), at('other'), '-r', '2', '--out', at('none'))
    expect(other.code).toBe(3)
    expect(other.err).toMatch(/embed_tokens.weight \[320, 32\] does not fit .*\[321, 32\]/)
    expect(existsSync(at('none'))).toBe(false)
    const again = await weft(
      'extract',
      at('base'),
      at('tuned'),
      '-r',
      '2',
      '--out',
      at('extracted'),
      '--force',
    )
    expect(again.code).toBe(0)
    expect(JSON.parse(await readFile(join(at('extracted'), 'adapter_config.json'), 'utf8'))).toMatchObject({
      r: 2,
    })
  })
})
