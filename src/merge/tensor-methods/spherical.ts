/** @file Interpolation on spheres: slerp, nuslerp, multislerp and the Karcher mean, each a combination found from inner products. */
import { z } from 'zod'
import { UsageError } from '../../errors.js'
import { combine, combineAround, gramOf, type Gram, innerWith, offsetOf, squaredNorm } from '../core/gram.js'
import { type AlignedTensor, type Block, merge, type MergeMethod } from '../core/method.js'

const clamp = (x: number): number => Math.min(1, Math.max(-1, x))

/** Weights of the ends of an arc at `t`; of the chord where the ends are parallel. `cosine`: between the ends. */
const arc = (cosine: number, t: number, parallel: boolean): [number, number] => {
  if (parallel) return [1 - t, t]
  const angle = Math.acos(clamp(cosine))
  return [Math.sin((1 - t) * angle) / Math.sin(angle), Math.sin(t * angle) / Math.sin(angle)]
}

/** Whole tensors are turned from the base (t = 0) to the other model (t = 1) along the arc between their directions. */
export const slerp: MergeMethod = merge({
  name: 'slerp',
  summary: 'a point on the arc between two models',
  module: import.meta.url,
  base: 'required',
  counts: [1, 1],
  global: { t: z.number().describe('0: the base, 1: the other model') },
  prepare: async (tensor, { t }) => {
    const [[aa, ab], [, bb]] = await gramOf(tensor, 'all')
    const length = (square: number): number => (Math.sqrt(square) > 1e-8 ? Math.sqrt(square) : 1)
    const cosine = ab / (length(aa) * length(bb))
    return arc(cosine, t, Math.abs(cosine) > 0.9995)
  },
  tensor: (out, { base, models }, _, ends) => combine(out, [base!, ...models], ends),
})

/** Where along the arc two weights are; the middle where they cancel. */
const along = ([a, b]: readonly number[]): number => (Math.abs(a + b) < 1e-6 ? 0.5 : b / (a + b))

/** Weights of two vectors from their squared lengths and their inner product. */
const between = (aa: number, bb: number, ab: number, t: number): [number, number] => {
  const cosine = clamp(ab / (Math.max(Math.sqrt(aa), 1e-7) * Math.max(Math.sqrt(bb), 1e-7)))
  return arc(cosine, t, Math.abs(Math.sin(Math.acos(cosine))) < 1e-8)
}

/** The two models of a block, less the base where there is one. */
const pairOf = ({ base, models: [a, b] }: Block): [Float32Array, Float32Array] =>
  base ? [offsetOf(a, base), offsetOf(b, base)] : [a, b]

/** Weights of the two models for every line along the first axis. */
const columnWeights = async (tensor: AlignedTensor, t: number): Promise<[Float64Array, Float64Array]> => {
  const columns = tensor.shape.length > 1 ? tensor.count / tensor.shape[0] : 1
  const sums = Array.from({ length: 3 }, () => new Float64Array(columns))
  for await (const block of tensor.blocks()) {
    const [a, b] = pairOf(block)
    for (let i = 0; i < a.length; i++) {
      const column = (block.first + i) % columns
      sums[0][column] += a[i] * a[i]
      sums[1][column] += b[i] * b[i]
      sums[2][column] += a[i] * b[i]
    }
  }
  const weights: [Float64Array, Float64Array] = [new Float64Array(columns), new Float64Array(columns)]
  for (let c = 0; c < columns; c++)
    [weights[0][c], weights[1][c]] = between(sums[0][c], sums[1][c], sums[2][c], t)
  return weights
}

/** Weights of the two models for each row of the last axis in the block. */
const rowWeights = (a: Float32Array, b: Float32Array, width: number, t: number): [number, number][] =>
  Array.from({ length: a.length / width }, (_, row) => {
    let aa = 0
    let bb = 0
    let ab = 0
    for (let i = row * width; i < (row + 1) * width; i++) {
      aa += a[i] * a[i]
      bb += b[i] * b[i]
      ab += a[i] * b[i]
    }
    return between(aa, bb, ab, t)
  })

interface Lines {
  readonly t: number
  readonly width: number
  readonly columns?: readonly [Float64Array, Float64Array]
  readonly whole?: [number, number]
}

/**
 * Slerp of two models by relative weights, of whole tensors, or (`nuslerp_flatten: false`) of each row of the last axis,
 * or (with `nuslerp_row_wise`) of each line along the first. With a base, of their differences from it.
 */
export const nuslerp: MergeMethod = merge({
  name: 'nuslerp',
  summary: 'a point on the arc between two models, or between their changes, with a weight for each',
  module: import.meta.url,
  base: 'optional',
  counts: [2, 2],
  rows: true,
  perModel: { weight: z.number().describe("each model's weight") },
  global: {
    nuslerp_flatten: z.boolean().default(true).describe('turn whole tensors, not their rows'),
    nuslerp_row_wise: z
      .boolean()
      .default(false)
      .describe('unless flattened: turn lines along the first axis, not rows of the last'),
  },
  prepare: async (tensor, p): Promise<Lines> => {
    const lines = { t: along(p.weight), width: tensor.width }
    if (p.nuslerp_flatten) {
      const [[aa, ab], [, bb]] = await gramOf(tensor, 'offsets')
      return { ...lines, whole: between(aa, bb, ab, lines.t) }
    }
    return p.nuslerp_row_wise ? { ...lines, columns: await columnWeights(tensor, lines.t) } : lines
  },
  tensor: (out, block, _, { t, width, columns, whole }) => {
    if (whole) return combineAround(out, block, whole)
    const [a, b] = pairOf(block)
    const rows = columns ? [] : rowWeights(a, b, width, t)
    for (let i = 0; i < out.length; i++) {
      const column = columns ? (block.first + i) % columns[0].length : 0
      const [wa, wb] = columns ? [columns[0][column], columns[1][column]] : rows[Math.floor(i / width)]
      out[i] = (block.base?.[i] ?? 0) + wa * a[i] + wb * b[i]
    }
  },
})

