/**
 * @file Between checkpoints: the loss along the line of two and on the plane of three, the barrier, and the angles of
 * their differences from what they started from. For any merge: it sees weights and a way to score them.
 */
import type { Checkpoint } from '../../../checkpoint/index.js'
import { UsageError } from '../../../errors.js'
import type { Parameters } from '../../../models/index.js'
import type { DrawnPlot } from '../../../papers/plot.js'
import { isFloat, type Value, value } from '../../../tensor/index.js'
import { combine, gramOf } from '../gram.js'
import { merge } from '../method.js'
import { alignedPlan } from '../planned.js'
import { planMerge } from '../recipe/plan.js'
import { namesOf } from './weighted.js'
import { maxOf, minOf } from '../../../tensor/numbers.js'

/** The loss (or another score) of a model with these weights. */
export type Score = (parameters: Parameters<Value>) => Promise<number>

/** A point of a line: `at` is 0 at its start and 1 at its end. */
export interface LinePoint {
  readonly at: number
  readonly loss: number
}

/** The loss on a plane. Lengths are those of weight space (Euclidean), the first checkpoint is the origin. */
export interface LossPlane {
  readonly x: readonly number[]
  readonly y: readonly number[]
  /** loss[j][i] at (x[i], y[j]). */
  readonly loss: readonly (readonly number[])[]
  /** Coordinates of the three checkpoints in the plane. */
  readonly corners: readonly (readonly [number, number])[]
}

/** sum of coefficients[k] * sets[k] for every float tensor, added up in float64; other tensors are the first set's. */
export const weightedSum = async (
  sets: readonly Parameters<Value>[],
  coefficients: readonly number[],
): Promise<Record<string, Value>> => {
  const out: Record<string, Value> = {}
  for (const [name, first] of Object.entries(sets[0])) {
    if (!isFloat(first.dtype)) {
      out[name] = first
      continue
    }
    const vectors = await Promise.all(sets.map((set) => set[name].read() as Promise<Float32Array>))
    const data = new Float32Array(vectors[0].length)
    combine(data, vectors, coefficients)
    out[name] = value(data, first.shape, 'float32')
  }
  return out
}

/** Inner product of a - origin and b - origin over all float tensors. */
const innerAround = async (
  origin: Parameters<Value>,
  a: Parameters<Value>,
  b: Parameters<Value>,
): Promise<number> => {
  let sum = 0
  for (const [name, v] of Object.entries(origin)) {
    if (!isFloat(v.dtype)) continue
    const [o, x, y] = await Promise.all(
      [origin, a, b].map((set) => set[name].read() as Promise<Float32Array>),
    )
    for (let i = 0; i < o.length; i++) sum += (x[i] - o[i]) * (y[i] - o[i])
  }
  return sum
}

const evenly = (from: number, to: number, points: number): number[] =>
  Array.from({ length: points }, (_, i) => from + ((to - from) * i) / (points - 1))

const checkPoints = (points: number, least: number): void => {
  if (!(Number.isInteger(points) && points >= least))
    throw new UsageError('BadOption', `points is ${points}; expected a whole number of at least ${least}`)
}

/**
 * The loss at `points` (default 11) weights between `start` and `end`, both ends among them: WiSE-FT's curve, where the
 * one is the base (Wortsman et al. 2022, arXiv 2109.01903). Holds three sets of weights.
 */
export const lossAlong = async (
  score: Score,
  start: Parameters<Value>,
  end: Parameters<Value>,
  { points = 11 }: { readonly points?: number } = {},
): Promise<LinePoint[]> => {
  checkPoints(points, 2)
  const line: LinePoint[] = []
  for (const at of evenly(0, 1, points))
    line.push({ at, loss: await score(await weightedSum([start, end], [1 - at, at])) })
  return line
}

