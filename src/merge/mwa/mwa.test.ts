/** @file The exact properties of metrics-weighted averages, of their logs, and what they refuse. */
import fc from 'fast-check'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { tensorsOf } from '../../../test/in-memory.js'
import { scratchFolder } from '../../../test/tiny.js'
import { hold } from '../../../test/held.js'
import { opened } from '../../../test/opened.js'
import { loadAdapter, lora } from '../../adapt/index.js'
import { type Checkpoint, open, readAdapter } from '../../checkpoint/index.js'
import { createModel, openModel } from '../../models/index.js'
import { keyOf, normal } from '../../random/index.js'
import { gaussianMixture } from '../../synth/index.js'
import { toNumbers, type Value, valueOf } from '../../tensor/index.js'
import { evaluate } from '../../train/index.js'
import { readCheckpointMetrics } from './history.js'
import { metricWeights, type WeightOptions } from './weights.js'
import { mwa } from './mwa.js'
import type { MwaOptions } from './options.js'
import type { Merged } from '../core/procedure.js'
import { whole } from '../../experiment/batches.js'
import { maxOf, minOf } from '../../tensor/numbers.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
const at = (...names: string[]): string => join(scratch.path, ...names)

const config = { model_type: 'weft_mlp', sizes: [8, 12, 4], hidden_act: 'relu' }
const held = whole(gaussianMixture({ classes: 4, width: 8, seed: 'mwa' }).sample(200, { seed: 'held' }))
const losses = [0.9, 0.5, 0.4, 0.45]
let base: Checkpoint
/** Adapters of one run, in folders as PEFT's trainer leaves them. */
let folders: string[]
let adapters: Checkpoint[]
let models: Checkpoint[]

/** Near `start`, another for another seed. */
const near = (start: Readonly<Record<string, Value>>, seed: string, scale: number): Record<string, Value> =>
  Object.fromEntries(
    Object.entries(start).map(([name, v]) => {
      const noise = new Float32Array(v.data.length)
      normal(noise, keyOf(`${seed} ${name}`))
      return [
        name,
        valueOf(
          Float32Array.from(v.data as Float32Array, (x, i) => x + scale * noise[i]),
          v.shape,
        ),
      ]
    }),
  )

beforeAll(async () => {
  scratch = await scratchFolder()
  const model = await createModel(config, { seed: 3 })
  await model.save(at('base'))
  base = await opened(at('base'))
  const adapter = await lora(base, { rank: 2, alpha: 4, targets: 'all-linear', seed: 1 })
  folders = losses.map((_, i) => at('run', `checkpoint-${20 * (i + 1)}`))
  for (const [i, folder] of folders.entries()) {
    await adapter.with(near(adapter.parameters, `${i}`, 0.1)).save(folder)
    const log = losses.slice(0, i + 1).flatMap((loss, k) => [
      { step: 20 * k + 10, loss: loss + 0.01 },
      { step: 20 * k + 20, loss: loss - 0.01 },
      { step: 20 * k + 20, eval_loss: 2 * loss },
    ])
    await writeFile(
      join(folder, 'trainer_state.json'),
      JSON.stringify({ global_step: 20 * (i + 1), log_history: log }),
    )
    await model.with(near(model.parameters, `${i}`, 0.1)).save(at('whole', `step-${20 * (i + 1)}`))
  }
  const rows = losses.map((loss, k) =>
    JSON.stringify({ step: 20 * k + 5, loss, evaluation: { loss: 3 * loss } }),
  )
  await writeFile(at('whole', 'metrics.jsonl'), `${rows.join('\n')}\n`)
  adapters = await Promise.all(folders.map(async (folder) => (await readAdapter(folder)).tensors))
  models = await Promise.all(losses.map((_, i) => opened(at('whole', `step-${20 * (i + 1)}`))))
})
afterAll(async () => {
  await Promise.all([base, ...adapters, ...models].map((checkpoint) => checkpoint.close()))
  await scratch.remove()
})

let saved = 0
const save = async (merged: Merged | Promise<Merged>): Promise<string> => {
  const folder = at(`merged-${saved++}`)
  await (await merged).save(folder)
  return folder
}

/** The tensors of an adapter folder. */
const withTensors = async (folder: string): Promise<Record<string, Value>> => {
  await using tensors = (await readAdapter(folder)).tensors
  return await tensorsOf(tensors)
}

const adapterTensors = async (merged: Merged | Promise<Merged>): Promise<Record<string, Value>> =>
  withTensors(await save(merged))

interface Report {
  checkpoints: { weight: number; loss?: number; step?: number; metric?: number }[]
  penalty: number
  covarianceTerm: number
  tried: { penalty: number; loss: number }[]
}
const reportOf = async (merged: Promise<Merged>): Promise<Report> =>
  (await merged).report as unknown as Report
