import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { gap, noisy } from '../../../test/adapter.js'
import { goldenFolder } from '../../../test/golden.js'
import { type Checkpoint, open } from '../../checkpoint/index.js'
import { decoder, type Model, openModel } from '../../models/index.js'
import { compile, type Tensor, toNumbers, type Value, valueOf } from '../../tensor/index.js'
import { forward } from '../../train/index.js'
import { type AdaptedModel, bitfit, ia3, loha, lora, mos, prompt, s2ft, vera } from '../index.js'
import { adapterRows, mixed } from './mixed.js'

const row = [3, 1, 4, 1, 5, 9]
const idsOf = (rows: number): Value =>
  valueOf(Array.from({ length: rows }, () => row).flat(), [rows, row.length], 'int32')

/** Logits of the last token of each row: [rows, vocabulary]. */
const logits = async (model: Model, rows: number, adapters?: readonly number[]): Promise<Float64Array[]> => {
  const batch = {
    ids: idsOf(rows),
    ...(adapters ? { adapters: adapterRows(adapters, 9) } : {}),
  }
  type Inputs = { parameters: Record<string, Tensor>; batch: Record<string, Tensor> }
  const program = await compile(({ parameters, batch }: Inputs) => forward(model, parameters, batch).logits, {
    parameters: { ...model.parameters },
    batch: batch as Record<string, Value>,
  })
  const out = toNumbers(await program.run({ parameters: { ...model.parameters }, batch } as never))
  const size = out.length / rows
  return Array.from({ length: rows }, (_, i) => out.subarray(i * size, (i + 1) * size))
}

let checkpoint: Checkpoint
let base: Model
let adapters: AdaptedModel[]
beforeAll(async () => {
  checkpoint = await open(goldenFolder('llama'))
  base = await openModel(checkpoint)
  const plain = [
    await lora(base, { rank: 4, seed: 1 }),
    await lora(base, { rank: 4, seed: 2 }),
    await lora(base, { rank: 2, targets: 'all-linear', dora: true }),
    await ia3(base),
    await vera(base),
    await loha(base, { rank: 2, targets: ['k_proj', 'down_proj'] }),
    await mos(base),
    await s2ft(base, { seed: 1 }),
    await s2ft(base, { seed: 2 }),
  ]
  adapters = plain.map((model) => noisy(model))
})
afterAll(() => checkpoint.close())

describe('several adapters over one base', () => {
  it('gives each row what its adapter gives alone, and the base where there is none', async () => {
    const rows = [2, -1, 0, 5, 1, 3, 0, 4, 7, 6, 8]
    const together = await logits(mixed(adapters), rows.length, rows)
    const alone = await Promise.all([...adapters, base].map(async (model) => (await logits(model, 1))[0]))
    rows.forEach((adapter, i) => expect(gap(together[i], alone.at(adapter)!)).toBeLessThan(2e-5))
    const [plain] = await logits(base, 1)
    for (const one of alone.slice(0, -1)) expect(gap(one, plain)).toBeGreaterThan(1e-3)
    expect(gap((await logits(mixed(adapters), 1))[0], plain)).toBe(0)
  })

  it('keeps what all adapters share once, and stacks the rest', () => {
    const { parameters } = mixed([adapters[4], adapters[4], adapters[0], adapters[1]])
    const shapes = new Map(Object.entries(parameters).map(([name, { shape }]) => [name, shape]))
    const site = 'model.layers.0.self_attn.q_proj'
    expect(shapes.get(`${site}/1/A`)).toEqual([2, ...adapters[0].parameters[`${site}.lora_A.weight`].shape])
    expect([...shapes].filter(([name]) => name.startsWith(`${site}/0/`)).every(([, s]) => s.length < 3)).toBe(
      true,
    )
  })

  it('generates with the cache, every row by its adapter', async () => {
    const rows = [0, -1, 3]
    const inputs = { adapters: adapterRows(rows, 9) }
    const many = decoder(mixed(adapters), { batch: 3, capacity: 16, inputs })
    let next = await many.prefill(rows.map(() => row))
    const singles = rows.map((i) => decoder([...adapters, base].at(i)!, { capacity: 16 }))
    let each = await Promise.all(singles.map((one) => one.prefill([row])))
    for (const token of [7, 8]) {
      const [all, size] = [toNumbers(next), next.shape[1]]
      each.forEach((one, i) =>
        expect(gap(all.subarray(i * size, (i + 1) * size), toNumbers(one))).toBeLessThan(2e-5),
      )
      next = await many.step([token, token, token])
      each = await Promise.all(singles.map((one) => one.step([token])))
    }
  })

  it('refuses an adapter of another base, one that replaces tensors, and a place beyond the list', async () => {
    const other = await lora(await openModel(checkpoint, { trainable: true }))
    expect(() => mixed([adapters[0], other])).toThrow(/another base/)
    const whole = await bitfit(base)
    expect(() => mixed([adapters[0], whole])).toThrow(/adapter 1 cannot be switched/)
    const around = await prompt(base, { tokens: 2 })
    expect(() => mixed([around])).toThrow(/prompt stands around/)
    expect(() => mixed([])).toThrow(/at least one/)
    for (const wrong of [6, -2, 0.5]) expect(() => adapterRows([0, wrong], 6)).toThrow(/adapter .* of 6/)
  })
})
