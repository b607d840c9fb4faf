/** @file Which entries of a matrix a sparse tuner trains: scores, the largest of them, and packed vectors that follow a mask. */
import { CheckpointError } from '../errors.js'
import { type Matrix, matrix, multiply, randomizedSvd, svd } from '../linalg/index.js'
import { Stream } from '../random/index.js'

/**
 * What entries are ranked by: |W'| of the best approximation W' of rank q (LIFT), |W|, chance, |∂L/∂W|, how much the
 * gradient moves them away from zero (- W ∂L/∂W), and the norm of their row or column.
 */
export const maskKinds = [
  'principal',
  'magnitude',
  'random',
  'gradient',
  'movement',
  'rows',
  'columns',
] as const
export type MaskKind = (typeof maskKinds)[number]

/** Kinds that look at gradients. */
export const byGradient: ReadonlySet<MaskKind> = new Set(['gradient', 'movement'])

export interface MaskOptions {
  readonly mask: MaskKind
  readonly order: 'largest' | 'smallest'
  /** q. */
  readonly filterRank: number
  /** The whole decomposition, or a sketch of 2 q with two power iterations. */
  readonly svd: 'randomized' | 'exact'
  readonly seed: number | string
}

/** A matrix that is looked at, [out, in] row-major. */
export interface Scored {
  readonly name: string
  readonly rows: number
  readonly columns: number
  readonly data: Float32Array
  /** ∂L/∂W, where the kind needs it. */
  readonly gradient?: ArrayLike<number>
}

/** Throws CheckpointError for numbers that no approximation can be made of. */
const requireFinite = ({ name, data }: Scored): void => {
  const bad = data.reduce((n, x) => n + (Number.isFinite(x) ? 0 : 1), 0)
  if (bad > 0)
    throw new CheckpointError(
      'NotFinite',
      `lift: ${bad} of the ${data.length} numbers of ${name} are not finite`,
    )
}

/** The best approximation of rank q. W: [rows, columns] -> the same. */
export const rankReduced = async (
  { rows, columns, data }: Scored,
  { filterRank: q, svd: kind, seed }: Pick<MaskOptions, 'filterRank' | 'svd' | 'seed'>,
): Promise<Float32Array | Float64Array> => {
  if (q >= Math.min(rows, columns)) return data
  const a = { rows, cols: columns, data }
  const { u, s, vt } =
    kind === 'exact'
      ? svd(matrix(rows, columns, Float64Array.from(data)))
      : await randomizedSvd(a, q, { oversampling: q, seed })
  const left = leading(u, q, s)
  return multiply(left, { rows: q, cols: columns, data: vt.data.subarray(0, q * columns) }).data
}

/** The first q columns of u, each times its singular value. */
const leading = (u: Matrix, q: number, s: Float64Array): Matrix => {
  const out = matrix(u.rows, q)
  for (let i = 0; i < u.rows; i++)
    for (let j = 0; j < q; j++) out.data[i * q + j] = u.data[i * u.cols + j] * s[j]
  return out
}

/** The squared norm of each entry's row or column. */
const bands = ({ rows, columns, data }: Scored, along: 'rows' | 'columns'): Float64Array => {
  const band = (i: number): number => (along === 'rows' ? Math.floor(i / columns) : i % columns)
  const sums = new Float64Array(along === 'rows' ? rows : columns)
  data.forEach((x, i) => (sums[band(i)] += x * x))
  return Float64Array.from(data, (_, i) => sums[band(i)])
}

const scores = async (w: Scored, options: MaskOptions): Promise<Float64Array> => {
  const { data, gradient = [] } = w
  switch (options.mask) {
    case 'principal':
      return Float64Array.from(await rankReduced(w, options), Math.abs)
    case 'magnitude':
      return Float64Array.from(data, Math.abs)
    case 'random': {
      const stream = new Stream(options.seed)
      return Float64Array.from(data, () => stream.uniform())
    }
    case 'gradient':
      return Float64Array.from(gradient, Math.abs)
    case 'movement':
      return Float64Array.from(data, (x, i) => -x * gradient[i])
    default:
      return bands(w, options.mask)
  }
}

/** The indices of the k largest numbers, ascending; of equal ones the first. */
export const largest = (numbers: Float64Array, k: number): Int32Array => {
  if (k >= numbers.length) return Int32Array.from(numbers, (_, i) => i)
  const limit = numbers.slice().sort()[numbers.length - k]
  let equal = k - numbers.reduce((n, x) => n + (x > limit ? 1 : 0), 0)
  const found = new Int32Array(k)
  let at = 0
  for (let i = 0; at < k; i++)
    if (numbers[i] > limit || (numbers[i] === limit && equal-- > 0)) found[at++] = i
  return found
}

/** The k entries of W that train: flat indices in [rows, columns], ascending. Throws CheckpointError for NaN and Infinity. */
export const maskOf = async (w: Scored, k: number, options: MaskOptions): Promise<Int32Array> => {
  requireFinite(w)
  const all = await scores(w, options)
  return largest(options.order === 'largest' ? all : all.map((x) => -x), k)
}

/** The numbers of entries `before`, as far as they are among `after` too; 0 for those that are new. Both ascending. */
export const migrated = (packed: ArrayLike<number>, before: Int32Array, after: Int32Array): Float32Array => {
  const out = new Float32Array(after.length)
  for (let i = 0, j = 0; i < after.length; i++) {
    while (j < before.length && before[j] < after[i]) j++
    if (before[j] === after[i]) out[i] = packed[j]
  }
  return out
}
