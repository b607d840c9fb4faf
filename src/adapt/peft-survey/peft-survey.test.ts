/** @file The survey's table as properties: counts by its formulas on every kind of model, what reduces to what, what it costs. */
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { changed, gap, logitsOf, noisy } from '../../../test/adapter.js'
import { goldenFolder } from '../../../test/golden.js'
import { scratchFolder } from '../../../test/tiny.js'
import { type Checkpoint, open } from '../../checkpoint/index.js'
import { type Model, openModel, type Site, sitesOf } from '../../models/index.js'
import { savedBytes } from '../../train/index.js'
import { toNumbers, type Value, valueOf } from '../../tensor/index.js'
import {
  adalora,
  type AdapterMethod,
  costs,
  houlsby,
  lnTuning,
  loha,
  lokr,
  lora,
  methods,
  oft,
  parallel,
  pfeiffer,
  prefix,
  prompt,
  vera,
} from '../index.js'
import { normOf } from '../../tensor/numbers.js'

const opened: Checkpoint[] = []
const golden = async (name: string): Promise<Checkpoint> => {
  const checkpoint = await open(goldenFolder(name))
  opened.push(checkpoint)
  return checkpoint
}
afterAll(() => Promise.all(opened.map((checkpoint) => checkpoint.close())))

const sum = (sites: readonly Site[], of: (m: number, n: number) => number): number =>
  sites.reduce((total, { out, in: width }) => total + of(out, width), 0)

/** Query and value of every attention: W [m, n]. */
const queriesAndValues: Readonly<Record<string, RegExp>> = {
  llama: /\.(q|v)_proj$/,
  'bert-mlm': /\.(query|value)$/,
  t5: /\.(q|v)$/,
  vit: /\.(query|value)$/,
}

type Formula = readonly [
  string,
  Pick<AdapterMethod<never>, 'count'>,
  object,
  (m: number, n: number) => number,
]

const r = 3

/** A formula for W [m, n], the method, its options, and the formula as a function. */
const formulas: readonly Formula[] = [
  ['r (m + n)', lora, { rank: r }, (m, n) => r * (m + n)],
  ['r (m + n) + m', lora, { rank: r, dora: true }, (m, n) => r * (m + n) + m],
  ['r (m + n + 1)', adalora, { rank: r, target: 1 }, (m, n) => r * (m + n + 1)],
  ['m + r', vera, { rank: r }, (m) => m + r],
  ['2 r (m + n)', loha, { rank: r }, (m, n) => 2 * r * (m + n)],
  ['m1 n1 + r (m2 + n2)', lokr, { rank: 1, factor: 4 }, (m, n) => 4 * 4 + (m / 4 + n / 4)],
  // Blocks of the input's width, as PEFT has it.
  ['q s (s - 1) / 2', oft, { blockSize: 8 }, (_, n) => ((n / 8) * 8 * 7) / 2],
]

describe.each(Object.keys(queriesAndValues))('trained numbers on %s', (name) => {
  const load = async (): Promise<{ base: Model; sites: Site[] }> => {
    const base = await openModel(await golden(name))
    return { base, sites: sitesOf(base, ['linear']).filter((site) => queriesAndValues[name].test(site.name)) }
  }
  const none = { modulesToSave: [] }

  it.each(formulas)('%s', async (_, method, options, formula) => {
    const { base, sites } = await load()
    expect(await method.count(base, { ...none, ...options } as never)).toBe(sum(sites, formula))
  })

  it('2 (2 d b + b + d) a block of serial adapters, half of it after blocks and beside parts', async () => {
    const { base } = await load()
    const [d, b] = [32, 4]
    const one = 2 * d * b + b + d
    const attention = (await openModel(base.checkpoint)).architecture.attention?.(base.config) ?? []
    const layers = sitesOf(base, ['block']).length
    const parts = (attention.length || layers) + layers
    expect(await houlsby.count(base, { ...none, bottleneck: b })).toBe(parts * one)
    expect(await pfeiffer.count(base, { ...none, bottleneck: b })).toBe(layers * one)
    expect(await parallel.count(base, { ...none, bottleneck: b })).toBe(layers * one)
  })

  it('(2 or 1) d a norm', async () => {
    const { base } = await load()
    const norms = sitesOf(base, ['norm'])
    const each = norms.reduce((n, { out, bias }) => n + (bias ? 2 : 1) * out, 0)
    const targets = norms.map(({ name }) => name)
    expect(await lnTuning.count(base, { ...none, targets } as never)).toBe(each)
  })
})

