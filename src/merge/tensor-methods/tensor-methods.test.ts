/** @file Exact properties of the methods, and of what they are made of. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { keyOf, normal } from '../../random/index.js'
import type { AlignedTensor, MergeMethod } from '../core/method.js'
import { methods } from './index.js'
import { indexOfEqual, ranked } from '../../stream/kernels/select.js'

const method = (name: string): MergeMethod => methods.find((m) => m.name === name)!

interface Case {
  base?: Float32Array
  models: readonly Float32Array[]
  shape: readonly number[]
  parameters: Record<string, unknown>
  seed?: number
  /** Elements in a block: whole rows. */
  step?: number
}

/** What a method makes of tensors in memory, defaults filled in. */
const run = async (
  m: MergeMethod,
  { base, models, shape, parameters, seed = 0, step }: Case,
): Promise<Float32Array> => {
  const count = models[0].length
  const size = step ?? count
  const tensor: AlignedTensor = {
    name: 'x',
    shape,
    count,
    width: shape.at(-1)!,
    models: models.length,
    key: (index) => keyOf(`${seed} ${index}`),
    async *blocks() {
      for (let first = 0; first < count; first += size)
        yield {
          first,
          base: base?.subarray(first, first + size),
          models: models.map((x) => x.subarray(first, first + size)),
        }
    },
  }
  const per = Object.entries(m.perModel).map(([k, s]) => [
    k,
    models.map((_, i) => s.parse((parameters[k] as unknown[])?.[i])),
  ])
  const all = Object.entries(m.global).map(([k, s]) => [k, s.parse(parameters[k])])
  const p = Object.fromEntries([...per, ...all]) as Record<string, unknown>
  const statistics = await m.prepare?.(tensor, p)
  const out = new Float32Array(count)
  for await (const block of tensor.blocks())
    m.tensor(out.subarray(block.first, block.first + block.models[0].length), block, p, statistics)
  return out
}

const random = (seed: number, count: number): Float32Array => {
  const out = new Float32Array(count)
  normal(out, keyOf(seed))
  return out
}

/** Values for every parameter of a method that has no default. */
const required = (m: MergeMethod, models: number): Record<string, unknown> => ({
  ...('weight' in m.perModel ? { weight: Array.from({ length: models }, (_, i) => 0.5 + i) } : {}),
  ...('density' in m.perModel ? { density: Array.from({ length: models }, () => 0.5) } : {}),
  ...('t' in m.global ? { t: 0.3 } : {}),
  ...('select_topk' in m.global ? { select_topk: 0.5 } : {}),
})

describe.each(methods.map((m) => [m.name, m] as const))('%s', (_, m) => {
  const count = Math.min(m.counts[1], Math.max(2, m.counts[0]))
  const [base, ...models] = Array.from({ length: count + 1 }, (_, i) => random(i, 24 * 8))
  const given = {
    base: m.base === 'none' ? undefined : base,
    models,
    shape: [24, 8],
    parameters: required(m, count),
  }

  it('gives the same in one block as in many', async () => {
    expect(await run(m, { ...given, step: 16 })).toEqual(await run(m, given))
  })

  it('gives a model back that all models are', async () => {
    const same = models.map(() => base)
    const parameters = { ...required(m, count), weight: models.map(() => 1 / count) }
    const out = await run(m, { ...given, models: same, parameters })
    out.forEach((x, i) => expect(x).toBeCloseTo(base[i], 5))
  })
})

