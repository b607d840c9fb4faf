import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { countOf, gap, logitsOf } from '../../../test/adapter.js'
import { goldenFolder } from '../../../test/golden.js'
import { writeWideLlama } from '../../../test/tiny.js'
import { opened } from '../../../test/opened.js'
import type { Checkpoint } from '../../checkpoint/index.js'
import { openModel } from '../../models/index.js'
import { keyOf, normal, Stream } from '../../random/index.js'
import { toNumbers, value, type Value, valueOf } from '../../tensor/index.js'
import {
  adamW,
  type Batch,
  evaluate,
  fit,
  type FitOptions,
  type Hook,
  sgd,
  type TrainingState,
} from '../../train/index.js'
import { baseTensor } from '../../models/stored.js'
import { type AdaptedModel, lift, type LiftOptions, loadAdapter } from '../index.js'
import { planted, recovered } from './planted.js'
import { maskKinds, maskOf, type MaskOptions } from '../../sparse/index.js'

let base: Checkpoint
let scratch: string
beforeAll(async () => {
  base = await opened(goldenFolder('llama'))
  scratch = await mkdtemp(join(tmpdir(), 'weft-lift-'))
})
afterAll(() => rm(scratch, { recursive: true }))

const random = (rows: number, columns: number, seed = 'w'): Float32Array => {
  const data = new Float32Array(rows * columns)
  normal(data, keyOf(seed))
  return data
}

const plain: MaskOptions = { mask: 'principal', order: 'largest', filterRank: 4, svd: 'exact', seed: 0 }
const mask = (
  data: Float32Array,
  [rows, columns, k]: readonly number[],
  options: Partial<MaskOptions> = {},
) => maskOf({ name: 'W', rows, columns, data }, k, { ...plain, ...options })

const overlap = (a: Int32Array, b: Int32Array): number => {
  const other = new Set(b)
  return a.filter((i) => other.has(i)).length / a.length
}

describe('a mask', () => {
  it.each(maskKinds)('of kind %s has k entries, ascending, from either end', async (kind) => {
    const gradient = random(12, 20, 'g')
    for (const order of ['largest', 'smallest'] as const) {
      const w = { name: 'W', rows: 12, columns: 20, data: random(12, 20), gradient }
      const found = await maskOf(w, 17, { ...plain, mask: kind, order })
      expect(found).toHaveLength(17)
      expect([...found]).toEqual([...new Set(found)].sort((a, b) => a - b))
    }
  })

  it('of the full rank is that of magnitude', async () => {
    const data = random(16, 24)
    const sizes = [16, 24, 30]
    expect(await mask(data, sizes, { filterRank: 16 })).toEqual(
      await mask(data, sizes, { mask: 'magnitude' }),
    )
  })

  it('does not see the scale or sign of W, and goes with its rows and columns', async () => {
    const [rows, columns] = [16, 24]
    const data = random(rows, columns)
    const sizes = [rows, columns, 30]
    const found = await mask(data, sizes)
    for (const factor of [-1, 4, 1 / 3])
      expect(
        await mask(
          data.map((x) => factor * x),
          sizes,
        ),
      ).toEqual(found)
    const stream = new Stream('order')
    const [p, q] = [stream.permutation(rows), stream.permutation(columns)]
    const moved = Float32Array.from(
      data,
      (_, i) => data[p[Math.floor(i / columns)] * columns + q[i % columns]],
    )
    const chosen = new Set(found)
    const expected = Array.from({ length: rows * columns }, (_, i) => i).filter((i) =>
      chosen.has(p[Math.floor(i / columns)] * columns + q[i % columns]),
    )
    expect([...(await mask(moved, sizes))]).toEqual(expected)
  })

  it('finds a planted support at its rank, also from a sketch, where magnitude finds half of it', async () => {
    const matrix = planted('test', 0.5)
    const sizes = [matrix.side, matrix.side, matrix.support.length]
    expect(await recovered(matrix, { mask: 'principal', filterRank: 4 })).toBeGreaterThan(0.9)
    expect(await recovered(matrix, { mask: 'magnitude', filterRank: 4 })).toBeLessThan(0.55)
    const [exact, sketched] = await Promise.all([
      mask(matrix.data, sizes),
      mask(matrix.data, sizes, { svd: 'randomized' }),
    ])
    expect(overlap(sketched, exact)).toBeGreaterThan(0.9)
  })

  it('of bands is whole rows or columns', async () => {
    const data = random(8, 10)
    const rows = await mask(data, [8, 10, 20], { mask: 'rows' })
    expect(new Set(rows.map((i) => Math.floor(i / 10))).size).toBe(2)
    const columns = await mask(data, [8, 10, 16], { mask: 'columns' })
    expect(new Set(columns.map((i) => i % 10)).size).toBe(2)
  })

  it('is not made of numbers that are none', async () => {
    const data = random(4, 4).fill(NaN, 3, 5)
    await expect(mask(data, [4, 4, 2])).rejects.toThrow(/2 of the 16 numbers of W are not finite/)
  })
})

