/**
 * @file A matrix taken apart into one of low rank and a sparse one, greedily, with its large products on the engine.
 */
import { type Key, normal } from '../random/index.js'
import { compile, type Spec, type Tensor, type Value, value, where } from '../tensor/index.js'
import { roughBasis } from './basis.js'
import { checkFinite } from './matrix.js'
import type { Dense } from './multiply.js'
import { MatrixShapeError } from './errors.js'

/** Options of `lowRankPlusSparse`. */
export interface LowRankPlusSparseOptions {
  /**
   * Magnitude below which an entry of the rest counts as none, above 0. Default a quarter of the standard deviation.
   */
  readonly threshold?: number
  /** Number of rounds, each at a greater rank. Default 10. */
  readonly rounds?: number
  /** Rows by which the low-rank part grows after a round. Default 5. */
  readonly growth?: number
  /** Alternations of both parts in a round. Default 2. */
  readonly sweeps?: number
  /**
   * Greatest rank of the low-rank part. Default a sixteenth of the smaller side: beyond the matrix's own rank the
   * low-rank part takes in the large entries too when each round restarts.
   */
  readonly greatestRank?: number
  /**
   * Whether each round begins with no sparse part, as in DSEE's own code, or with the last round's. Restarted, it finds low
   * spikes on a matrix of low rank (at rank 6 of 96 nine in ten of those of 2 deviations, where the other finds one), and
   * from the matrix's own rank on loses a few of the tallest to the low-rank part; carried, it finds nearly all of the tallest.
   * Default true.
   */
  readonly restart?: boolean
}

/** W ~ U V + S. */
export interface LowRankPlusSparse {
  /** The left factor U: [m, rank], orthonormal columns. */
  readonly left: Dense
  /** The right factor V: [rank, n]. */
  readonly right: Dense
  /** The sparse part S, dense and row-major: [m, n]; its zeros are exact. */
  readonly sparse: Float32Array
}

const atLeast = (name: string, number: number, least: number): void => {
  if (!Number.isSafeInteger(number) || number < least)
    throw new MatrixShapeError('lowRankPlusSparse', `${name} ${number} is not an integer from ${least} on`)
}

const deviation = (data: Dense['data']): number => {
  let sum = 0
  for (let i = 0; i < data.length; i++) sum += data[i]
  const mean = sum / data.length
  let squares = 0
  for (let i = 0; i < data.length; i++) squares += (data[i] - mean) ** 2
  return Math.sqrt(squares / data.length)
}

const valueOf = ({ rows, cols, data }: Dense): Value =>
  value(data instanceof Float32Array ? data : new Float32Array(data), [rows, cols], 'float32')

const denseOf = async (v: Value): Promise<Dense> => ({
  rows: v.shape[0],
  cols: v.shape[1],
  data: (await v.read()) as Float32Array,
})

/** The first `count` columns of y: [m, n], and zeros beside them up to `width`. */
const columnsOf = ({ rows, cols, data }: Dense, count: number, width = count): Dense => {
  const out = new Float32Array(rows * width)
  for (let i = 0; i < rows; i++) for (let j = 0; j < count; j++) out[i * width + j] = data[i * cols + j]
  return { rows, cols: width, data: out }
}

type Parts<T, Names extends 'whole' | 'clean' | 'left' | 'right'> = Readonly<Record<Names, T>>

type Steps = Awaited<ReturnType<typeof stepsOf>>

/**
 * The steps as programs. Both factors have the greatest rank from the start, with zeros beyond the rank that they are at,
 * so that each step is compiled once. `clean` is W - S: W where the rest W - U V is below the threshold, else U V.
 */
const stepsOf = async (
  { rows, cols }: Dense,
  { rank, growth, threshold }: Record<'rank' | 'growth' | 'threshold', number>,
) => {
  const spec = (...shape: number[]): Spec => ({ shape, dtype: 'float32' })
  const whole = spec(rows, cols)
  const left = spec(rows, rank)
  const right = spec(rank, cols)
  const isSmall = (rest: Tensor): Tensor => rest.abs().less(threshold)
  return {
    /** (W - S) Vᵀ: [m, rank]. */
    sketch: await compile(({ clean, right }) => clean.matmul(right.t()), { clean: whole, right }),
    /** V = Uᵀ (W - S): [rank, n]. */
    right: await compile(({ clean, left }) => left.t().matmul(clean), { clean: whole, left }),
    /** W - S anew: [m, n]. */
    clean: await compile(
      ({ whole, left, right }) => {
        const product = left.matmul(right)
        return where(isSmall(whole.sub(product)), whole, product)
      },
      { whole, left, right },
    ),
    /** S = what of W - U V is not below the threshold: [m, n]. */
    sparse: await compile(
      ({ whole, left, right }) => {
        const rest = whole.sub(left.matmul(right))
        return where(isSmall(rest), 0, rest)
      },
      { whole, left, right },
    ),
    /** The first columns of R = W - U V - S, which decide its basis: [m, growth]. */
    first: await compile(
      ({ clean, left, right }) => clean.slice(1, 0, growth).sub(left.matmul(right.slice(1, 0, growth))),
      { clean: whole, left, right },
    ),
    /** Qᵀ R: [growth, n]. */
    rows: await compile(
      ({ clean, left, right, basis }) => basis.t().matmul(clean).sub(basis.t().matmul(left).matmul(right)),
      { clean: whole, left, right, basis: spec(rows, growth) },
    ),
  }
}