/** How far a line rises above the straight connection of its ends: max of L(a) - ((1 - a) L(0) + a L(1)); at least 0. */
export const barrierOf = (line: readonly LinePoint[]): number => {
  const first = line[0].loss
  const last = line.at(-1)!.loss
  return line.reduce((most, { at, loss }) => Math.max(most, loss - ((1 - at) * first + at * last)), 0)
}

/**
 * The loss on the plane through three checkpoints, at `points` x `points` weights (default 7) of the rectangle around
 * them and `margin` (default 0.2) of its sides beyond (Garipov et al. 2018, arXiv 1802.10026). Holds four sets of
 * weights. Throws UsageError where the three lie on one line.
 */
export const lossPlane = async (
  score: Score,
  corners: readonly [Parameters<Value>, Parameters<Value>, Parameters<Value>],
  { points = 7, margin = 0.2 }: { readonly points?: number; readonly margin?: number } = {},
): Promise<LossPlane> => {
  checkPoints(points, 2)
  const [a, b, c] = corners
  const bb = await innerAround(a, b, b)
  const bc = await innerAround(a, b, c)
  const cc = await innerAround(a, c, c)
  const across = bc / bb
  const height = Math.sqrt(cc - across * bc)
  if (!(bb > 0 && height > 1e-6 * Math.sqrt(cc)))
    throw new UsageError('NoPlane', 'the three checkpoints lie on one line', {
      hint: 'Use three that differ: lossAlong shows the line.',
    })
  const width = Math.sqrt(bb)
  const places = [[0, 0] as const, [width, 0] as const, [across * width, height] as const]
  const range = (k: 0 | 1): number[] => {
    const [low, high] = [Math.min, Math.max].map((f) => f(...places.map((p) => p[k])))
    return evenly(low - margin * (high - low), high + margin * (high - low), points)
  }
  const x = range(0)
  const y = range(1)
  const loss: number[][] = []
  for (const v of y) {
    const row: number[] = []
    for (const u of x) {
      const s = u / width
      const t = v / height
      row.push(await score(await weightedSum(corners, [1 - s - t + t * across, s - t * across, t])))
    }
    loss.push(row)
  }
  return { x, y, loss, corners: places }
}

/** Angles between the changes that fine-tunings made to one base. */
export interface TaskAngles {
  /** Length of the base's weights. */
  readonly baseNorm: number
  /** Length of each model's difference from the base. */
  readonly norms: readonly number[]
  /** Cosine of each two differences, [models][models]; 0 where one has no length. */
  readonly cosines: readonly (readonly number[])[]
}

/** A method whose plan lays models beside their base; nothing is written by it. */
const offsets = merge({
  name: 'offsets',
  base: 'required',
  tensor: (out, { base }) => out.set(base!),
})

/**
 * Lengths and angles of the models' differences from `base`, read a tensor at a time. Throws CheckpointError for models
 * that do not fit each other.
 */
export const taskAngles = async (base: Checkpoint, models: readonly Checkpoint[]): Promise<TaskAngles> => {
  const [root, ...names] = namesOf([base, ...models])
  const opened = new Map([base, ...models].map((model, i) => [[root, ...names][i], model]))
  const recipe = { merge_method: offsets.name, base_model: root, models: names.map((model) => ({ model })) }
  const { method, tensors } = await planMerge(recipe, opened, { methods: [offsets] })
  const total = names.map(() => new Float64Array(names.length))
  let baseSquare = 0
  for (const plan of tensors.filter(({ action }) => action === 'merge')) {
    const tensor = alignedPlan(plan, method)
    ;(await gramOf(tensor, 'offsets')).forEach((row, a) => row.forEach((x, b) => (total[a][b] += x)))
    for await (const { base: numbers } of tensor.blocks()) for (const x of numbers!) baseSquare += x * x
  }
  const norms = names.map((_, m) => Math.sqrt(total[m][m]))
  return {
    baseNorm: Math.sqrt(baseSquare),
    norms,
    cosines: total.map((row, a) => Array.from(row, (x, b) => x / (norms[a] * norms[b] || 1))),
  }
}