describe('a fused weight', () => {
  it.each(['principal', 'magnitude', 'random', 'gradient', 'rows'] as const)(
    'has a mask for each of its logical matrices: by %s',
    async (kind) => {
      const gpt2 = await openModel(await opened(goldenFolder('gpt2')), { trainable: true })
      const width = 32
      // Queries ten times as large as keys and values.
      const name = 'transformer.h.0.attn.c_attn.weight'
      const { data: stored, shape } = await baseTensor(gpt2, name)
      const turned = Float32Array.from(stored as Float32Array, (x, i) => (i % shape[1] < width ? 10 * x : x))
      const scaled = gpt2.with({ ...gpt2.parameters, [name]: value(turned, shape, 'float32') })
      const options = { targets: ['h.0.attn.c_attn'], density: 0.1, mask: kind }
      const model = await lift(kind === 'gradient' ? gpt2 : scaled, {
        ...options,
        calibration: [data(0).next().value as Batch],
      })
      const indices = model.parameters['transformer.h.0.attn.c_attn.lift_indices']
      const share = Math.floor(0.1 * width * width)
      const counts = [0, 0, 0]
      for (const entry of toNumbers(indices)) counts[Math.floor(entry / (width * width))]++
      expect(counts).toEqual([share, share, share])
    },
  )
})

const ids = (seed: string, vocabulary = 90): Value => {
  const stream = new Stream(seed)
  return valueOf(
    Array.from({ length: 14 }, () => stream.int(vocabulary)),
    [2, 7],
    'int32',
  )
}
const data = function* (startAt: number, vocabulary?: number): Generator<Batch> {
  for (let i = startAt; ; i++) {
    const tokens = ids(`ids ${i}`, vocabulary)
    yield { ids: tokens, labels: tokens }
  }
}
const targets = ['q_proj', 'down_proj']
const some = { targets, density: 0.1 } satisfies Partial<LiftOptions>
const train = (model: AdaptedModel, options: FitOptions = {}) =>
  fit(model, data, { steps: 6, learningRate: 1e-2, ...options })
const site = 'model.layers.1.mlp.down_proj'
const valuesOf = (v: Value): number[] => [...toNumbers(v)]

/** The weights of the adapted matrices, as a checkpoint has them. */
const weightsOf = async (model: AdaptedModel, name: string): Promise<Map<string, Value>> => {
  const folder = join(scratch, name)
  await model.fold(folder)
  const folded = await openModel(await opened(folder))
  const names = model.plan.sites.map((at) => `${at.site.name}.weight`)
  return new Map(await Promise.all(names.map(async (n) => [n, await baseTensor(folded, n)] as const)))
}

const dense = (names: Iterable<string>, options: FitOptions) => {
  const wanted = new Set(names)
  return openModel(base, { trainable: (name) => wanted.has(name) }).then((model) =>
    fit(model, data, { steps: 6, learningRate: 1e-2, ...options }),
  )
}

it('trains k numbers a matrix, with moments of as many', async () => {
  const model = await lift(base, some)
  expect(countOf(model)).toBe(3 * (Math.floor(0.1 * 32 * 32) + Math.floor(0.1 * 32 * 72)))
  const ranked = await lift(base, { ...some, rank: 2 })
  expect(countOf(ranked)).toBe(3 * (2 * (32 + 32) + 2 * (32 + 72)))
  const { state } = await train(model, { steps: 1 })
  const kept = Object.values(state.optimizers[0]).flatMap((slots) => Object.values(slots))
  expect(kept.reduce((n, v) => n + v.data.length, 0)).toBe(2 * countOf(model))
})