const weightsOf = async (given: Partial<MwaOptions>): Promise<number[]> =>
  (await reportOf(mwa(adapters, given))).checkpoints.map(({ weight }) => weight)

const expectClose = (a: Record<string, Value>, b: Record<string, Value>, tolerance: number): void => {
  expect(Object.keys(a).sort()).toEqual(Object.keys(b).sort())
  for (const [name, v] of Object.entries(a)) {
    const other = toNumbers(b[name])
    toNumbers(v).forEach((x, i) => expect(Math.abs(x - other[i])).toBeLessThanOrEqual(tolerance))
  }
}

describe('weights by metrics', () => {
  const inOrder = (metrics: readonly number[]): number[] => [...metrics.keys()]
  const weigh = (metrics: readonly number[], options: Partial<WeightOptions>): number[] =>
    metricWeights(metrics, inOrder(metrics), {
      by: 'loss',
      score: 'power',
      penalty: 1,
      decay: 0.8,
      ...options,
    })
  const positive = fc.array(fc.double({ min: 1e-3, max: 1e3, noNaN: true }), { minLength: 1, maxLength: 9 })
  const scored = fc.constantFrom('power', 'linear', 'softmax' as const)

  it('add up to 1, are not negative, and grow as the metric gets better', () => {
    fc.assert(
      fc.property(positive, scored, fc.double({ min: 0, max: 1, noNaN: true }), (metrics, score, penalty) => {
        const weights = weigh(metrics, { score, penalty })
        expect(weights.reduce((a, b) => a + b)).toBeCloseTo(1, 12)
        metrics.forEach((a, i) => {
          expect(weights[i]).toBeGreaterThanOrEqual(0)
          metrics.forEach((b, j) => a < b && expect(weights[i]).toBeGreaterThanOrEqual(weights[j]))
        })
      }),
    )
  })

  it('do not change with the unit of the losses', () => {
    // Of six digits: what differs in its last bit alone differs otherwise, or not at all, in another unit.
    const digits = fc.integer({ min: 1, max: 1e6 }).map((n) => n / 1e3)
    fc.assert(
      fc.property(
        fc.array(digits, { minLength: 1, maxLength: 9 }),
        scored,
        fc.double({ min: 0.01, max: 100, noNaN: true }),
        (metrics, score, unit) => {
          const scaled = weigh(
            metrics.map((x) => unit * x),
            { score },
          )
          weigh(metrics, { score }).forEach((w, i) => expect(scaled[i]).toBeCloseTo(w, 8))
        },
      ),
    )
  })

  it('are uniform for a penalty of 0, and for equal metrics', () => {
    for (const score of ['power', 'linear', 'softmax'] as const) {
      for (const w of weigh([3, 1, 2], { score, penalty: 0 })) expect(w).toBeCloseTo(1 / 3, 12)
      for (const w of weigh([2, 2, 2], { score })) expect(w).toBeCloseTo(1 / 3, 12)
    }
  })

  it('come down to the best, or the last, for a high penalty, without overflow', () => {
    expect(weigh([0.3, 0.1, 0.2], { penalty: 5000 })).toEqual([0, 1, 0])
    expect(weigh([10, 30, 20], { by: 'step', penalty: 5000 })).toEqual([0, 1, 0])
    expect(weigh([0.3, 0.1, 0.2], { score: 'linear', penalty: 1 })[0]).toBe(0)
    expect(weigh([0.3, 0.1, 0.2], { score: 'best' })).toEqual([0, 1, 0])
    expect(weigh([0.3, 0.1, 0.2], { score: 'last' })).toEqual([0, 0, 1])
    expect(weigh([1, 1, 1], { score: 'ema', decay: 0.5 })).toEqual([0.25, 0.25, 0.5])
  })

  it('refuse what makes no sense', () => {
    expect(() => weigh([0.5, -1], {})).toThrow(/checkpoint 2 is -1.*above 0/)
    expect(() => weigh([0.5, NaN], { score: 'softmax' })).toThrow(/NaN/)
    expect(() => weigh([1, 2], { penalty: -1 })).toThrow(/penalty is -1/)
    expect(() => weigh([1, 2], { score: 'linear', penalty: 1.5 })).toThrow(/less than nothing/)
    expect(() => weigh([20, 20], { by: 'step' })).toThrow(/two checkpoints are of step 20/)
    expect(() => weigh([], {})).toThrow(/no checkpoint/)
  })
})

