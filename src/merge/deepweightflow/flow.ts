/** @file A flow: a velocity that carries noise to points of a set, learned by flow matching (Lipman et al. 2022, arXiv 2210.02747). */
import type { Matrix } from '../../linalg/index.js'
import type { OnProgress } from '../../progress.js'
import { keyOf, normal, Stream, uniform } from '../../random/index.js'
import {
  compile,
  concat,
  dropout,
  gelu,
  layerNorm,
  meanSquaredError,
  type RandomStreams,
  sizeOf,
  type Tensor,
  value,
  type Value,
} from '../../tensor/index.js'
import { adamW, type Batch, initialState, makeStep, type Objective, schedule } from '../../train/index.js'

/** The velocity network's sizes. */
export interface FlowShape {
  /** Coordinates of a point. */
  readonly size: number
  /** Width of its layers. */
  readonly width: number
  /** One more layer of that width behind the first, as for transformers. Default false. */
  readonly deep?: boolean
}

/** Width of the embedding of time. */
const timeWidth = 64

/** Widths of the layers between the point with its time and the velocity. */
const hiddenWidths = ({ width, deep = false }: FlowShape): number[] => [
  width,
  ...(deep ? [width] : []),
  Math.floor(width / 2),
  width,
]

/** Shapes of the network's parameters. */
export const flowShapes = (shape: FlowShape): Record<string, readonly number[]> => {
  const linear = (name: string, inside: number, out: number): Record<string, readonly number[]> => ({
    [`${name}.weight`]: [out, inside],
    [`${name}.bias`]: [out],
  })
  const hidden = hiddenWidths(shape)
  return {
    ...linear('time.0', 1, timeWidth),
    ...linear('time.1', timeWidth, timeWidth),
    ...Object.assign(
      {},
      ...hidden.map((out, i) => ({
        ...linear(`hidden.${i}`, hidden[i - 1] ?? shape.size + timeWidth, out),
        [`norm.${i}.weight`]: [out],
        [`norm.${i}.bias`]: [out],
      })),
    ),
    ...linear('velocity', hidden[hidden.length - 1], shape.size),
  }
}

/** How many numbers the network has. */
export const flowParameters = (shape: FlowShape): number =>
  Object.values(flowShapes(shape)).reduce((sum, dims) => sum + sizeOf(dims), 0)

/** New parameters: uniform within 1 / sqrt(inputs); norms the identity; the last layer 0, so that nothing moves. */
export const initialFlow = (shape: FlowShape, seed: number | string): Record<string, Value> =>
  Object.fromEntries(
    Object.entries(flowShapes(shape)).map(([name, dims]) => {
      const data = new Float32Array(sizeOf(dims))
      if (name.startsWith('norm.')) data.fill(name.endsWith('weight') ? 1 : 0)
      else if (!name.startsWith('velocity.')) {
        const inputs = flowShapes(shape)[name.replace(/bias$/, 'weight')][1]
        uniform(data, keyOf(`${seed}/flow/${name}`), {}, 'centred')
        for (let i = 0; i < data.length; i++) data[i] *= 2 / Math.sqrt(inputs)
      }
      return [name, value(data, dims, 'float32')]
    }),
  )

/** The velocity at points x: [batch, size] and times t: [batch, 1]. */
export const velocity = (
  p: Readonly<Record<string, Tensor>>,
  x: Tensor,
  t: Tensor,
  random?: RandomStreams,
): Tensor => {
  const linear = (name: string, of: Tensor): Tensor =>
    of.matmul(p[`${name}.weight`].t()).add(p[`${name}.bias`])
  const time = linear('time.1', gelu(linear('time.0', t)))
  let h = concat([x, time], 1)
  for (let i = 0; `hidden.${i}.weight` in p; i++) {
    const norm = { weight: p[`norm.${i}.weight`], bias: p[`norm.${i}.bias`] }
    h = gelu(layerNorm(linear(`hidden.${i}`, h), norm))
    if (`hidden.${i + 1}.weight` in p) h = dropout(h, 0.1, random)
  }
  return linear('velocity', h)
}

export interface FlowTraining {
  readonly steps: number
  /** Points in a step. */
  readonly batch: number
  readonly learningRate: number
  /** Standard deviation of where points come from, and of what is added on the way. */
  readonly source: number
  readonly jitter: number
  readonly seed: number | string
  readonly signal?: AbortSignal
  readonly onProgress?: OnProgress
}

/** The inputs of step `step`: ends drawn from the points, starts, times and noise. */
const flowBatch = (points: Matrix, { batch, source, seed }: FlowTraining, step: number): Batch => {
  const { cols: size } = points
  const noise = (name: string, scale: number): Value => {
    const data = new Float32Array(batch * size)
    normal(data, keyOf(`${seed}/flow ${name}/${step}`))
    for (let i = 0; i < data.length; i++) data[i] *= scale
    return value(data, [batch, size], 'float32')
  }
  const stream = new Stream(`${seed}/flow rows/${step}`)
  const ends = new Float32Array(batch * size)
  for (let b = 0; b < batch; b++) {
    const row = stream.int(points.rows)
    ends.set(points.data.subarray(row * size, (row + 1) * size), b * size)
  }
  const times = Float32Array.from({ length: batch }, () => stream.uniform())
  return {
    ends: value(ends, [batch, size], 'float32'),
    starts: noise('starts', source),
    noise: noise('noise', 1),
    times: value(times, [batch, 1], 'float32'),
  }
}

