import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type Checkpoint, type JsonObject, open } from '../../checkpoint/index.js'
import { matrix, matrixOf, multiply, svd } from '../../linalg/index.js'
import { createModel, type Model, openModel } from '../../models/index.js'
import { keyOf, normal, Stream } from '../../random/index.js'
import { compile, scalar, sizeOf, toNumbers, type Value, value } from '../../tensor/index.js'
import { type Batch, inputsOf } from '../../train/loss.js'
import { recalibrated } from '../../observe/statistics.js'
import { deepweightflow, learnWeightFlow } from './deepweightflow.js'
import {
  type FlowShape,
  flowParameters,
  flowShapes,
  initialFlow,
  integrate,
  type Integrator,
  sampleFlow,
  trainFlow,
} from './flow.js'
import { plainCoordinates, principalCoordinates } from './pca.js'
import { flatten, openZoo, unflatten } from './zoo.js'
import {
  insideUnit,
  modelOf,
  moveUnits,
  permutationGroups,
  readTensors,
} from '../../units/permutation/index.js'
import { append, maxOf } from '../../tensor/numbers.js'

const mlp = { model_type: 'weft_mlp', sizes: [4, 10, 3], initializer_range: 0.5 }
const resnet = {
  model_type: 'resnet',
  layer_type: 'basic',
  embedding_size: 4,
  hidden_sizes: [4, 8],
  depths: [1, 1],
  num_labels: 3,
}

const model = async (config: JsonObject, seed: number | string): Promise<Checkpoint> =>
  (await createModel(config, { seed })).checkpoint

const zooOf = (count: number, config: JsonObject = mlp): Promise<Checkpoint[]> =>
  Promise.all(Array.from({ length: count }, (_, i) => model(config, i)))

const logitsOf = async (m: Model, batch: Batch): Promise<Float64Array> => {
  const program = await compile(
    ({ p, batch }) => m.architecture.forward(m.weights(p, {}), inputsOf(m, batch), m.config).logits,
    { p: { ...m.parameters }, batch: { ...batch } },
  )
  return toNumbers(await program.run({ p: { ...m.parameters }, batch: { ...batch } }))
}

const noise = (shape: readonly number[], seed: string): Value => {
  const data = new Float32Array(sizeOf(shape))
  normal(data, keyOf(seed))
  return value(data, shape, 'float32')
}

const largestDifference = (x: ArrayLike<number>, y: ArrayLike<number>): number =>
  Array.from(x).reduce((most, v, i) => Math.max(most, Math.abs(v - y[i])), 0)

const quick = { steps: 20, width: 16, points: 5 }

describe('a zoo', () => {
  it('of shuffled copies is one point, and each member computes what it did', async () => {
    const first = await model(mlp, 0)
    const tensors = await readTensors(first)
    const stream = new Stream(1)
    const [group] = permutationGroups(await openModel(first))
    const copy = moveUnits({ tensors, orders: {} }, group, stream.permutation(group.units))
    const zoo = await openZoo([first, (await modelOf(first.config, copy.tensors)).checkpoint])
    for await (const { members } of zoo.blocks()) expect(members[1]).toEqual(members[0])
    expect(zoo.distance.before).toBeGreaterThan(0)
    expect(zoo.distance.after).toBe(0)
  })

  it.each([
    ['mlp', mlp, { embeddings: noise([5, 4], 'x') }],
    ['resnet', resnet, { pixels: noise([2, 3, 16, 16], 'x') }],
  ] as const)('of %ss: an aligned member is the same function', async (_, config, batch) => {
    const members = await zooOf(3, config as unknown as JsonObject)
    const zoo = await openZoo(members)
    const coordinates = await plainCoordinates(zoo)
    const original = await openModel(members[2])
    const point = coordinates.points.data.subarray(2 * coordinates.size)
    // Fresh running statistics are alike in all channels, so they need no order.
    const statistics = Object.fromEntries(
      Object.entries(await readTensors(members[2])).filter(([name]) => /running_|tracked/.test(name)),
    )
    const aligned = await modelOf(members[2].config, {
      ...(await coordinates.tensorsAt(point)),
      ...statistics,
    })
    const was = await logitsOf(original, batch)
    const scale = maxOf(was.map(Math.abs), 1)
    expect(largestDifference(await logitsOf(aligned, batch), was) / scale).toBeLessThan(1e-5)
  })

  it('of transformers is aligned head by head, the residual stream left as it is', async () => {
    const config = {
      model_type: 'vit',
      hidden_size: 8,
      num_hidden_layers: 1,
      num_attention_heads: 2,
      intermediate_size: 12,
      image_size: 8,
      patch_size: 4,
      num_labels: 3,
      initializer_range: 0.3,
    }
    const first = await model(config, 0)
    let state: ReturnType<typeof moveUnits> = { tensors: await readTensors(first), orders: {} }
    const stream = new Stream(2)
    for (const group of permutationGroups(await openModel(first))) {
      if (group.name === 'residual') continue
      state = moveUnits(state, group, stream.permutation(group.units))
      for (const inside of group.insides)
        for (let u = 0; u < group.units; u++)
          state = moveUnits(state, insideUnit(inside, u), stream.permutation(inside.size))
    }
    const zoo = await openZoo([first, (await modelOf(config, state.tensors)).checkpoint])
    expect(zoo.transformer).toBe(true)
    expect(zoo.distance.after).toBe(0)
  })

  it('laid end to end and cut again is bit for bit what it was, as long as its tensors together', async () => {
    const [member] = await zooOf(1)
    const zoo = await openZoo([member])
    const tensors = await readTensors(member)
    const vector = flatten(tensors, zoo.specs)
    expect(vector.length).toBe(zoo.size)
    expect(zoo.size).toBe(4 * 10 + 10 + 10 * 3 + 3)
    expect(zoo.specs.map(({ name }) => name)).toEqual([
      'layers.0.weight',
      'head.weight',
      'layers.0.bias',
      'head.bias',
    ])
    expect(unflatten(vector, zoo.specs)).toEqual(tensors)
  })
})