describe('of virtual tokens', () => {
  it('p d train in a prompt and 2 p k a block in a prefix, k the width of keys', async () => {
    const base = await openModel(await golden('llama'))
    expect(await prompt.count(base, { tokens: 6 })).toBe(6 * 32)
    expect(await prefix.count(base, { tokens: 6 })).toBe(2 * 6 * 16 * 3)
  })
})

describe('what reduces to what', () => {
  const site = (name: string): string => name.slice(0, name.lastIndexOf('.'))

  it('rsLoRA of rank one is LoRA', async () => {
    const base = await golden('llama')
    const plain = noisy(await lora(base, { rank: 1, alpha: 3 }))
    const same = changed(await lora(base, { rank: 1, alpha: 3, rslora: true }), (_, name) =>
      toNumbers(plain.parameters[name]),
    )
    expect(gap(await logitsOf(same), await logitsOf(plain))).toBe(0)
  })

  it('LoHa whose second product is one everywhere is LoRA', async () => {
    const base = await golden('llama')
    const plain = noisy(await lora(base, { rank: 2, alpha: 2 }))
    const own = changed(await loha(base, { rank: 2, alpha: 2 }), (old, name) => {
      const of = (key: string): Float64Array => toNumbers(plain.parameters[`${site(name)}.${key}`])
      if (name.endsWith('hada_w1_a')) return of('lora_B.weight')
      if (name.endsWith('hada_w1_b')) return of('lora_A.weight')
      // [1, 0] times [1, anything]: ones.
      if (name.endsWith('hada_w2_a')) return old.map((_, i) => Number(i % 2 === 0))
      return old.map((_, i) => Number(i < old.length / 2))
    })
    expect(gap(await logitsOf(own), await logitsOf(plain))).toBeLessThan(1e-5)
  })

  it('DoRA that is not trained is the base, and folded its rows have the magnitudes that are trained', async () => {
    const base = await golden('llama')
    const model = noisy(await lora(base, { rank: 2, dora: true, targets: ['q_proj'], layers: [0] }))
    const name = 'model.layers.0.self_attn.q_proj'
    const magnitude = toNumbers(model.parameters[`${name}.lora_magnitude_vector`])
    const scratch = await scratchFolder()
    const folder = join(scratch.path, 'dora')
    await model.fold(folder)
    await using folded = await open(folder)
    const W = toNumbers(await folded.read(`${name}.weight`))
    const norms = magnitude.map((_, row) => normOf(W.slice(row * 32, (row + 1) * 32)))
    expect(gap(norms, magnitude.map(Math.abs))).toBeLessThan(1e-5)
    await scratch.remove()
  })
})

describe('what it costs', () => {
  it('every method that fits a model is counted, those that do not are left out', async () => {
    const base = await openModel(await golden('vit'))
    const rows = await costs(base, methods)
    const named = new Map(rows.map((row) => [row.method, row]))
    expect(named.has('prompt')).toBe(false)
    expect(named.get('lora')!.trained).toBe(await lora.count(base))
    const all = named.get('lora')!.trained / named.get('lora')!.share
    expect(named.get('lora')!.trainingBytes).toBe(4 * (Math.round(all) + 4 * named.get('lora')!.trained))
    expect(named.get('houlsby')).toMatchObject({ folds: false })
  })

  it('LoRA keeps nearly the activations of full fine-tuning, the head alone hardly any', async () => {
    const base = await openModel(await golden('llama'), { trainable: true })
    const ids = valueOf(
      Array.from({ length: 32 }, (_, i) => i),
      [2, 16],
      'int32',
    )
    const batch = { ids, labels: ids }
    const full = savedBytes(base, batch)
    const low = savedBytes(await lora(base, { rank: 2, targets: 'all-linear' }), batch)
    const head = savedBytes(base, batch, (name) => name === 'lm_head.weight')
    expect(low).toBeGreaterThan(0.75 * full)
    // Beside them what is narrow: two products of each of 14 modules.
    expect(low).toBeLessThanOrEqual(full + 4 * 32 * 2 * 2 * 14)
    expect(head).toBeLessThan(0.2 * full)
    // The logits and the head's input: nothing else is kept.
    expect(head).toBeGreaterThanOrEqual(4 * 2 * 16 * 32)
    expect(savedBytes(base, { ids: twice(ids), labels: twice(ids) })).toBeGreaterThan(1.9 * full)
  })
})

const twice = (v: Value): Value =>
  valueOf([...toNumbers(v), ...toNumbers(v)], [2 * v.shape[0], v.shape[1]], 'int32')
