import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { changed, countOf, gap, logitsOf, noisy } from '../../../test/adapter.js'
import { goldenFolder } from '../../../test/golden.js'
import { opened } from '../../../test/opened.js'
import type { Checkpoint } from '../../checkpoint/index.js'
import { type Model, openModel, type Parameters } from '../../models/index.js'
import { compile, grad, type Tensor, toNumbers, type Value, valueOf } from '../../tensor/index.js'
import { type Batch, fit, modelLoss, movedParameters, sgd } from '../../train/index.js'
import { sitesOf } from '../../models/index.js'
import { baseTensor } from '../../models/stored.js'
import { type AdaptedModel, s2ft, toLora } from '../index.js'
import { entriesOf } from '../../units/index.js'
import { requireUnits } from './selection.js'

let base: Checkpoint
let scratch: string
beforeAll(async () => {
  base = await opened(goldenFolder('llama'))
  scratch = await mkdtemp(join(tmpdir(), 'weft-s2ft-'))
})
afterAll(() => rm(scratch, { recursive: true }))

const ids = valueOf([3, 1, 4, 1, 5, 9, 2, 6, 5, 3], [2, 5], 'int32')
const batch: Batch = { ids, labels: ids }
const both = ['up_proj', 'down_proj']

const gradients = async (model: Model): Promise<Record<string, Value>> => {
  type Inputs = { parameters: Record<string, Tensor>; batch: Record<string, Tensor> }
  const f = ({ parameters, batch }: Inputs): Record<string, Tensor> =>
    grad((p: Record<string, Tensor>) => modelLoss(model)(p, batch, {}).loss)(parameters)
  const inputs = { parameters: { ...model.parameters }, batch }
  return (await compile(f, inputs as never)).run(inputs as never) as never
}

/** The chosen rows or columns of a matrix of the base's shape: what V stands for. */
const slice = ({ plan }: AdaptedModel, module: string, v: Value): number[] => {
  const { site, settings } = plan.sites.find((at) => at.site.name === module)!
  const { side, entries } = settings as { side: { axis: string }; entries: number[] }
  const [rows, columns] = v.shape
  const at = (r: number, c: number): number => Number(v.data[r * columns + c])
  expect(site.transposed).toBe(false)
  return side.axis === 'in'
    ? Array.from({ length: rows }, (_, r) => entries.map((c) => at(r, c))).flat()
    : entries.flatMap((r) => Array.from({ length: columns }, (_, c) => at(r, c)))
}

const modules = (model: AdaptedModel): string[] => model.plan.sites.map(({ site }) => site.name)
const unitsOf = (model: AdaptedModel): Record<string, number[]> =>
  (model.plan.options as unknown as { units: Record<string, number[]> }).units

describe('what trains', () => {
  it('is the ratio of all units of a kind, in whole rows or columns', async () => {
    // 3 layers of 72 channels and width 32; 2 groups of heads of 16 entries.
    expect(countOf(await s2ft(base, { ratio: 0.1 }))).toBe(Math.floor(0.1 * 3 * 72) * 32)
    expect(countOf(await s2ft(base, { ratio: 0.1, per: 'layer' }))).toBe(3 * 7 * 32)
    const heads = await s2ft(base, { ratio: 0.5, targets: ['o_proj'] })
    const groups = sitesOf(heads.plan.base, ['linear']).find(({ name }) => name.endsWith('o_proj'))!
    const { count, runs } = requireUnits(groups)
    const [{ unit }] = runs
    expect(countOf(heads)).toBe(Math.floor(0.5 * 3 * count) * unit * 32)
  })

  it('differs from layer to layer when it is chosen over all, and by the seed', async () => {
    const [a, b, again] = await Promise.all([1, 2, 1].map((seed) => s2ft(base, { ratio: 0.2, seed })))
    const counts = Object.values(unitsOf(a)).map((units) => units.length)
    expect(new Set(counts).size).toBeGreaterThan(1)
    expect(unitsOf(b)).not.toEqual(unitsOf(a))
    expect(unitsOf(again)).toEqual(unitsOf(a))
  })

  it('is the same channels on both sides of an MLP', async () => {
    const units = unitsOf(await s2ft(base, { ratio: 0.1, targets: both }))
    for (const module of Object.keys(units).filter((name) => name.endsWith('up_proj')))
      expect(units[module.replace('up_proj', 'down_proj')]).toEqual(units[module])
  })

  it('leaves out modules of which nothing is chosen', async () => {
    const model = await s2ft(base, { ratio: 1 / 216 })
    expect(modules(model)).toHaveLength(1)
    expect(countOf(model)).toBe(32)
  })
})