describe('principal coordinates', () => {
  it('are those of the singular values of the centred matrix', async () => {
    const zoo = await openZoo(await zooOf(6), { align: false })
    const { points, size, explained } = await principalCoordinates(zoo, 3)
    const rows: Float32Array[] = []
    for await (const { members } of zoo.blocks()) append(rows, members)
    const mean = rows[0].map((_, c) => rows.reduce((sum, row) => sum + row[c], 0) / rows.length)
    const { u, s } = svd(matrixOf(rows.map((row) => row.map((x, c) => x - mean[c]))))
    expect(size).toBe(3)
    // The same subspace: the products of the points are those of the leading left vectors times singular values.
    const leading = matrix(6, 3)
    for (let i = 0; i < 6; i++)
      for (let j = 0; j < 3; j++) leading.data[i * 3 + j] = u.data[i * u.cols + j] * s[j]
    const [own, expected] = [points, leading].map((m) => multiply(m, m, { transposeB: true }).data)
    expect(largestDifference(own, expected)).toBeLessThan(1e-4)
    for (let j = 0; j < 3; j++) {
      const variance = points.data.reduce((sum, x, at) => sum + (at % 3 === j ? x * x : 0), 0)
      expect(variance).toBeCloseTo(s[j] ** 2, 4)
    }
    const total = s.reduce((sum, x) => sum + x * x, 0)
    expect(explained).toBeCloseTo((s[0] ** 2 + s[1] ** 2 + s[2] ** 2) / total, 6)
  })

  it('of all components give every member back, and know its distances', async () => {
    const members = await zooOf(5)
    const zoo = await openZoo(members, { align: false })
    const c = await principalCoordinates(zoo)
    expect(c.size).toBe(4)
    expect(c.explained).toBeCloseTo(1, 9)
    for (const [i, member] of members.entries()) {
      const point = c.points.data.subarray(i * c.size, (i + 1) * c.size)
      const [back, was] = [await c.tensorsAt(point), await readTensors(member)]
      for (const { name } of zoo.specs)
        expect(largestDifference(toNumbers(back[name]), toNumbers(was[name]))).toBeLessThan(1e-4)
      const distances = c.distancesOf(point)
      distances.forEach((d, j) => expect(d).toBeCloseTo(Math.sqrt(c.distances.data[i * 5 + j]), 3))
    }
  })

  it('of a zoo with a duplicate are one fewer', async () => {
    const [a, b, c] = await zooOf(3)
    expect((await principalCoordinates(await openZoo([a, b, c, a]))).size).toBe(2)
  })
})

