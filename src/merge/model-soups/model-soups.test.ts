/** @file The exact properties of soups: what they keep, what they promise, and what they refuse. */
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { inMemory, tensorsOf } from '../../../test/in-memory.js'
import { scratchFolder, sentences, writeRandom, writeTinyLlama } from '../../../test/tiny.js'
import { type Checkpoint, open } from '../../checkpoint/index.js'
import { createModel, type Model, openModel } from '../../models/index.js'
import { keyOf, normal } from '../../random/index.js'
import { gaussianMixture, type LabelledData } from '../../synth/index.js'
import { compile, type Tensor, toNumbers, type Value, valueAndGrad, valueOf } from '../../tensor/index.js'
import { adamW, type Batch, evaluate, fit, forward } from '../../train/index.js'
import { ensembleGap } from './ensemble.js'
import { alphasOf, learnedSoup, soupLoss, soupModel } from './learned.js'
import { modelInMemory } from '../core/recipe/in-memory.js'
import { minibatches, whole } from '../../experiment/batches.js'
import { greedySoup } from './model-soups.js'
import { uniformSoup } from './uniform.js'
import type { Merged } from '../core/procedure.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
const at = (name: string): string => join(scratch.path, name)

const task = gaussianMixture({ classes: 4, width: 8, prototypes: 2, seed: 'soups' })
const config = { model_type: 'weft_mlp', sizes: [8, 16, 4], hidden_act: 'relu' }
let base: Model
let models: Checkpoint[]
let held: () => readonly Batch[]
const data = (count: number, seed: string): LabelledData => task.sample(count, { seed })

beforeAll(async () => {
  scratch = await scratchFolder()
  held = whole(data(300, 'held'))
  const start = await createModel(config, { seed: 1 })
  base = (await fit(start, minibatches(data(500, 'base'), 32, 'base'), { steps: 40, learningRate: 5e-3 }))
    .model
  models = []
  for (const [i, learningRate] of [3e-3, 6e-3, 1e-2, 0.3].entries()) {
    const tuned = await fit(base, minibatches(data(200, `task ${i}`), 32, `${i}`), {
      steps: 40,
      learningRate,
    })
    models.push(await modelInMemory(tuned.model, `model-${i}`))
  }
})
afterAll(() => scratch.remove())

let saved = 0
/** The tensors of what a procedure writes. */
const written = async (merged: Merged | Promise<Merged>): Promise<Record<string, Value>> => {
  const folder = at(`soup-${saved++}`)
  await (await merged).save(folder)
  await using checkpoint = await open(folder)
  return await tensorsOf(checkpoint)
}

const expectClose = (a: Record<string, Value>, b: Record<string, Value>, tolerance: number): void => {
  expect(Object.keys(a).sort()).toEqual(Object.keys(b).sort())
  for (const [name, v] of Object.entries(a)) {
    const other = toNumbers(b[name])
    toNumbers(v).forEach((x, i) => expect(Math.abs(x - other[i])).toBeLessThanOrEqual(tolerance))
  }
}