describe('units are chosen by', () => {
  const top = async (options: Parameters<never> | object): Promise<string[]> => {
    const units = unitsOf(await s2ft(base, { ratio: 0.1, ...options }))
    return Object.entries(units).flatMap(([module, own]) => own.map((u) => `${module} ${u}`))
  }

  it('the norm of their weights', async () => {
    const model = await openModel(base)
    const norms: [string, number][] = []
    for (let layer = 0; layer < 3; layer++) {
      const name = `model.layers.${layer}.mlp.down_proj`
      const { data, shape } = await baseTensor(model, `${name}.weight`)
      for (let u = 0; u < shape[1]; u++)
        norms.push([
          `${name} ${u}`,
          Array.from({ length: shape[0] }, (_, r) => Number(data[r * shape[1] + u]) ** 2).reduce(
            (a, b) => a + b,
          ),
        ])
    }
    norms.sort(([, a], [, b]) => b - a)
    const expected = norms.slice(0, 21).map(([name]) => name)
    expect((await top({ select: 'weight' })).sort()).toEqual(expected.sort())
    const least = norms.slice(-21).map(([name]) => name)
    expect((await top({ select: 'weight', order: 'smallest' })).sort()).toEqual(least.sort())
  })

  it('the norm of their gradient, which is that of V', async () => {
    const chosen = await top({ select: 'gradient', calibration: [batch] })
    const all = await s2ft(base, { ratio: 1 })
    const norms = Object.entries(await gradients(all)).flatMap(([name, g]) => {
      const [rows, columns] = g.shape
      const data = toNumbers(g)
      return Array.from({ length: columns }, (_, u): [string, number] => [
        `${name.replace('.s2ft_V', '')} ${u}`,
        Array.from({ length: rows }, (_, r) => data[r * columns + u] ** 2).reduce((a, b) => a + b),
      ])
    })
    norms.sort(([, a], [, b]) => b - a)
    expect(chosen.sort()).toEqual(
      norms
        .slice(0, 21)
        .map(([name]) => name)
        .sort(),
    )
  })

  it('their activation, alone or times the weight, also where only what makes them trains', async () => {
    const calibration = [batch]
    const active = await top({ select: 'activation', calibration })
    expect(active).toHaveLength(21)
    expect(await top({ select: 'score', calibration })).not.toEqual(active)
    const above = await top({ select: 'activation', calibration, targets: ['up_proj'] })
    expect(above.map((name) => name.replace('up_proj', 'down_proj'))).toEqual(active)
  })

  it('nothing without the batches that it needs', async () => {
    await expect(s2ft(base, { select: 'gradient' })).rejects.toMatchObject({ code: 'NoCalibration' })
  })
})

describe.each([
  ['what an MLP reads', ['down_proj'], 'llama', 0.1],
  ['both sides of an MLP', both, 'llama', 0.1],
  ['heads where keys have fewer', ['v_proj', 'o_proj'], 'llama', 0.5],
  ['a fused matrix', ['c_attn'], 'gpt2', 0.25],
  ['a plain MLP stored the other way', ['c_fc', 'mlp.c_proj'], 'gpt2', 0.1],
] as const)('on %s', (_, targets, architecture, ratio) => {
  let model: AdaptedModel
  beforeAll(async () => {
    const checkpoint = await opened(goldenFolder(architecture))
    model = await s2ft(checkpoint, { ratio, per: 'layer', targets: [...targets] })
  })

  it('merged, written as LoRA and beside its base it is one function', async () => {
    const moved = noisy(model)
    const logits = await logitsOf(moved)
    const folder = join(scratch, `${architecture} ${targets.join()}`)
    await moved.fold(folder)
    expect(gap(await logitsOf(await openModel(await opened(folder))), logits)).toBeLessThan(1e-5)
    expect(gap(await logitsOf(await toLora(moved)), logits)).toBeLessThan(1e-5)
  })

  it('folded changes the chosen entries and no other bit', async () => {
    const folder = join(scratch, `bits ${architecture} ${targets.join()}`)
    await noisy(model).fold(folder)
    const folded = await openModel(await opened(folder))
    const chosen = new Map(model.plan.sites.map((at) => [`${at.site.name}.weight`, at]))
    for (const { name } of model.architecture.table(model.config)) {
      const [before, after] = [await baseTensor(model.plan.base, name), await baseTensor(folded, name)]
      const different = [...before.data].filter((x, i) => x !== after.data[i]).length
      const V = chosen.get(name) && model.parameters[name.replace(/weight$/, 's2ft_V')]
      expect(different, name).toBeLessThanOrEqual(V ? V.data.length : 0)
      if (V) expect(different).toBeGreaterThan(0.9 * V.data.length)
    }
  })
})