describe('sampling', () => {
  const base = new Float32Array(256)
  const delta = random(3, 256)
  const seeds = 1000

  const moments = async (m: MergeMethod, extra: Record<string, unknown>) => {
    const [sum, squares] = [new Float64Array(256), new Float64Array(256)]
    for (let seed = 0; seed < seeds; seed++) {
      const parameters = { weight: [1], density: [0.4], rescale: false, normalize: false, ...extra }
      const out = await run(m, { base, models: [delta], shape: [4, 64], parameters, seed })
      out.forEach((x, i) => {
        sum[i] += x / seeds
        squares[i] += (x * x) / seeds
      })
    }
    return { sum, squares }
  }

  /** Each element's mean is within 5 standard errors of p x, and its second moment of p x^2. */
  const expectBernoulli = async (m: MergeMethod, p: (i: number) => number, extra = {}): Promise<void> => {
    const { sum, squares } = await moments(m, extra)
    delta.forEach((x, i) => {
      const error = 5 * Math.sqrt((p(i) * (1 - p(i))) / seeds)
      expect(Math.abs(sum[i] / x - p(i))).toBeLessThan(error)
      expect(Math.abs(squares[i] / (x * x) - p(i))).toBeLessThan(error)
    })
  }

  it.each(['dare_linear', 'dare_ties'])(
    '%s keeps each element as often as its density says',
    async (name) => {
      await expectBernoulli(method(name), () => 0.4)
    },
  )

  it.each(['della', 'della_linear'])('%s keeps elements by their rank in the row', async (name) => {
    const rank = (i: number): number => {
      const row = delta.subarray(64 * Math.floor(i / 64), 64 * Math.floor(i / 64) + 64)
      return row.filter((x) => Math.abs(x) < Math.abs(delta[i])).length
    }
    await expectBernoulli(method(name), (i) => 0.3 + (0.2 * rank(i)) / 63, { epsilon: [0.1] })
  })

  it('rescaling keeps the sum of magnitudes', async () => {
    const parameters = { weight: [1], density: [0.4] }
    const out = await run(method('dare_linear'), { base, models: [delta], shape: [4, 64], parameters })
    const total = (x: Float32Array): number => x.reduce((sum, v) => sum + Math.abs(v), 0)
    expect(total(out) / total(delta)).toBeCloseTo(1, 5)
    expect(out.some((x) => x === 0)).toBe(true)
  })

  it('is the same for a seed, and another for another', async () => {
    const given = { base, models: [delta], shape: [4, 64], parameters: { weight: [1], density: [0.4] } }
    const m = method('dare_ties')
    expect(await run(m, { ...given, seed: 7 })).toEqual(await run(m, { ...given, seed: 7 }))
    expect(await run(m, { ...given, seed: 7 })).not.toEqual(await run(m, { ...given, seed: 8 }))
  })
})

describe('thresholds', () => {
  const lists = fc.array(fc.integer({ min: 0, max: 0xffffffff }), { minLength: 1, maxLength: 60 })
  const coarse = fc.array(fc.integer({ min: 0, max: 5 }), { minLength: 1, maxLength: 60 })
  it('are what sorting gives, with what is below and what is equal', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(lists, coarse),
        fc.nat(),
        fc.integer({ min: 1, max: 9 }),
        async (list, r, step) => {
          const keys = Uint32Array.from(list)
          async function* passes() {
            for (let first = 0; first < keys.length; first += step)
              yield { first, keys: [keys.subarray(first, first + step)] }
          }
          const rank = r % keys.length
          const [[found]] = await ranked(passes, [[rank]])
          const key = Uint32Array.from(keys).sort()[rank]
          const equal = keys.filter((k) => k === key).length
          expect(found).toEqual({ key, below: keys.filter((k) => k < key).length, equal })
          const [[last]] = await indexOfEqual(passes, [[{ key, nth: equal }]])
          expect(last).toBe(keys.lastIndexOf(key))
        },
      ),
    )
  })

  const sparse = (name: string, delta: readonly number[], parameters: object): Promise<Float32Array> => {
    const base = new Float32Array(delta.length)
    const given = { weight: [1], normalize: false, ...parameters }
    return run(method(name), {
      base,
      models: [Float32Array.from(delta)],
      shape: [delta.length],
      parameters: given,
    })
  }

  it('equal magnitudes keep the lowest index', async () => {
    expect([...(await sparse('ties', [1, -1, 1, 2, -1, 0], { density: [0.5] }))]).toEqual([1, -1, 0, 2, 0, 0])
  })

  it('breadcrumbs leave out the smallest and the largest', async () => {
    const parameters = { density: [0.5], gamma: [0.125] }
    expect([...(await sparse('breadcrumbs', [8, -7, 6, 5, -4, 3, 2, 1], parameters))]).toEqual([
      0, -7, 6, 5, -4, 0, 0, 0,
    ])
    const equal = await sparse('breadcrumbs', [1, 1, 1, 1, 1, 1, 1, 1], parameters)
    expect([...equal]).toEqual([1, 1, 1, 1, 0, 0, 0, 0])
  })
})