describe('logs', () => {
  it("of Hugging Face's trainer give steps, mean losses of a window and evaluations", async () => {
    const found = await readCheckpointMetrics(folders)
    found.forEach(({ step, loss, evaluation }, i) => {
      expect(step).toBe(20 * (i + 1))
      expect(loss).toBeCloseTo(losses[i], 12)
      expect(evaluation).toBeCloseTo(2 * losses[i], 12)
    })
  })

  it("of Weft give the same, from the run's folder above the checkpoints", async () => {
    const found = await readCheckpointMetrics(models.map(({ folder }) => folder))
    expect(found.map(({ step, loss, evaluation }) => ({ step, loss, evaluation }))).toEqual(
      losses.map((loss, i) => ({ step: 20 * (i + 1), loss, evaluation: 3 * loss })),
    )
  })

  it('that are missing are an error that says what to give instead', async () => {
    await mkdir(at('bare'))
    await (await createModel(config, { seed: 3 })).save(at('bare', 'model'))
    await using bare = await open(at('bare', 'model'))
    await expect(mwa([bare])).rejects.toThrow(/model: its loss is unknown.*metrics.jsonl[^]*-p metric=step/)
    const { checkpoints } = await reportOf(mwa([bare], { values: '0.4' }))
    expect(checkpoints).toEqual([{ checkpoint: at('bare', 'model'), loss: 0.4, weight: 1 }])
    await expect(mwa([bare], { values: '0.4,0.3' })).rejects.toThrow(/expected 1 numbers/)
  })
})

