/**
 * @file CMA-ES: minimising a function of a few real numbers that has no gradient (Hansen, "The CMA Evolution Strategy: A
 * Tutorial", 2016). No library of the platform that is looked after has it.
 */
import { identity, type Matrix, symmetricEigen } from '../linalg/index.js'
import { UsageError } from '../errors.js'
import { Stream } from '../random/index.js'
import { normOf } from '../tensor/numbers.js'

/** Options of the search. */
export interface CmaEsOptions {
  /** Starting point of the search: [dimension]. */
  readonly start: ArrayLike<number>
  /** Standard deviation of the first candidates in each coordinate. */
  readonly step: number
  /** Candidates a generation. Default 4 + floor(3 ln dimension). */
  readonly population?: number
  /** Keep variances alone and no covariances (Ros & Hansen 2008). Default: beyond 60 dimensions. */
  readonly diagonal?: boolean
  /** Default 0. */
  readonly seed?: number | string
}

/** Rates of learning, from the dimension n and the weights of recombination (the tutorial's table 1, no negative weights). */
const ratesOf = (n: number, weights: Float64Array, diagonal: boolean) => {
  const mass = 1 / weights.reduce((sum, w) => sum + w * w, 0)
  const faster = diagonal ? (n + 2) / 3 : 1
  const rankOne = Math.min(1, (faster * 2) / ((n + 1.3) ** 2 + mass))
  const path = (mass + 2) / (n + mass + 5)
  return {
    mass,
    path,
    damping: 1 + 2 * Math.max(0, Math.sqrt((mass - 1) / (n + 1)) - 1) + path,
    covariancePath: (4 + mass / n) / (n + 4 + (2 * mass) / n),
    rankOne,
    rankMu: Math.min(1 - rankOne, (faster * 2 * (mass - 2 + 1 / mass)) / ((n + 2) ** 2 + mass)),
    /** What a standard normal vector is long, on average. */
    length: Math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n)),
  }
}

const logRanks = (population: number): Float64Array => {
  const parents = Math.floor(population / 2)
  const raw = Float64Array.from(
    { length: parents },
    (_, i) => Math.log((population + 1) / 2) - Math.log(i + 1),
  )
  const total = raw.reduce((sum, w) => sum + w, 0)
  return raw.map((w) => w / total)
}

const norm = (v: Float64Array): number => normOf(v)

/**
 * The search as a dialogue: `ask` for a generation of candidates, `tell` their costs, and so on. Only the order of the
 * costs matters; NaN counts as infinite. The same seed gives the same search.
 * Throws UsageError for options that do not fit.
 */
export class CmaEs {
  readonly population: number
  /** Centre of the next generation: [dimension]. */
  mean: Float64Array
  /** The common factor of all standard deviations. */
  step: number
  private readonly stream: Stream
  private readonly weights: Float64Array
  private readonly rates: ReturnType<typeof ratesOf>
  private readonly diagonal: boolean
  /** C = B diag(deviations²) Bᵀ; with `diagonal`, B is the identity and C its diagonal alone. */
  private readonly covariance: Matrix
  private basis: Matrix
  private deviations: Float64Array
  private readonly stepPath: Float64Array
  private readonly covariancePath: Float64Array
  private asked: Float64Array[] = []
  private generation = 0

  /** Throws UsageError for an empty start and for a step or population that is none. */
  constructor({ start, step, population, diagonal, seed = 0 }: CmaEsOptions) {
    const n = start.length
    this.population = population ?? 4 + Math.floor(3 * Math.log(n))
    if (!(n > 0 && step > 0 && Number.isInteger(this.population) && this.population >= 4))
      throw new UsageError(
        'BadSearch',
        `CMA-ES over ${n} numbers with step ${step} and population ${this.population}; expected at least 1, above 0, at least 4`,
      )
    this.mean = Float64Array.from(start)
    this.step = step
    this.diagonal = diagonal ?? n > 60
    this.stream = new Stream(seed).fork('cma-es')
    this.weights = logRanks(this.population)
    this.rates = ratesOf(n, this.weights, this.diagonal)
    this.covariance = identity(this.diagonal ? 1 : n)
    this.basis = identity(this.diagonal ? 1 : n)
    this.deviations = new Float64Array(n).fill(1)
    this.stepPath = new Float64Array(n)
    this.covariancePath = new Float64Array(n)
  }