describe('a uniform soup', () => {
  it('of one model, or of equal models, is that model bit for bit', async () => {
    const one = await tensorsOf(models[0])
    expectClose(await written(uniformSoup([models[0]])), one, 0)
    const same = await Promise.all(
      Array.from({ length: 7 }, (_, i) =>
        inMemory(config, { ...one }).then((c) => Object.assign(c, { folder: `same-${i}` })),
      ),
    )
    expectClose(await written(uniformSoup(same)), one, 0)
  })

  it('does not depend on the order, and is the running mean', async () => {
    const soup = await written(uniformSoup(models))
    expectClose(await written(uniformSoup([...models].reverse())), soup, 1e-6)
    const running: Record<string, Float64Array> = {}
    for (const [n, model] of models.entries())
      for (const [name, v] of Object.entries(await tensorsOf(model)))
        running[name] = toNumbers(v).map((x, i) =>
          n ? running[name][i] + (x - running[name][i]) / (n + 1) : x,
        )
    for (const [name, v] of Object.entries(soup))
      toNumbers(v).forEach((x, i) => expect(Math.abs(x - running[name][i])).toBeLessThan(1e-6))
  })

  it('of models that are linear in their weights has the mean of their logits', async () => {
    const linear = { model_type: 'weft_mlp', sizes: [8, 4] }
    const parts = await Promise.all([1, 2, 3].map((seed) => createModel(linear, { seed })))
    const stored = await Promise.all(parts.map((model, i) => modelInMemory(model, `linear-${i}`)))
    const folder = at('linear')
    await (await uniformSoup(stored)).save(folder)
    await using checkpoint = await open(folder)
    const [batch] = held()
    const logits = async (model: Model): Promise<Float64Array> => {
      type Inputs = { parameters: Record<string, Tensor>; batch: Record<string, Tensor> }
      const given = { parameters: { ...model.parameters }, batch: { ...batch } }
      const f = ({ parameters, batch }: Inputs): Tensor => forward(model, parameters, batch).logits
      return toNumbers(await (await compile(f, given)).run(given))
    }
    const all = await Promise.all(parts.map(logits))
    const soup = await logits(await openModel(checkpoint, { trainable: true }))
    soup.forEach((x, i) => expect(x).toBeCloseTo((all[0][i] + all[1][i] + all[2][i]) / 3, 5))
  })

  it('computes the statistics of batch norm anew from data', async () => {
    const small = {
      model_type: 'resnet',
      num_channels: 1,
      embedding_size: 4,
      hidden_sizes: [4],
      depths: [1],
      layer_type: 'basic',
      num_labels: 2,
    }
    for (const seed of [1, 2]) await writeRandom(at(`resnet-${seed}`), small, seed)
    const pixels = new Float32Array(16 * 8 * 8)
    normal(pixels, keyOf('pixels'))
    const batches = [0, 1].map((b) => ({
      pixels: valueOf(pixels.subarray(b * 512, (b + 1) * 512), [8, 1, 8, 8]),
      labels: valueOf([0, 1, 0, 1, 0, 1, 0, 1], [8], 'int32'),
    }))
    await using a = await open(at('resnet-1'))
    await using b = await open(at('resnet-2'))
    const soup = await written(uniformSoup([a, b], { data: () => batches }))
    const plain = await written(uniformSoup([a, b]))
    const kernel = toNumbers(soup['resnet.embedder.embedder.convolution.weight'])
    expect(kernel).toEqual(toNumbers(plain['resnet.embedder.embedder.convolution.weight']))
    // The first convolution sees the data itself, so that its means can be computed by hand.
    const means = toNumbers(soup['resnet.embedder.embedder.normalization.running_mean'])
    const expected = new Float64Array(4)
    const [side, out] = [8, 4]
    for (let n = 0; n < 16; n++)
      for (let c = 0; c < 4; c++)
        for (let y = 0; y < out; y++)
          for (let x = 0; x < out; x++)
            for (let i = 0; i < 7; i++)
              for (let j = 0; j < 7; j++) {
                const [row, column] = [2 * y + i - 3, 2 * x + j - 3]
                if (row < 0 || column < 0 || row >= side || column >= side) continue
                expected[c] +=
                  (pixels[n * 64 + row * side + column] * kernel[c * 49 + i * 7 + j]) / (16 * out * out)
              }
    means.forEach((x, c) => expect(x).toBeCloseTo(expected[c], 4))
  })
})