/** One sweep at a rank: U = Q of QR((W - S) Vᵀ), V = Uᵀ (W - S), S = what of W - U V is not below the threshold. */
const sweep = async (
  steps: Steps,
  { whole, clean, right }: Parts<Value, 'whole' | 'clean' | 'right'>,
  rank: number,
): Promise<Parts<Value, 'clean' | 'left' | 'right'>> => {
  const sketch = columnsOf(await denseOf(await steps.sketch.run({ clean, right })), rank)
  const left = valueOf(columnsOf(await roughBasis(sketch, 0.5), rank, right.shape[0]))
  const next = await steps.right.run({ clean, left })
  return { left, right: next, clean: await steps.clean.run({ whole, left, right: next }) }
}

/** V with the first rows of R below its first `rank`, where Q R = W - U V - S. */
const grown = async (
  steps: Steps,
  parts: Parts<Value, 'clean' | 'left' | 'right'>,
  rank: number,
): Promise<Value> => {
  const basis = valueOf(await roughBasis(await denseOf(await steps.first.run(parts)), 0.5))
  const more = await denseOf(await steps.rows.run({ ...parts, basis }))
  const { rows, cols, data } = await denseOf(parts.right)
  const all = data.slice()
  all.set(more.data, rank * cols)
  return valueOf({ rows, cols, data: all })
}

const settings = (w: Dense, options: LowRankPlusSparseOptions): Required<LowRankPlusSparseOptions> => {
  const sixteenth = Math.max(1, Math.floor(Math.min(w.rows, w.cols) / 16))
  const { rounds = 10, growth = 5, sweeps = 2, greatestRank = sixteenth, restart = true } = options
  for (const [name, number] of Object.entries({ rounds, growth, sweeps, greatestRank }))
    atLeast(name, number, 1)
  const threshold = options.threshold ?? deviation(w.data) / 4
  if (!(threshold >= 0))
    throw new MatrixShapeError('lowRankPlusSparse', `threshold ${threshold} is not a number from 0 on`)
  return { rounds, growth, sweeps, greatestRank, restart, threshold }
}

/**
 * `w`: [m, n] taken apart into U V of low rank and a sparse S, both [m, n]. V starts as one row of noise drawn from
 * `key` and grows by a few rows a round until `rounds` or `greatestRank`; a round alternates between the parts
 * `sweeps` times. In float32 on the engine: 20 sweeps at 2048 x 2048 take about a second. Throws MatrixShapeError for
 * options out of range, NotFiniteError.
 *
 * Source: Zhou and Tao, "Greedy bilateral sketch, completion and smoothing" (AISTATS 2013), GreBsmo.
 */
export const lowRankPlusSparse = async (
  w: Dense,
  key: Key,
  options: LowRankPlusSparseOptions = {},
): Promise<LowRankPlusSparse> => {
  checkFinite('lowRankPlusSparse', w)
  const { rounds, growth, sweeps, greatestRank, restart, threshold } = settings(w, options)
  const most = Math.min(greatestRank, w.rows, w.cols)
  const rank = 1 + growth * Math.min(rounds - 1, Math.floor((most - 1) / growth))
  const steps = await stepsOf(w, { rank, growth: Math.min(growth, w.cols), threshold })
  const whole = valueOf(w)
  const start = { rows: rank, cols: w.cols, data: new Float32Array(rank * w.cols) }
  normal(start.data.subarray(0, w.cols), key)
  let parts = { clean: whole, left: whole, right: valueOf(start) }
  for (let held = 1; ; held += growth) {
    if (restart) parts = { ...parts, clean: whole }
    for (let i = 0; i < sweeps; i++) parts = await sweep(steps, { ...parts, whole }, held)
    if (held === rank) break
    parts = { ...parts, right: await grown(steps, parts, held) }
  }
  const { left, right } = parts
  const sparse = await denseOf(await steps.sparse.run({ whole, left, right }))
  return {
    left: await denseOf(left),
    right: await denseOf(right),
    sparse: sparse.data as Float32Array,
  }
}