  /** The next generation: [population][dimension]. */
  ask(): Float64Array[] {
    this.asked = Array.from({ length: this.population }, () => {
      const z = this.deviations.map((d) => d * this.stream.normal())
      const y = this.rotated(z)
      return this.mean.map((m, i) => m + this.step * y[i])
    })
    return this.asked
  }

  /** The costs of what `ask` gave, in its order. costs: [population]. */
  tell(costs: readonly number[]): void {
    const { weights, rates } = this
    const rank = (i: number): number => (Number.isNaN(costs[i]) ? Infinity : costs[i])
    const order = costs.map((_, i) => i).sort((a, b) => (rank(a) === rank(b) ? a - b : rank(a) - rank(b)))
    const moves = order
      .slice(0, weights.length)
      .map((i) => this.asked[i].map((x, k) => (x - this.mean[k]) / this.step))
    const move = this.mean.map((_, k) => moves.reduce((sum, y, i) => sum + weights[i] * y[k], 0))
    this.mean = this.mean.map((m, k) => m + this.step * move[k])
    this.generation++

    const white = this.rotated(this.rotated(move, true).map((v, k) => v / this.deviations[k]))
    follow(this.stepPath, white, rates.path, rates.mass)
    const fading = Math.sqrt(1 - (1 - rates.path) ** (2 * this.generation))
    const n = this.mean.length
    const stalled = norm(this.stepPath) / fading > (1.4 + 2 / (n + 1)) * rates.length
    follow(this.covariancePath, stalled ? move.map(() => 0) : move, rates.covariancePath, rates.mass)
    this.adapt(moves, stalled)
    this.step *= Math.exp((rates.path / rates.damping) * (norm(this.stepPath) / rates.length - 1))
  }

  /** Learns the covariance from the path (rank one) and from the parents (rank mu). */
  private adapt(moves: readonly Float64Array[], stalled: boolean): void {
    const { rankOne, rankMu, covariancePath: rate } = this.rates
    const kept = 1 - rankOne - rankMu + (stalled ? rankOne * rate * (2 - rate) : 0)
    const path = this.covariancePath
    const learned = (old: number, i: number, j: number): number =>
      kept * old +
      rankOne * path[i] * path[j] +
      rankMu * moves.reduce((sum, y, m) => sum + this.weights[m] * y[i] * y[j], 0)
    if (this.diagonal) {
      this.deviations = this.deviations.map((d, i) => Math.sqrt(learned(d * d, i, i)))
      return
    }
    const { data, cols } = this.covariance
    for (let i = 0; i < cols; i++)
      for (let j = 0; j <= i; j++) data[i * cols + j] = data[j * cols + i] = learned(data[i * cols + j], i, j)
    const { values, vectors } = symmetricEigen(this.covariance)
    this.basis = vectors
    this.deviations = values.map((v) => Math.sqrt(Math.max(v, 1e-300)))
  }

  /** B v, or with `back` Bᵀ v. */
  private rotated(v: Float64Array, back = false): Float64Array {
    if (this.diagonal) return v
    const { data, cols } = this.basis
    return v.map((_, i) => {
      let sum = 0
      for (let j = 0; j < cols; j++) sum += data[back ? j * cols + i : i * cols + j] * v[j]
      return sum
    })
  }
}

/** path = (1 - rate) path + sqrt(rate (2 - rate) mass) direction */
const follow = (path: Float64Array, direction: Float64Array, rate: number, mass: number): void => {
  const scale = Math.sqrt(rate * (2 - rate) * mass)
  for (let i = 0; i < path.length; i++) path[i] = (1 - rate) * path[i] + scale * direction[i]
}