describe('a greedy soup', () => {
  interface Report {
    models: { model: string; score: number }[]
    log: { model: string; soup: number; accepted: boolean }[]
    ingredients: string[]
    score: number
    bestScore: number
  }
  const report = ({ report }: Merged): Report => report as unknown as Report

  it('never scores below the best model, and each model it admits makes it better', async () => {
    for (const metric of ['loss', 'accuracy'] as const) {
      const {
        log,
        score,
        bestScore,
        models: scored,
      } = report(await greedySoup(models, { data: held, metric }))
      const better = (a: number, b: number): boolean => (metric === 'loss' ? a < b : a > b)
      expect(scored.some((one) => better(one.score, bestScore))).toBe(false)
      expect(better(bestScore, score)).toBe(false)
      let now = bestScore
      for (const { soup, accepted } of log) {
        expect(accepted).toBe(better(soup, now))
        if (accepted) now = soup
      }
      expect(now).toBe(score)
    }
  })

  it('is the mean of what it admitted, the same each time, and scores as it says', async () => {
    const merged = await greedySoup(models, { data: held })
    const found = report(merged)
    expect(report(await greedySoup(models, { data: held }))).toEqual(found)
    expect(found.ingredients.length).toBeGreaterThan(1)
    expect(found.ingredients).not.toContain('model-3')
    const chosen = models.filter(({ folder }) => found.ingredients.includes(folder))
    const soup = await written(merged)
    expectClose(soup, await written(uniformSoup(chosen)), 1e-6)
    const { loss } = await evaluate(base.with(soup), held)
    expect(loss).toBeCloseTo(found.score, 5)
  })

  it('takes ties only when it is told to', async () => {
    const twice = [
      models[0],
      await modelInMemory({ checkpoint: base.checkpoint, parameters: await tensorsOf(models[0]) }, 'again'),
    ]
    expect(report(await greedySoup(twice, { data: held })).ingredients).toEqual(['model-0'])
    const accepting = await greedySoup(twice, { data: held, ties: 'accept', metric: 'accuracy' })
    expect(report(accepting).ingredients).toEqual(['model-0', 'again'])
  })

  it('is written with the names, shapes, dtypes and size of one model', async () => {
    const folder = at('sized')
    await (await greedySoup(models, { data: held })).save(folder)
    await using soup = await open(folder)
    const bytes = (c: Checkpoint): number => c.names().reduce((n, name) => n + c.info(name).length, 0)
    expect(soup.names()).toEqual(models[0].names())
    for (const name of soup.names()) {
      const [{ dtype, shape }, other] = [soup.info(name), models[0].info(name)]
      expect({ dtype, shape }).toEqual({ dtype: other.dtype, shape: other.shape })
    }
    expect(bytes(soup)).toBe(bytes(models[0]))
  })

  it('draws what lies between: angles, barriers, lines, a plane', async () => {
    const start = await modelInMemory(base, 'base')
    const merged = await greedySoup(models.slice(0, 3), { data: held, base: start, analysis: 'plane' })
    const { analysis } = merged.report as unknown as {
      analysis: {
        cosines: number[][]
        barriers: number[][]
        plane: { loss: number[][] }
      }
    }
    expect(analysis.cosines[0][0]).toBeCloseTo(1, 4)
    expect(analysis.cosines[0][1]).toBe(analysis.cosines[1][0])
    expect(analysis.barriers.map((row, i) => row[i])).toEqual([0, 0, 0])
    const [line] = merged.plots![0].series
    expect(line.points.map(({ x }) => x)).toEqual(
      Array.from({ length: 11 }, (_, i) => expect.closeTo(i / 10, 9)),
    )
    expect(line.points[0].y).toBeCloseTo(report(merged).bestScore, 5)
    expect(analysis.plane.loss.map((row) => row.length)).toEqual(Array(7).fill(7))
  })

  it('serves text models, by loss on records', async () => {
    const folders = ['one', 'two'].map((name) => at(`llama-${name}`))
    await writeTinyLlama(folders[0])
    await writeTinyLlama(folders[1], { initializer_range: 0.1 })
    await using one = await open(folders[0])
    await using two = await open(folders[1])
    const records = sentences.slice(0, 4).map((text) => ({ text }))
    const found = report(await greedySoup([one, two], { data: records }))
    expect(found.models.map(({ model }) => model)).toEqual(folders)
    expect(Number.isFinite(found.score)).toBe(true)
  })
})

describe('a learned soup', () => {
  it('begins as the uniform soup, and stays it at a rate of zero', async () => {
    const merged = await learnedSoup(models, { data: held, learningRate: 0, epochs: 1, steps: 1 })
    expectClose(await written(merged), await written(uniformSoup(models)), 1e-6)
    const start = await soupModel(models, 'tensor')
    const { loss } = await evaluate(start, held)
    const { loss: uniform } = await evaluate(base.with(await written(uniformSoup(models))), held)
    expect(loss).toBeCloseTo(uniform, 5)
  })

  it.each(['model', 'tensor'] as const)(
    'with weights per %s has gradients that differences confirm',
    async (per) => {
      const model = await soupModel(models.slice(0, 3), per)
      const { raw } = model.parameters
      const given = valueOf(
        Float32Array.from(raw.data as Float32Array, (_, i) => 0.3 * Math.sin(i)),
        raw.shape,
      )
      const loss = soupLoss(model)
      type P = Record<string, Tensor>
      const inputs = {
        parameters: { raw: given, beta: valueOf([1.2], []) } as Record<string, Value>,
        batch: { ...held()[0] },
      }
      const program = await compile(
        ({ parameters, batch }: { parameters: P; batch: P }) =>
          valueAndGrad((p: P) => loss(p, batch, {}).loss)(parameters),
        inputs,
      )
      const { grads } = await program.run(inputs)
      const lossAt = async (parameters: Record<string, Value>): Promise<number> =>
        toNumbers((await program.run({ ...inputs, parameters })).value)[0]
      const step = 1e-2
      for (const [name, indices] of [
        ['raw', [0, 1, raw.data.length - 1]],
        ['beta', [0]],
      ] as const)
        for (const i of indices) {
          const moved = (by: number): Record<string, Value> => {
            const { shape, data } = inputs.parameters[name]
            const numbers = Float32Array.from(data as Float32Array)
            numbers[i] += by
            return { ...inputs.parameters, [name]: valueOf(numbers, shape) }
          }
          const difference = ((await lossAt(moved(step))) - (await lossAt(moved(-step)))) / (2 * step)
          expect(Math.abs(toNumbers(grads[name])[i] - difference)).toBeLessThan(2e-3)
        }
    },
  )

  it('has weights that add up to 1 for every tensor, and lowers the loss it learns by', async () => {
    const start = await soupModel(models, 'tensor')
    const before = await evaluate(start, held)
    const objectives = [{ loss: soupLoss(start), optimizer: adamW({ weightDecay: 0 }) }]
    const { model } = await fit(start, held, { steps: 1, learningRate: 0.05, objectives })
    for (const alphas of (await alphasOf(model)).values())
      expect(alphas.reduce((a, b) => a + b)).toBeCloseTo(1, 9)
    const merged = await learnedSoup(models, {
      data: () => repeated(held()[0], 30),
      steps: 30,
      evaluation: held,
    })
    expect((merged.report as { score: number }).score).toBeLessThan(before.loss)
    const { loss } = await evaluate(base.with(await written(merged)), held)
    expect(loss).toBeCloseTo((merged.report as { score: number }).score, 4)
  })
})