/** Coefficients of the barycentre of weights `w` on the sphere around the base. */
const barycentre = (gram: Gram, w: readonly number[], eps: number, name: string): readonly number[] => {
  const norms = w.map((_, i) => Math.sqrt(gram[i][i]))
  const units = w.map((weight, i) => weight / (norms[i] + eps))
  const length = Math.sqrt(squaredNorm(gram, units))
  if (length < eps) {
    if (w.length === 2) return w
    throw new UsageError(
      'OppositeModels',
      `${name}: the models' weighted directions cancel, so no mean is defined`,
      {
        hint: 'Choose other weights.',
      },
    )
  }
  const mean = units.map((c) => c / length)
  const cosines = w.map((_, i) => innerWith(gram, i, mean) / (norms[i] + eps))
  const radial = w.reduce((sum, weight, i) => sum + weight * cosines[i], 0)
  const tangent = units.map((c, i) => c - radial * mean[i])
  const angle = Math.sqrt(squaredNorm(gram, tangent)) + eps
  const radius = w.reduce((sum, weight, i) => sum + weight * norms[i], 0)
  return mean.map((c, i) => radius * (c * Math.cos(angle) + (tangent[i] * Math.sin(angle)) / angle))
}

/** The weighted mean of directions, in the tangent space at their Euclidean mean, with the weighted mean of lengths. */
export const multislerp: MergeMethod = merge({
  name: 'multislerp',
  summary: 'a weighted point on the sphere among any number of models',
  module: import.meta.url,
  base: 'optional',
  perModel: { weight: z.number().describe("each model's weight") },
  global: {
    normalize_weights: z.boolean().default(true).describe('divide the weights by their sum'),
    eps: z.number().positive().default(1e-8).describe('lengths below it count as zero'),
  },
  prepare: async (tensor, { weight, normalize_weights: normalize, eps }) => {
    if (weight.length === 1) return [1]
    const total = weight.reduce((sum, w) => sum + w, 0)
    const weights = normalize ? weight.map((w) => w / total) : weight
    return barycentre(await gramOf(tensor, 'offsets'), weights, eps, tensor.name)
  },
  tensor: (out, block, _, coefficients) => combineAround(out, block, coefficients),
})

/** One step of the Karcher mean: its new combination of unit vectors, or undefined where it has arrived. */
const karcherStep = (
  units: Gram,
  weight: number,
  at: readonly number[],
  tol: number,
): number[] | undefined => {
  const tangent = at.map(() => 0)
  for (let i = 0; i < at.length; i++) {
    const cosine = clamp(innerWith(units, i, at))
    const angle = Math.acos(cosine)
    if (angle < tol) continue
    const scale = (weight * angle) / Math.sin(angle)
    for (let j = 0; j < at.length; j++) tangent[j] += scale * ((i === j ? 1 : 0) - cosine * at[j])
  }
  const step = Math.sqrt(squaredNorm(units, tangent))
  if (step < tol) return undefined
  const moved = at.map((c, i) => Math.cos(step) * c + (Math.sin(step) / step) * tangent[i])
  const length = Math.sqrt(squaredNorm(units, moved))
  return length > tol ? moved.map((c) => c / length) : moved
}

/** Coefficients of the Karcher mean of the models' directions, times the mean of their lengths. */
const karcherMean = (gram: Gram, steps: number, tol: number): number[] => {
  const norms = gram.map((row, i) => Math.sqrt(row[i]))
  const valid = norms.flatMap((norm, i) => (norm > tol ? [i] : []))
  if (!valid.length) return norms.map(() => 0)
  const units = valid.map((a) => Float64Array.from(valid, (b) => gram[a][b] / (norms[a] * norms[b])))
  const weight = 1 / valid.length
  const start = valid.map(() => weight)
  const length = Math.sqrt(squaredNorm(units, start))
  let at = length < tol ? valid.map((_, i) => (i ? 0 : 1)) : start.map((c) => c / length)
  for (let step = 0; step < steps; step++) {
    const next = karcherStep(units, weight, at, tol)
    if (!next) break
    at = next
  }
  const radius = norms.reduce((sum, norm) => sum + norm / norms.length, 0)
  return norms.map((norm, i) => (valid.includes(i) ? (radius * at[valid.indexOf(i)]) / norm : 0))
}

/** The Riemannian mean of the models' directions with the mean of their lengths: it minimises the squared angles. */
export const karcher: MergeMethod = merge({
  name: 'karcher',
  summary: 'the point on the sphere whose squared distances to all models are least in sum',
  module: import.meta.url,
  base: 'none',
  global: {
    max_iter: z.number().int().nonnegative().default(10).describe('most iterations'),
    tol: z.number().positive().default(1e-5).describe('change at which the iteration stops'),
  },
  prepare: async (tensor, { max_iter: steps, tol }) =>
    karcherMean(await gramOf(tensor, 'models'), steps, tol),
  tensor: (out, { models }, _, coefficients) => combine(out, models, coefficients),
})