/** How many stretches of the training are compared for the best. */
const stretches = 50

/**
 * Learns the velocity that carries noise to `points`: [members, size], a row a point. Each step compares v(x_t, t) with
 * x₁ - x₀ at x_t = (1 - t) x₀ + t x₁ + jitter ε. The rate falls as a cosine to 1e-6. Returns the parameters at the end
 * of the stretch with the least mean loss, and that loss.
 */
export const trainFlow = async (
  shape: FlowShape,
  points: Matrix,
  options: FlowTraining,
): Promise<{ parameters: Readonly<Record<string, Value>>; loss: number }> => {
  const { steps, learningRate, jitter, seed, signal, onProgress } = options
  const objective: Objective = {
    optimizer: adamW({ betas: [0.9, 0.95], weightDecay: 1e-5 }),
    loss: (parameters, { ends, starts, times, noise }, { random }) => {
      const x = starts.add(ends.sub(starts).mul(times)).add(noise.mul(jitter))
      return { loss: meanSquaredError(velocity(parameters, x, times, random), ends.sub(starts)) }
    },
  }
  const rate = schedule('warmup-cosine', { learningRate, steps, warmup: 0, floor: 1e-6 / learningRate })
  const step = makeStep([objective])
  const state = initialState([objective], initialFlow(shape, seed))
  const stretch = Math.ceil(steps / stretches)
  let [best, sum] = [{ parameters: state.parameters, loss: Infinity }, 0]
  for (let i = 0; i < steps; i++) {
    signal?.throwIfAborted()
    const { losses } = await step(state, flowBatch(points, options, i), { learningRate: rate(i), seed })
    sum += losses[0]
    if ((i + 1) % stretch && i + 1 < steps) continue
    const loss = sum / ((i % stretch) + 1)
    if (loss < best.loss) best = { parameters: await copied(state.parameters), loss }
    sum = 0
    onProgress?.({
      status: 'progress',
      name: 'flow',
      done: i + 1,
      total: steps,
      unit: 'steps',
      metrics: { loss },
    })
  }
  return best
}

/** Parameters on the host, which no later step frees. */
const copied = async (parameters: Readonly<Record<string, Value>>): Promise<Record<string, Value>> =>
  Object.fromEntries(
    await Promise.all(
      Object.entries(parameters).map(
        async ([name, v]) => [name, value(await v.read(), v.shape, v.dtype)] as const,
      ),
    ),
  )

/** How a flow is integrated: the fourth-order method of Runge and Kutta, or Euler's. */
export type Integrator = 'rk4' | 'euler'

/** One step of dx/dt = f(x, t) over h. All but f are tensors; t: [batch, 1]. */
export const integrate = (
  f: (x: Tensor, t: Tensor) => Tensor,
  [x, t, h]: readonly [Tensor, Tensor, Tensor],
  how: Integrator,
): Tensor => {
  const k1 = f(x, t)
  if (how === 'euler') return x.add(k1.mul(h))
  const half = h.mul(0.5)
  const k2 = f(x.add(k1.mul(half)), t.add(half))
  const k3 = f(x.add(k2.mul(half)), t.add(half))
  const k4 = f(x.add(k3.mul(h)), t.add(h))
  return x.add(
    k1
      .add(k2.mul(2))
      .add(k3.mul(2))
      .add(k4)
      .mul(h)
      .mul(1 / 6),
  )
}

export interface FlowSampling {
  readonly count: number
  readonly source: number
  /** Steps from time 0 to 1. */
  readonly steps: number
  readonly integrator: Integrator
  readonly seed: number | string
}

/** Points that the flow carries noise to: [count, size], row-major. Sample i depends on the seed and i alone. */
export const sampleFlow = async (
  { size }: FlowShape,
  parameters: Readonly<Record<string, Value>>,
  { count, source, steps, integrator, seed }: FlowSampling,
): Promise<Float32Array> => {
  const start = new Float32Array(count * size)
  for (let i = 0; i < count; i++)
    normal(start.subarray(i * size, (i + 1) * size), keyOf(`${seed}/flow sample/${i}`))
  let x = value(
    start.map((z) => z * source),
    [count, size],
    'float32',
  )
  const time = (t: number): Value => value(new Float32Array(count).fill(t), [count, 1], 'float32')
  const h = value(new Float32Array([1 / steps]), [], 'float32')
  const program = await compile(
    ({ p, x, t, h }) => integrate((x, t) => velocity(p, x, t), [x, t, h], integrator),
    { p: { ...parameters }, x, t: time(0), h },
  )
  for (let i = 0; i < steps; i++) x = await program.run({ p: { ...parameters }, x, t: time(i / steps), h })
  return (await x.read()) as Float32Array
}