/** Lines as a plot that reports and the lab draw. */
export const linePlot = (lines: Readonly<Record<string, readonly LinePoint[]>>): DrawnPlot => ({
  kind: 'curve',
  title: 'Loss between checkpoints',
  x: { label: 'place between the first (0) and the second (1)' },
  y: { label: 'loss' },
  series: Object.entries(lines).map(([name, line]) => ({
    name,
    points: line.map(({ at, loss }) => ({ x: at, y: loss })),
  })),
})

/** A plane as a heat map: rows from the top down, the checkpoints' places in the title. */
export const planePlot = ({ x, y, loss, corners }: LossPlane, names: readonly string[]): DrawnPlot => {
  const places = corners.map(([u, v], k) => `${names[k]} at ${u.toPrecision(3)}, ${v.toPrecision(3)}`)
  return {
    kind: 'heatmap',
    title: `Loss on the plane of ${places.join('; ')}`,
    x: { label: 'distance along the first side' },
    y: { label: 'loss; rows: distance from that side' },
    series: [...y.keys()].reverse().map((j) => ({
      name: y[j].toPrecision(3),
      points: x.map((u, i) => ({ x: u.toPrecision(3), y: loss[j][i] })),
    })),
  }
}

/** From dark (low) to light (high), by way of green: ordered in lightness, so that it reads without colour too. */
const shade = (t: number): string => `hsl(${Math.round(260 - 200 * t)} 60% ${Math.round(22 + 66 * t)}%)`

/** A plane as a picture: a cell a point, dark where the loss is low, the checkpoints marked with their names. */
export const planeSvg = (
  { x, y, loss, corners }: LossPlane,
  names: readonly string[] = ['1', '2', '3'],
): string => {
  const width = 420
  const height = 420
  const left = 60
  const top = 40
  const finite = loss.flat().filter(Number.isFinite)
  const low = minOf(finite)
  const high = maxOf(finite)
  // Logarithms: far from the checkpoints the loss grows without bound, and what matters lies low.
  const depth = (l: number): number =>
    high > low ? Math.log1p((l - low) / (0.1 * (high - low))) / Math.log(11) : 0
  const cellWidth = width / x.length
  const cellHeight = height / y.length
  const px = (u: number): number => left + cellWidth * (0.5 + (u - x[0]) / (x[1] - x[0]))
  const py = (v: number): number => top + height - cellHeight * (0.5 + (v - y[0]) / (y[1] - y[0]))
  const escaped = (text: string): string => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`)
  const cells = loss.flatMap((row, j) =>
    row.map((l, i) => {
      const at = `x="${(px(x[i]) - cellWidth / 2).toFixed(1)}" y="${(py(y[j]) - cellHeight / 2).toFixed(1)}"`
      const size = `width="${cellWidth.toFixed(1)}" height="${cellHeight.toFixed(1)}"`
      const fill = Number.isFinite(l) ? shade(depth(l)) : '#888'
      return `<rect ${at} ${size} fill="${fill}"><title>${l.toPrecision(4)}</title></rect>`
    }),
  )
  const marks = corners.map(([u, v], k) => {
    const cx = px(u).toFixed(1)
    const cy = py(v).toFixed(1)
    const label = `<text x="${cx}" y="${(py(v) - 9).toFixed(1)}" text-anchor="middle" fill="#fff" stroke="#000" stroke-width="2.5" paint-order="stroke">${escaped(names[k])}</text>`
    return `<circle cx="${cx}" cy="${cy}" r="5" fill="#fff" stroke="#000"/>${label}`
  })
  const caption = `loss ${low.toPrecision(3)} (dark) to ${high.toPrecision(3)} (light)`
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 540 500" font-family="sans-serif" font-size="13">
<rect width="540" height="500" fill="#fff"/>
<text x="${left}" y="24">${caption}</text>
${cells.join('\n')}
${marks.join('\n')}
</svg>
`
}