describe('an average of adapters', () => {
  it('of one checkpoint is that checkpoint, bit for bit', async () => {
    expectClose(await adapterTensors(mwa([adapters[1]])), await tensorsOf(adapters[1]), 0)
  })

  it('weighs by loss, by step, and by numbers that are given', async () => {
    const sum = losses.reduce((s, x) => s + 1 / x, 0)
    expect(await weightsOf({})).toEqual(losses.map((x) => expect.closeTo(1 / x / sum, 12)))
    expect(await weightsOf({ metric: 'step' })).toEqual(
      [0.1, 0.2, 0.3, 0.4].map((x) => expect.closeTo(x, 12)),
    )
    expect(await weightsOf({ values: [1, 1, 1, 1] })).toEqual(Array(4).fill(0.25))
  })

  it('is the weighted mean of every tensor, between least and most, in any order', async () => {
    const merged = await adapterTensors(mwa(adapters, { metric: 'step' }))
    const all = await Promise.all(adapters.map(tensorsOf))
    for (const [name, v] of Object.entries(merged))
      toNumbers(v).forEach((x, i) => {
        const own = all.map((one) => toNumbers(one[name])[i])
        expect(x).toBeCloseTo(
          own.reduce((s, y, k) => s + (y * (k + 1)) / 10, 0),
          6,
        )
        expect(x).toBeGreaterThanOrEqual(minOf(own) - 1e-7)
        expect(x).toBeLessThanOrEqual(maxOf(own) + 1e-7)
      })
    expectClose(await adapterTensors(mwa([...adapters].reverse(), { metric: 'step' })), merged, 1e-6)
    const bytes = (one: Record<string, Value>): number =>
      Object.values(one).reduce((n, v) => n + v.data.length, 0)
    expect(bytes(merged)).toBe(bytes(all[0]))
  })

  it('loads as an adapter, and scores as it said', async () => {
    const folder = await save(mwa(adapters))
    const model = await loadAdapter(base, folder, { onWarning: () => undefined })
    const { tried, penalty } = await reportOf(mwa(adapters, { base, data: held }))
    expect(tried.map((one) => one.penalty)).toEqual([0, 0.5, 0.7, 0.8, 1, 2, 4])
    expect(tried.find((one) => one.penalty === 1)!.loss).toBeCloseTo((await evaluate(model, held)).loss, 5)
    expect(tried.find((one) => one.penalty === penalty)!.loss).toBe(minOf(tried.map(({ loss }) => loss)))
  })

  /** Every module's update of an adapter folder, folded: [name, numbers]. */
  const updates = async (folder: string): Promise<Record<string, Float64Array>> => {
    const out = at(`folded-${saved++}`)
    await (await loadAdapter(base, folder, { onWarning: () => undefined })).fold(out)
    await using folded = await open(out)
    const [now, before] = [await tensorsOf(folded), await tensorsOf(base)]
    return Object.fromEntries(
      Object.entries(now).map(([name, v]) => {
        const old = toNumbers(before[name])
        return [name, toNumbers(v).map((x, i) => x - old[i])]
      }),
    )
  }

  it('in delta space is the mean of the updates, and as an adapter N times the rank', async () => {
    const folder = await save(mwa(adapters, { metric: 'step', space: 'delta' }))
    const merged = await updates(folder)
    const all = await Promise.all(folders.map(updates))
    for (const [name, numbers] of Object.entries(merged))
      numbers.forEach((x, i) =>
        expect(x).toBeCloseTo(
          all.reduce((s, one, k) => s + (one[name][i] * (k + 1)) / 10, 0),
          5,
        ),
      )
    const { config: written, tensors } = await readAdapter(folder)
    // The head has only four outputs: at rank 4 it is exact.
    expect(written).toMatchObject({
      r: 8,
      lora_alpha: 16,
      rank_pattern: { head: 4 },
      alpha_pattern: { head: 8 },
    })
    expect(tensors.info('base_model.model.layers.0.lora_A.weight').shape).toEqual([8, 8])
    expect(tensors.info('base_model.model.head.lora_A.weight').shape).toEqual([4, 12])
    await tensors.close()
  })

  it('in delta space at the rank of what it averages is the best of that rank', async () => {
    const exact = await updates(await save(mwa(adapters, { space: 'delta' })))
    const low = await updates(await save(mwa(adapters, { space: 'delta', rank: 2 })))
    const factors = await updates(await save(mwa(adapters)))
    const distance = (a: Record<string, Float64Array>): number =>
      Math.sqrt(
        Object.entries(exact).reduce(
          (s, [name, v]) => s + v.reduce((t, x, i) => t + (x - a[name][i]) ** 2, 0),
          0,
        ),
      )
    expect(distance(low)).toBeLessThanOrEqual(distance(factors) + 1e-6)
    expect(distance(await updates(await save(mwa(adapters, { space: 'delta', rank: 4 }))))).toBeLessThan(
      distance(low),
    )
  })

  it('of factors leaves out the covariance that it reports', async () => {
    const { covarianceTerm } = await reportOf(mwa(adapters))
    const exact = await updates(await save(mwa(adapters, { space: 'delta' })))
    const factors = await updates(await save(mwa(adapters)))
    const norm = (of: (name: string, i: number) => number): number =>
      Math.sqrt(
        Object.entries(exact).reduce((s, [name, v]) => s + v.reduce((t, _, i) => t + of(name, i) ** 2, 0), 0),
      )
    const lost = norm((name, i) => exact[name][i] - factors[name][i])
    expect(covarianceTerm).toBeCloseTo(lost / norm((name, i) => exact[name][i]), 4)
  })

  it('with A the same in all loses nothing', async () => {
    const first = await loadAdapter(base, folders[0], { onWarning: () => undefined })
    const moved = near(first.parameters, 'frozen', 0.1)
    const frozen = Object.fromEntries(
      Object.entries(first.parameters).map(([name, v]) => [name, name.includes('lora_A') ? v : moved[name]]),
    )
    await first.with(frozen).save(at('frozen-a'))
    const other = hold((await readAdapter(at('frozen-a'))).tensors)
    const given = { values: [0.2, 0.1] }
    expect((await reportOf(mwa([adapters[0], other], given))).covarianceTerm).toBeLessThan(1e-6)
    const [a, b] = [
      await updates(await save(mwa([adapters[0], other], given))),
      await updates(await save(mwa([adapters[0], other], { ...given, space: 'delta' }))),
    ]
    for (const [name, v] of Object.entries(a)) v.forEach((x, i) => expect(x).toBeCloseTo(b[name][i], 6))
  })

  it('refuses other settings, other runs, and what is no LoRA', async () => {
    const make = async (name: string, options: object): Promise<Checkpoint> => {
      await (
        await lora(base, { rank: 2, alpha: 4, targets: 'all-linear', seed: 1, ...options })
      ).save(at(name))
      return hold((await readAdapter(at(name))).tensors)
    }
    const values = { values: [0.2, 0.1] }
    await expect(mwa([adapters[0], await make('alpha', { alpha: 8 })], values)).rejects.toThrow(
      /lora_alpha is 4 and 8/,
    )
    const stranger = await make('stranger', { seed: 77 })
    await expect(mwa([adapters[0], stranger], values)).rejects.toThrow(/not of one run[^]*space=delta/)
    expect((await mwa([adapters[0], stranger], { ...values, space: 'delta' })).notes.length).toBeGreaterThan(
      0,
    )
    await expect(mwa(models, { space: 'delta' })).rejects.toThrow(/for adapters/)
    await expect(mwa(adapters, { rank: 2 })).rejects.toThrow(/space=delta/)
  })
})

describe('an average of whole models', () => {
  it('is their weighted mean, scored on data to choose the penalty', async () => {
    const { penalty, tried, checkpoints } = await reportOf(mwa(models, { data: held }))
    const folder = await save(mwa(models, { data: held }))
    await using merged = await open(folder)
    const all = await Promise.all(models.map(tensorsOf))
    for (const [name, v] of Object.entries(await tensorsOf(merged)))
      toNumbers(v).forEach((x, i) =>
        expect(x).toBeCloseTo(
          all.reduce((s, one, k) => s + checkpoints[k].weight * toNumbers(one[name])[i], 0),
          6,
        ),
      )
    const { loss } = await evaluate(await openModel(merged), held)
    expect(loss).toBeCloseTo(tried.find((one) => one.penalty === penalty)!.loss, 5)
  })
})