describe('beside dense Adam', () => {
  const options = { steps: 1, optimizer: adamW({ weightDecay: 0 }) }

  it('a step is the same at the mask, and nothing elsewhere', async () => {
    const start = await lift(base, some)
    const { model } = await train(start, options)
    const own = await weightsOf(model, 'one step')
    const full = (await dense(own.keys(), options)).model
    for (const [name, w] of own) {
      const before = await baseTensor(start.plan.base, name)
      const chosen = new Set(valuesOf(start.parameters[name.replace(/weight$/, 'lift_indices')]))
      w.data.forEach((x, i) => {
        if (chosen.has(i))
          expect(Math.abs(Number(x) - Number(full.parameters[name].data[i]))).toBeLessThan(1e-6)
        else expect(x).toBe(before.data[i])
      })
    }
  })

  it('with every entry it is full fine-tuning, bit for bit', async () => {
    const all = { ...options, steps: 4 }
    const { model } = await train(await lift(base, { targets, density: 1, mask: 'magnitude' }), all)
    const own = await weightsOf(model, 'all')
    const full = (await dense(own.keys(), all)).model
    for (const [name, w] of own) expect(valuesOf(w)).toEqual(valuesOf(full.parameters[name]))
  })
})

describe('the refreshed mask', () => {
  const indices = ({ parameters }: Pick<TrainingState, 'parameters'>): number[] =>
    valuesOf(parameters[`${site}.lift_indices`])
  const moments = ({ optimizers }: TrainingState): number[] =>
    valuesOf(optimizers[0][`${site}.lift_values`].m)

  it('keeps moments of entries that stay, gives none to new ones, and leaves the weights as they are', async () => {
    const seen: { indices: number[]; m: number[] }[] = []
    const hook: Hook = (state) => void seen.push({ indices: indices(state), m: moments(state) })
    // A huge rate moves the weights so far that other entries are the largest.
    const options = { learningRate: 0.3, hook, steps: 3 }
    const stays = await train(await lift(base, { ...some, refresh: 'never' }), {
      ...options,
      hook: undefined,
    })
    const { model } = await train(await lift(base, { ...some, refresh: 2 }), options)
    expect(seen[1].indices).not.toEqual(seen[0].indices)
    const before = new Map(seen[0].indices.map((index, i) => [index, i]))
    const kept = seen[1].indices.filter((index) => before.has(index))
    expect(kept.length).toBeGreaterThan(0)
    // Before the refresh nothing differs from a run that has none.
    const two = await train(await lift(base, { ...some, refresh: 'never' }), {
      ...options,
      hook: undefined,
      steps: 2,
    })
    const unmoved = moments(two.state)
    seen[1].indices.forEach((index, i) =>
      expect(seen[1].m[i]).toBe(before.has(index) ? unmoved[before.get(index)!] : 0),
    )
    expect(model.parameters).not.toEqual(stays.model.parameters)
  })

  it('is the same mask with the same moments where no weight has moved', async () => {
    const [before, after] = await Promise.all(
      (['never', 1] as const).map(async (refresh) =>
        train(await lift(base, { ...some, refresh }), { learningRate: 0, steps: 3 }),
      ),
    )
    expect(indices(after.state)).toEqual(indices(before.state))
    expect(moments(after.state)).toEqual(moments(before.state))
  })

  it.each(['random', 'gradient', 'movement'] as const)('of kind %s is drawn anew', async (kind) => {
    const calibration = [...Array(2).keys()].map((i) => data(i).next().value as Batch)
    const seen: number[][] = []
    const hook: Hook = (state) => void seen.push(indices(state))
    await train(await lift(base, { ...some, mask: kind, refresh: 2, calibration }), { steps: 3, hook })
    expect(seen[1]).not.toEqual(seen[0])
    expect(seen[2]).toEqual(seen[1])
  })

  it('saved with all that ever changed, the adapter is the tuned weights bit for bit', async () => {
    const masks = new Set<number>()
    const hook: Hook = (state) => indices(state).forEach((i) => masks.add(i))
    const start = await lift(base, { ...some, refresh: 2 })
    const { model } = await train(start, { learningRate: 0.1, hook })
    const folder = join(scratch, 'saved')
    await model.save(folder)
    const loaded = await loadAdapter(base, folder)
    const [tuned, again] = [await weightsOf(model, 'tuned'), await weightsOf(loaded, 'again')]
    for (const [name, w] of tuned) expect(valuesOf(again.get(name)!)).toEqual(valuesOf(w))
    expect(gap(await logitsOf(loaded), await logitsOf(model))).toBe(0)
    const entries = loaded.parameters[`${site}.lift_indices`]
    expect(entries.dtype).toBe('int32')
    const k = start.parameters[`${site}.lift_indices`].data.length
    expect(entries.data.length).toBeGreaterThan(k)
    // What was in no mask has the base's bits.
    for (const i of valuesOf(start.parameters[`${site}.lift_indices`])) masks.add(i)
    const before = await baseTensor(model.plan.base, `${site}.weight`)
    const after = valuesOf(tuned.get(`${site}.weight`)!)
    expect(after.filter((x, i) => !masks.has(i) && x !== before.data[i])).toEqual([])
    await train(loaded, { steps: 1, optimizer: sgd() })
  })
})