function* repeated(batch: Batch, count: number): Generator<Batch> {
  for (let i = 0; i < count; i++) yield batch
}

describe('soup and ensemble', () => {
  it('differ as the approximation says, the better the nearer the weights', async () => {
    // Smooth, so that there is a second derivative.
    const smooth = await createModel({ ...config, hidden_act: 'gelu' }, { seed: 4 })
    const noise = Object.fromEntries(
      Object.entries(smooth.parameters).map(([name, v]) => {
        const own = new Float32Array(v.data.length)
        normal(own, keyOf(name))
        return [name, own]
      }),
    )
    const near = (scale: number): Record<string, Value> =>
      Object.fromEntries(
        Object.entries(smooth.parameters).map(([name, v]) => [
          name,
          valueOf(
            Float32Array.from(v.data as Float32Array, (x, i) => x + scale * noise[name][i]),
            v.shape,
          ),
        ]),
      )
    const errors: number[] = []
    for (const scale of [0.2, 0.1, 0.05]) {
      const gap = await ensembleGap(smooth, smooth.parameters, near(scale), held()[0], { step: 0.2 })
      const measured = gap.soup - gap.ensemble
      expect(Math.sign(gap.approximation)).toBe(Math.sign(measured))
      errors.push(Math.abs(measured - gap.approximation))
    }
    // Third order: half the distance, an eighth of the error.
    expect(errors[1]).toBeLessThan(errors[0] / 5)
    expect(errors[2]).toBeLessThan(errors[1] / 5)
  })
})

describe('soups refuse', () => {
  const changed = async (
    name: string,
    change: (all: Record<string, Value>) => Record<string, Value>,
  ): Promise<Checkpoint> =>
    Object.assign(await inMemory(config, change(await tensorsOf(models[0]))), { folder: name })

  it('models that differ, with the first differences', async () => {
    const { 'head.weight': _, ...rest } = await tensorsOf(models[0])
    const odd = Object.assign(await inMemory(config, rest), { folder: 'odd' })
    await expect(uniformSoup([models[0], odd])).rejects.toThrow(
      /model-0 and odd differ: head.weight is F32 \[4, 16\] and absent/,
    )
  })

  it('numbers that are not finite, naming model and tensor', async () => {
    const broken = await changed('broken', (all) => ({ ...all, 'head.bias': valueOf([0, NaN, 0, 0], [4]) }))
    await expect(written(uniformSoup([models[0], broken]))).rejects.toThrow(/broken.*head.bias.*NaN/)
  })

  it('metrics that the data do not have, and options that there are not', async () => {
    await expect(greedySoup(models, { data: held, metric: 'accuracyPerToken' })).rejects.toThrow(
      /have: loss, accuracy\./,
    )
    await expect(greedySoup(models, { data: held, metric: 'bleu' as never })).rejects.toThrow(/greedy-soup/)
    await expect(greedySoup(models)).rejects.toThrow(/needs data/)
  })

  it('warn of models from another basin', async () => {
    const stranger = await fit(
      await createModel(config, { seed: 9 }),
      minibatches(data(500, 'base'), 32, 'other'),
      { steps: 80, learningRate: 5e-3 },
    )
    const other = await modelInMemory(stranger.model, 'stranger')
    const { notes } = await uniformSoup([models[0], other], {
      data: held,
      analysis: 'segments',
      base: await modelInMemory(base, 'base'),
    })
    expect(notes.join('\n')).toMatch(/pleas/)
  })
})