describe('the flow', () => {
  const shape: FlowShape = { size: 6, width: 16 }
  const sampling = { count: 3, source: 0.5, steps: 7, integrator: 'rk4', seed: 4 } as const

  it('has as many parameters as the paper says', () => {
    const [k, h] = [6, 16]
    const layers =
      64 + 64 + 64 * 64 + 64 + (k + 64) * h + h + (h * h) / 2 + h / 2 + (h * h) / 2 + h + h * k + k
    expect(flowParameters(shape)).toBe(layers + 2 * h + h + 2 * h)
    expect(flowParameters({ ...shape, deep: true })).toBe(flowParameters(shape) + h * h + h + 2 * h)
  })

  it('of transformers has its extra layer behind the first, and the narrow one before the last', () => {
    const shapes = flowShapes({ size: 10, width: 8, deep: true })
    const widths = [0, 1, 2, 3].map((i) => shapes[`hidden.${i}.weight`])
    expect(widths).toEqual([
      [8, 10 + 64],
      [8, 8],
      [4, 8],
      [8, 4],
    ])
  })

  it('before training moves nothing: samples are the noise', async () => {
    const points = await sampleFlow(shape, initialFlow(shape, 0), sampling)
    const start = new Float32Array(6)
    normal(start, keyOf('4/flow sample/1'))
    expect(points.subarray(6, 12)).toEqual(start.map((x) => x * 0.5))
  })

  it('sample i is the same however many are drawn', async () => {
    const points = matrix(2, 6, noise([2, 6], 'points').data as Float32Array)
    const training = { batch: 4, learningRate: 1e-3, source: 0.1, jitter: 0, seed: 0, steps: 5 }
    const { parameters } = await trainFlow(shape, points, training)
    const few = await sampleFlow(shape, parameters, sampling)
    const many = await sampleFlow(shape, parameters, { ...sampling, count: 8 })
    expect(largestDifference(few, many.subarray(0, few.length))).toBeLessThan(1e-5)
    expect((await trainFlow(shape, points, training)).parameters).toEqual(parameters)
  })

  const carried = async (rate: number, steps: number, how: Integrator): Promise<number> => {
    const program = await compile(
      ({ x, t, h }) => integrate((x) => x.mul(scalar(rate, 'float64')), [x, t, h], how),
      {
        x: value(new Float64Array(1), [1, 1], 'float64'),
        t: value(new Float64Array(1), [1, 1], 'float64'),
        h: value(new Float64Array(1), [], 'float64'),
      },
      { device: 'reference' },
    )
    let x = value(new Float64Array([1]), [1, 1], 'float64')
    const h = value(new Float64Array([1 / steps]), [], 'float64')
    for (let i = 0; i < steps; i++)
      x = await program.run({ x, t: value(new Float64Array([i / steps]), [1, 1], 'float64'), h })
    return Number(x.data[0])
  }

  it('is integrated to fourth order by Runge and Kutta, to first by Euler', async () => {
    const error = async (steps: number, how: Integrator): Promise<number> =>
      Math.abs((await carried(1, steps, how)) - Math.E)
    expect((await error(8, 'rk4')) / (await error(16, 'rk4'))).toBeGreaterThan(14)
    expect((await error(8, 'rk4')) / (await error(16, 'rk4'))).toBeLessThan(18)
    expect((await error(64, 'euler')) / (await error(128, 'euler'))).toBeCloseTo(2, 1)
  })

  it.each(['rk4', 'euler'] as const)('of one velocity everywhere adds it, by %s', async (how) => {
    const program = await compile(({ x, t, h }) => integrate((x) => x.mul(0).add(3), [x, t, h], how), {
      x: noise([2, 2], 'x'),
      t: noise([2, 1], 't'),
      h: value(new Float32Array(1), [], 'float32'),
    })
    const x = value(new Float32Array([0, 1, 2, 3]), [2, 2], 'float32')
    const moved = await program.run({
      x,
      t: noise([2, 1], 't'),
      h: value(new Float32Array([0.25]), [], 'float32'),
    })
    expect([...moved.data]).toEqual([0.75, 1.75, 2.75, 3.75])
  })

  it('learned on one point carries everything there', async () => {
    const point = [0.5, -1, 2, 0, 1, -0.5]
    const options = { batch: 32, learningRate: 5e-3, source: 1e-3, jitter: 0, seed: 0, steps: 150 }
    const { parameters, loss } = await trainFlow({ size: 6, width: 32 }, matrixOf([point]), options)
    const sampled = await sampleFlow({ size: 6, width: 32 }, parameters, { ...sampling, source: 1e-3 })
    expect(loss).toBeLessThan(0.2)
    for (let i = 0; i < 3; i++)
      expect(largestDifference(sampled.subarray(i * 6, i * 6 + 6), point)).toBeLessThan(0.1)
  })
})

