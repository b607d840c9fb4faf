/** @file Classes that are mixtures of Gaussians: the classification task most reproductions share. */
import { UsageError } from '../errors.js'
import { Stream } from '../random/index.js'
import { type Value, value, valueOf } from '../tensor/value.js'
import { weighted } from './dirichlet.js'
import { minOf, normOf } from '../tensor/numbers.js'

/** Form of a mixture. */
export interface MixtureOptions {
  /** Number of classes. */
  classes: number
  /** Numbers an example has. */
  width: number
  /** Seed of the centres. */
  seed: number | string
  /** Gaussians a class has. Default 1. */
  prototypes?: number
  /** Standard deviation of the coordinates of the centres, which sets how far apart classes are. Default 1. */
  separation?: number
  /** Standard deviation of an example around its centre, in each coordinate. Default 1. */
  noise?: number
  /** Give each centre a random class instead of the same number of centres to each. Default false. */
  randomClasses?: boolean
}

/** Form of a sample. */
export interface SampleOptions {
  /** Seed of every draw. */
  seed: number | string
  /** The share of labels that are replaced by another class, drawn uniformly. Default 0. */
  labelNoise?: number
  /** How likely each class is, in any unit. Default: equally. */
  weights?: readonly number[]
  /** Standard deviation in place of the mixture's noise. */
  noise?: number
}

/** x: float32 [count, width]; labels: int64 [count], as given; trueLabels: before label noise. */
export interface LabelledData {
  x: Value
  labels: Value
  trueLabels: Value
}

/** Change of a task. */
export interface ShiftOptions {
  /** Seed of every draw. */
  seed: number | string
  /** Standard deviation of what is added to each coordinate of each centre. Default 0. */
  move?: number
  /** Norm of one vector, in a random direction, that is added to all. Default 0. */
  offset?: number
  /**
   * Size of a random rotation of the space: 0 none; the rotation is the Q of I + rotation * N(0, 1/width), so 0.3 is
   * near the identity and a large number forgets it. Default 0.
   */
  rotation?: number
}

/** Gram and Schmidt, twice for accuracy. rows: [width][width], overwritten by orthonormal rows. */
const orthonormalise = (rows: Float64Array[]): void => {
  for (const [i, row] of rows.entries()) {
    for (let pass = 0; pass < 2; pass++)
      for (const before of rows.slice(0, i)) {
        const along = before.reduce((sum, b, k) => sum + b * row[k], 0)
        for (let k = 0; k < row.length; k++) row[k] -= along * before[k]
      }
    const norm = normOf(row)
    for (let k = 0; k < row.length; k++) row[k] /= norm
  }
}

const randomRotation = (stream: Stream, width: number, size: number): Float64Array[] => {
  const rows = Array.from({ length: width }, (_, i) =>
    Float64Array.from(
      { length: width },
      (_, k) => (i === k ? 1 : 0) + (size * stream.normal()) / Math.sqrt(width),
    ),
  )
  orthonormalise(rows)
  return rows
}

/** A task: fixed centres and their classes. */
export class GaussianMixture {
  /** [centres][width] */
  readonly centres: readonly Float64Array[]
  /** The class of each centre. */
  readonly classOf: readonly number[]
  readonly classes: number
  readonly width: number
  readonly noise: number

  constructor(parts: Pick<GaussianMixture, 'centres' | 'classOf' | 'classes' | 'width' | 'noise'>) {
    this.centres = parts.centres
    this.classOf = parts.classOf
    this.classes = parts.classes
    this.width = parts.width
    this.noise = parts.noise
  }

  /** `count` independent examples. `options.weights`: [classes]. Throws UsageError for another number of weights. */
  sample(count: number, { seed, labelNoise = 0, weights, noise = this.noise }: SampleOptions): LabelledData {
    const stream = new Stream(seed).fork('mixture sample')
    const perClass = this.#centresByClass()
    const likely = weights ?? perClass.map((centres) => centres.length && 1)
    if (likely.length !== this.classes)
      throw new UsageError('BadWeights', `${likely.length} class weights for ${this.classes} classes`)
    const x = new Float32Array(count * this.width)
    const [labels, trueLabels] = [new Int32Array(count), new Int32Array(count)]
    for (let i = 0; i < count; i++) {
      const label = weighted(stream, likely)
      const centre = this.centres[stream.choice(perClass[label])]
      for (let k = 0; k < this.width; k++) x[i * this.width + k] = centre[k] + noise * stream.normal()
      trueLabels[i] = label
      const wrong = this.classes > 1 && stream.uniform() < labelNoise
      labels[i] = wrong ? (label + 1 + stream.int(this.classes - 1)) % this.classes : label
    }
    return {
      x: value(x, [count, this.width], 'float32'),
      labels: valueOf(labels, [count], 'int64'),
      trueLabels: valueOf(trueLabels, [count], 'int64'),
    }
  }

  /** The same classes somewhere else: rotated, then each centre moved, then all shifted. */
  shifted({ seed, move = 0, offset = 0, rotation = 0 }: ShiftOptions): GaussianMixture {
    const stream = new Stream(seed).fork('mixture shift')
    const turn = randomRotation(stream, this.width, rotation)
    const direction = Float64Array.from({ length: this.width }, () => stream.normal())
    const scale = offset / normOf(direction)
    const centres = this.centres.map((centre) =>
      Float64Array.from(turn, (row, k) => {
        const turned = rotation === 0 ? centre[k] : row.reduce((sum, r, j) => sum + r * centre[j], 0)
        return turned + move * stream.normal() + scale * direction[k]
      }),
    )
    return new GaussianMixture({ ...this, centres })
  }

  /** The class of the nearest centre of each row: the best guess for equal weights and little overlap. x: [n, width]. */
  nearest(x: Value): number[] {
    return Array.from({ length: x.shape[0] }, (_, i) => {
      const distances = this.centres.map((centre) =>
        centre.reduce((sum, c, k) => sum + (Number(x.data[i * this.width + k]) - c) ** 2, 0),
      )
      return this.classOf[distances.indexOf(minOf(distances))]
    })
  }

  #centresByClass(): number[][] {
    const byClass: number[][] = Array.from({ length: this.classes }, () => [])
    this.classOf.forEach((label, centre) => byClass[label].push(centre))
    return byClass
  }
}

/** A mixture with centres drawn from N(0, separation^2). The same options give the same task. Throws UsageError for sizes that are not above 0. */
export const gaussianMixture = (options: MixtureOptions): GaussianMixture => {
  const { classes, width, seed, prototypes = 1, separation = 1, noise = 1, randomClasses = false } = options
  if (!(Number.isInteger(classes) && classes > 0 && Number.isInteger(width) && width > 0 && prototypes > 0))
    throw new UsageError(
      'BadMixture',
      `classes ${classes}, width ${width}, prototypes ${prototypes}; expected above 0`,
    )
  const stream = new Stream(seed).fork('mixture')
  const count = classes * prototypes
  const centres = Array.from({ length: count }, () =>
    Float64Array.from({ length: width }, () => separation * stream.normal()),
  )
  const classOf = Array.from({ length: count }, (_, i) => (randomClasses ? stream.int(classes) : i % classes))
  return new GaussianMixture({ centres, classOf, classes, width, noise })
}