describe('beside full fine-tuning', () => {
  const trainable = async (names: readonly string[]): Promise<Model> =>
    openModel(base, { trainable: (name) => names.includes(name.replace(/\.weight$/, '')) })

  it('the gradient is the chosen part of the full one', async () => {
    const model = await s2ft(base, { ratio: 0.1, targets: both })
    const [own, full] = [await gradients(model), await gradients(await trainable(modules(model)))]
    for (const module of modules(model)) {
      const expected = slice(model, module, full[`${module}.weight`])
      toNumbers(own[`${module}.s2ft_V`]).forEach((g, i) =>
        expect(Math.abs(g - expected[i])).toBeLessThan(1e-7),
      )
    }
  })

  it('with every unit of some matrices it is the full fine-tuning of these', async () => {
    const options = { steps: 5, learningRate: 0.1, optimizer: sgd() }
    const data = function* () {
      for (;;) yield batch
    }
    const { model } = await fit(await s2ft(base, { ratio: 1 }), data, options)
    const { model: full } = await fit(await trainable(modules(model)), data, options)
    const folder = join(scratch, 'whole')
    await model.fold(folder)
    const folded = await openModel(await opened(folder))
    for (const module of modules(model)) {
      const [a, b] = [await baseTensor(folded, `${module}.weight`), full.parameters[`${module}.weight`]]
      expect(gap(toNumbers(a), toNumbers(b))).toBeLessThan(1e-6)
    }
  })

  it('keeps of what enters a module only the chosen entries, and optimiser state of their size', async () => {
    const model = await s2ft(base, { ratio: 0.1 })
    const outputs = Object.keys(await gradients(model))
    expect(outputs.sort()).toEqual(Object.keys(movedParameters(model)).sort())
    const { state } = await fit(model, () => [batch], { steps: 1 })
    for (const [name, slots] of Object.entries(state.optimizers[0]))
      for (const slot of Object.values(slots)) expect(slot.shape).toEqual(model.parameters[name].shape)
  })
})

describe('units that do not meet', () => {
  it('can be added in any order, exactly', async () => {
    const ranges = (from: number) =>
      Object.fromEntries([0, 1, 2].map((i) => [`model.layers.${i}.mlp.down_proj`, [from, from + 1]]))
    const [a, b] = await Promise.all(
      [0, 10].map(async (from) => noisy(await s2ft(base, { units: ranges(from) }), 0.1 + from)),
    )
    const folded = async (first: AdaptedModel, second: AdaptedModel, name: string): Promise<Value[]> => {
      await first.fold(join(scratch, `${name} one`))
      const between = await opened(join(scratch, `${name} one`))
      const again = await s2ft(between, { units: unitsOf(second) })
      await again.with(second.parameters).fold(join(scratch, `${name} two`))
      const both = await openModel(await opened(join(scratch, `${name} two`)))
      return Promise.all(modules(a).map((module) => baseTensor(both, `${module}.weight`)))
    }
    const [ab, ba] = [await folded(a, b, 'ab'), await folded(b, a, 'ba')]
    expect(ab.map(({ data }) => [...data])).toEqual(ba.map(({ data }) => [...data]))
  })
})

describe('refuses', () => {
  it.each([
    ['a share of nothing', { ratio: 0.001 }, 'RatioTooSmall', /0.001 of the 216 .* 3 modules is none/],
    ['a share above 1', { ratio: 1.5 }, 'BadOption', /ratio/],
    ['modules without heads or channels', { targets: 'lm_head' }, 'NoUnits', /lm_head/],
    [
      'units that there are not',
      { targets: ['layers.0.mlp.down_proj'], units: { 'model.layers.0.mlp.down_proj': [0, 72] } },
      'BadUnits',
      /unit 72 .* which has 72/,
    ],
  ])('%s', async (_, options, code, message) => {
    const attempt = s2ft(base, options as never)
    await expect(attempt).rejects.toMatchObject({ code })
    await expect(attempt).rejects.toThrow(message)
  })
})

it('is saved as indices and blocks', async () => {
  const folder = join(scratch, 'saved')
  const model = changed(await s2ft(base, { ratio: 0.05 }), (old) => old.map((_, i) => i))
  await model.save(folder)
  const config = JSON.parse(await readFile(join(folder, 'adapter_config.json'), 'utf8')) as {
    units: Record<string, number[]>
  }
  expect(config.units).toEqual(unitsOf(model))
  const [site] = model.plan.sites
  expect(entriesOf(requireUnits(site.site), config.units[site.site.name])).toEqual(
    config.units[site.site.name],
  )
})
