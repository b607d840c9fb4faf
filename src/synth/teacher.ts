/** @file Random teachers: small fixed networks whose outputs a student learns. */
import { UsageError } from '../errors.js'
import { Stream } from '../random/index.js'
import { type Value, value, valueOf } from '../tensor/value.js'
import { maxOf, normOf } from '../tensor/numbers.js'

const activations: Record<'tanh' | 'sin' | 'relu', (x: number) => number> = {
  tanh: Math.tanh,
  sin: Math.sin,
  relu: (x) => Math.max(0, x),
}

/** Form of a teacher. */
export interface TeacherOptions {
  /** Width of the inputs. */
  in: number
  /** Width of the hidden layer. */
  hidden: number
  /** Width of the outputs. */
  out: number
  /** Seed of the matrices. */
  seed: number | string
  /** Default tanh. */
  activation?: keyof typeof activations
  /** Factor on the input of the activation: how far from linear the teacher is. Default 1.5. */
  gain?: number
  /** Standard deviation of the first matrix. Default 1 / sqrt(in). */
  inner?: number
  /** Factor on a linear path beside the hidden layer, x Z with Z ~ N(0, 1). Default 0: none. */
  linear?: number
}

/** Form of a sample. */
export interface TeacherSampleOptions {
  /** Seed of every draw. */
  seed: number | string
  /** Standard deviation of what is added to each output before it is given or compared. Default 0. */
  noise?: number
  /** Norm of a vector in a fixed random direction (the teacher's `direction`) added to the inputs. Default 0. */
  shift?: number
}

/** x: float32 [count, in]; y: float32 [count, out], the teacher's outputs; labels: int64 [count], their largest. */
export interface TeacherData {
  x: Value
  y: Value
  labels: Value
}

/** y = activation(gain * x T0) T1 + linear * x Z, with T0: [in, hidden], T1: [hidden, out], Z: [in, out]. Throws UsageError for widths below 1. */
export class Teacher {
  readonly in: number
  readonly out: number
  readonly #options: TeacherOptions
  readonly #hidden: number
  readonly #gain: number
  readonly #linear: number
  readonly #activation: (x: number) => number
  readonly #first: Float64Array
  readonly #second: Float64Array
  readonly #beside: Float64Array
  readonly #direction: Float64Array

  constructor(options: TeacherOptions) {
    const {
      in: width,
      hidden,
      out,
      seed,
      activation = 'tanh',
      gain = 1.5,
      inner = 1 / Math.sqrt(width),
    } = options
    for (const [name, n] of Object.entries({ in: width, hidden, out }))
      if (!Number.isInteger(n) || n < 1)
        throw new UsageError('BadTeacher', `${name} is ${n}; expected at least 1`)
    const stream = new Stream(seed)
    const draw = (name: string, count: number, scale: number): Float64Array => {
      const fork = stream.fork(`teacher ${name}`)
      return Float64Array.from({ length: count }, () => scale * fork.normal())
    }
    this.#options = options
    this.in = width
    this.out = out
    this.#hidden = hidden
    this.#gain = gain
    this.#linear = options.linear ?? 0
    this.#activation = activations[activation]
    this.#first = draw('first', width * hidden, inner)
    this.#second = draw('second', hidden * out, 1)
    this.#beside = draw('beside', width * out, 1)
    this.#direction = draw('direction', width, 1)
  }

  /**
   * A teacher that conflicts with this one on the same inputs: T0 becomes keep T0 + sqrt(1 - keep²) T0', with T0' drawn
   * anew by `seed`; all else stays. Throws UsageError for a `keep` outside [0, 1].
   */
  changed({ seed, keep = 0.6 }: { seed: number | string; keep?: number }): Teacher {
    if (!(keep >= 0 && keep <= 1))
      throw new UsageError('BadTeacher', `keep is ${keep}; expected a number from 0 to 1`)
    const [other, fresh] = [new Teacher(this.#options), new Teacher({ ...this.#options, seed }).#first]
    const share = Math.sqrt(1 - keep * keep)
    this.#first.forEach((old, i) => (other.#first[i] = keep * old + share * fresh[i]))
    return other
  }

  /** The outputs for one input. x: [in]. Returns [out]. */
  outputs(x: ArrayLike<number>): Float64Array {
    const y = new Float64Array(this.out)
    const sums = new Float64Array(this.#hidden)
    for (let i = 0; i < this.in; i++)
      for (let j = 0; j < this.#hidden; j++) sums[j] += x[i] * this.#first[i * this.#hidden + j]
    for (let j = 0; j < this.#hidden; j++) {
      const h = this.#activation(this.#gain * sums[j])
      for (let o = 0; o < this.out; o++) y[o] += h * this.#second[j * this.out + o]
    }
    if (this.#linear !== 0)
      for (let i = 0; i < this.in; i++)
        for (let o = 0; o < this.out; o++) y[o] += this.#linear * x[i] * this.#beside[i * this.out + o]
    return y
  }

  /** `count` inputs from N(0, I), shifted if asked, with the teacher's outputs. */
  sample(count: number, { seed, noise = 0, shift = 0 }: TeacherSampleOptions): TeacherData {
    const stream = new Stream(seed).fork('teacher sample')
    const scale = shift / normOf(this.#direction)
    const x = new Float32Array(count * this.in)
    const y = new Float32Array(count * this.out)
    const labels = new Int32Array(count)
    for (let n = 0; n < count; n++) {
      for (let i = 0; i < this.in; i++) x[n * this.in + i] = stream.normal() + scale * this.#direction[i]
      const outputs = this.outputs(x.subarray(n * this.in, (n + 1) * this.in))
      for (let o = 0; o < this.out; o++) outputs[o] += noise === 0 ? 0 : noise * stream.normal()
      y.set(outputs, n * this.out)
      labels[n] = outputs.indexOf(maxOf(outputs))
    }
    return {
      x: value(x, [count, this.in], 'float32'),
      y: value(y, [count, this.out], 'float32'),
      labels: valueOf(labels, [count], 'int64'),
    }
  }
}

/** A teacher with weights drawn by `seed`. Another seed is a conflicting task on the same inputs. */
export const teacher = (options: TeacherOptions): Teacher => new Teacher(options)
