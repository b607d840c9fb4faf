/**
 * @file A matrix taken apart into one of low rank and a sparse one, greedily, with its large products on the engine.
 */
import { type Key, normal } from '../random/index.js'
import { compile, concat, type Tensor, type Value, value, where } from '../tensor/index.js'
import { orthonormalBasis } from './basis.js'
import { checkFinite, matrix } from './matrix.js'
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

interface State {
  /** W and S: [m, n]. */
  readonly whole: Value
  readonly sparse: Value
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

const inFloat32 = ({ rows, cols, data }: Dense): Value =>
  value(data instanceof Float32Array ? data : new Float32Array(data), [rows, cols], 'float32')

/** Q of the columns of a tall thin value. */
const basisOf = async (y: Value): Promise<Value> => {
  const [rows, cols] = y.shape
  return inFloat32(await orthonormalBasis({ rows, cols, data: (await y.read()) as Float32Array }))
}

/** One sweep: U = Q of QR((W - S) Vᵀ), V = Uᵀ (W - S), S = what of W - U V is not below the threshold. */
const sweep = async ({ whole, sparse }: State, right: Value, threshold: number) => {
  const sketch = await compile(({ whole, sparse, right }) => whole.sub(sparse).matmul(right.t()), {
    whole,
    sparse,
    right,
  })
  const left = await basisOf(await sketch.run({ whole, sparse, right }))
  const split = await compile(
    ({ whole, sparse, left }) => {
      const right = left.t().matmul(whole.sub(sparse))
      const rest = whole.sub(left.matmul(right))
      return { right, sparse: where(rest.abs().less(threshold), 0, rest) }
    },
    { whole, sparse, left },
  )
  return { left, ...(await split.run({ whole, sparse, left })) }
}

/** V with the first `count` rows of R below it, where Q R = W - U V - S: the first columns decide them. */
const grown = async ({ whole, sparse }: State, left: Value, right: Value, count: number): Promise<Value> => {
  const remains = (t: Record<'whole' | 'sparse' | 'left' | 'right', Tensor>): Tensor =>
    t.whole.sub(t.left.matmul(t.right)).sub(t.sparse)
  const inputs = { whole, sparse, left, right }
  const first = await compile((t) => remains(t).slice(1, 0, count), inputs)
  const basis = await basisOf(await first.run(inputs))
  const rows = await compile(({ basis, ...t }) => concat([t.right, basis.t().matmul(remains(t))], 0), {
    ...inputs,
    basis,
  })
  return rows.run({ ...inputs, basis })
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
 * `sweeps` times. In float32 on the engine: 20 sweeps at 2048 x 2048 take seconds. Throws MatrixShapeError for
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
  const nothing = inFloat32(matrix(w.rows, w.cols))
  const noise = new Float32Array(w.cols)
  normal(noise, key)
  const whole = inFloat32(w)
  let sparse = nothing
  let right = inFloat32({ rows: 1, cols: w.cols, data: noise })
  let left = right
  for (let round = 1; ; round++) {
    if (restart) sparse = nothing
    for (let i = 0; i < sweeps; i++)
      ({ left, right, sparse } = await sweep({ whole, sparse }, right, threshold))
    const rank = right.shape[0]
    if (round === rounds || rank + growth > greatestRank) break
    right = await grown({ whole, sparse }, left, right, growth)
  }
  const dense = async (v: Value): Promise<Dense> => ({
    rows: v.shape[0],
    cols: v.shape[1],
    data: (await v.read()) as Float32Array,
  })
  return {
    left: await dense(left),
    right: await dense(right),
    sparse: (await dense(sparse)).data as Float32Array,
  }
}