describe('sampled models', () => {
  it('are written as complete folders that load, the same by the same seed', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'weft-flow-'))
    try {
      const members = await zooOf(4)
      const merged = await deepweightflow(members, { ...quick, samples: 2, seed: 1 })
      await merged.save(join(folder, 'two'))
      expect((await readdir(join(folder, 'two'))).sort()).toEqual(['0', '1'])
      await using first = await open(join(folder, 'two', '0'))
      const flow = await learnWeightFlow(members, { ...quick, seed: 1 })
      const again = await flow.modelAt((await flow.sample(1)).data)
      for (const [name, v] of Object.entries(await readTensors(first)))
        expect(largestDifference(toNumbers(v), toNumbers(again.parameters[name])), name).toBeLessThan(1e-5)
      expect(merged.report.novelty).toHaveLength(2)
      await (await deepweightflow(members, { ...quick, components: 'none' })).save(join(folder, 'one'))
      await using one = await open(join(folder, 'one'))
      expect(Object.keys(await readTensors(one))).toHaveLength(4)
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })

  it('with batch norms have statistics of their own, and are refused without data', async () => {
    const members = await zooOf(3, resnet)
    await expect(deepweightflow(members, quick)).rejects.toThrow(/batch norms/)
    const batches = [{ pixels: noise([4, 3, 16, 16], 'x') }]
    const flow = await learnWeightFlow(members, { ...quick, data: () => batches })
    const sampled = await flow.modelAt((await flow.sample(1)).data)
    expect(await recalibrated(sampled, sampled.parameters, batches)).toEqual(sampled.parameters)
  })

  it('say what is wrong with the zoo', async () => {
    const [a, b] = await zooOf(2)
    const other = await model({ ...mlp, sizes: [4, 9, 3] }, 0)
    await expect(deepweightflow([a], quick)).rejects.toThrow(/1 models/)
    await expect(deepweightflow([a, other], quick)).rejects.toThrow(/layers\.0\.weight/)
    await expect(deepweightflow([a, a], quick)).rejects.toThrow(/the same/)
    const { notes } = await deepweightflow([a, b, a], { ...quick, components: 7, scores: [0.9, 0.89, 0.1] })
    expect(notes.join('\n')).toMatch(/components = 7: the models span 1/)
    expect(notes.join('\n')).toMatch(/is the same as another/)
    expect(notes.join('\n')).toMatch(/0\.1 is far below/)
    const broken = { ...(await readTensors(b)) }
    broken['head.bias'] = value(new Float32Array([0, NaN, 0]), [3], 'float32')
    const bad = (await modelOf(b.config, broken)).checkpoint
    await expect(deepweightflow([a, bad], quick)).rejects.toThrow(/head\.bias/)
  })
})

describe('running statistics found anew', () => {
  it('are the means and unbiased variances of what enters each norm, averaged over batches', async () => {
    const checkpoint = await model(resnet, 3)
    const m = await openModel(checkpoint, { trainable: true, buffers: true })
    const batches = [{ pixels: noise([4, 3, 16, 16], 'one') }, { pixels: noise([4, 3, 16, 16], 'two') }]
    const found = await recalibrated(m, m.parameters, batches)
    const name = 'resnet.embedder.embedder'
    const frozen = await openModel(checkpoint)
    const program = await compile(
      ({ pixels }) => frozen.weights({}, {}).conv(`${name}.convolution`, pixels, { stride: 2, padding: 3 }),
      { pixels: batches[0].pixels },
    )
    const [mean, variance] = [new Float64Array(4), new Float64Array(4)]
    for (const { pixels } of batches) {
      const y = await program.run({ pixels })
      const numbers = toNumbers(y)
      const [, channels, height, width] = y.shape
      for (let c = 0; c < channels; c++) {
        const own = numbers.filter((_, i) => Math.floor(i / (height * width)) % channels === c)
        const average = own.reduce((s, x) => s + x, 0) / own.length
        mean[c] += average / 2
        variance[c] += own.reduce((s, x) => s + (x - average) ** 2, 0) / (own.length - 1) / 2
      }
    }
    const statistics = ['running_mean', 'running_var'].map((part) =>
      toNumbers(found[`${name}.normalization.${part}`]),
    )
    expect(largestDifference(statistics[0], mean)).toBeLessThan(1e-5)
    expect(largestDifference(statistics[1], variance)).toBeLessThan(1e-4)
  })
})