it('with 200,000 entries of a matrix is saved and loaded', async () => {
  const folder = join(scratch, 'large-base')
  await writeWideLlama(folder)
  const start = await lift(await opened(folder), {
    ...{ targets: ['down_proj'], density: 0.8, refresh: 1, filterRank: 2 },
  })
  expect(countOf(start)).toBeGreaterThan(200_000)
  const few = (startAt: number) => data(startAt, 8)
  const { model } = await fit(start, few, { steps: 2, learningRate: 1e-2 })
  const saved = join(scratch, 'large')
  await model.save(saved)
  const loaded = await loadAdapter(await opened(folder), saved)
  const entries = loaded.parameters['model.layers.0.mlp.down_proj.lift_indices'].data
  expect(entries.length).toBeGreaterThanOrEqual(countOf(start))
  const batch = few(0).next().value as Batch
  const losses = await Promise.all([model, loaded].map((m) => evaluate(m, () => [batch])))
  expect(losses[1].loss).toBe(losses[0].loss)
})

it("trains with AdamW as the paper's where no optimiser is named", async () => {
  const settings = { betas: [0.9, 0.95], epsilon: 1e-6, weightDecay: 0 } as const
  const start = await lift(base, { ...some, refresh: 'never' })
  const runs = [{}, { optimizer: adamW(settings) }, { optimizer: adamW() }].map((o) => train(start, o))
  const [usual, named, other] = await Promise.all(runs)
  const values = ({ model }: { model: AdaptedModel }): number[] =>
    valuesOf(model.parameters[`${site}.lift_values`])
  expect(values(usual)).toEqual(values(named))
  expect(values(usual)).not.toEqual(values(other))
})

it('says that a run is over before its entries are chosen anew', async () => {
  const warn = vi.spyOn(console, 'warn').mockImplementation(() => undefined)
  await train(await lift(base, { ...some, refresh: 3 }), { steps: 4 })
  expect(warn).not.toHaveBeenCalled()
  await train(await lift(base, { ...some, refresh: 'never' }), { steps: 2 })
  expect(warn).not.toHaveBeenCalled()
  await train(await lift(base, { ...some, refresh: 4 }), { steps: 4 })
  expect(warn.mock.calls).toEqual([[expect.stringMatching(/every 4 steps.*the run has 4/)]])
  warn.mockRestore()
})

describe('refuses', () => {
  it.each([
    ['a share of nothing', { density: 1e-6 }, 'DensityTooSmall', /is none/],
    ['a share above 1', { density: 2 }, 'BadOption', /density/],
    ['a rank that no weight has', { filterRank: 33 }, 'RankTooHigh', /filterRank 33 at .*q_proj.*32 x 32/],
    ['a refresh after no step', { refresh: 0 }, 'BadOption', /refresh/],
    ['gradients of no data', { mask: 'gradient' }, 'NoCalibration', /gradient/],
    ['weights with one axis', { targets: ['input_layernorm'] }, 'NoSuchModule', /input_layernorm/],
  ] as const)('%s', async (_, options, code, message) => {
    const attempt = lift(base, options as never)
    await expect(attempt).rejects.toMatchObject({ code })
    await expect(attempt).rejects.toThrow(message)
  })

  it('weights that are not numbers, by name', async () => {
    const model = await openModel(base, { trainable: true })
    const name = `${site}.weight`
    const old = model.parameters[name]
    const broken = value(
      Float32Array.from(old.data as Float32Array).fill(Infinity, 0, 3),
      old.shape,
      'float32',
    )
    const attempt = lift(model.with({ ...model.parameters, [name]: broken }))
    await expect(attempt).rejects.toThrow(new RegExp(`3 of the 2304 numbers of ${site}`))
  })
})
