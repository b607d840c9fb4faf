/** @file What the numbers of one tensor look like. */
import type { Checkpoint } from '../../checkpoint/index.js'
import { WeftError } from '../../errors.js'
import { matrix, randomizedSvd, svd } from '../../linalg/index.js'
import type { TensorStatistics } from '../api.js'
import { sizeOf } from '../../tensor/shape.js'

const bins = 64
/** Elements that are read at most: 1 GB in float32. */
const mostElements = 2 ** 28
/** Up to this many rows or columns, every singular value is computed. */
const exactSize = 192
/** Otherwise so many of the largest. */
const leading = 64

type Moments = Pick<TensorStatistics, 'least' | 'greatest' | 'mean' | 'deviation' | 'zeros' | 'notFinite'>

/** Welford's running mean and squared deviation, over finite elements. */
const momentsOf = (numbers: Float32Array): Moments => {
  let [count, mean, squares, zeros] = [0, 0, 0, 0]
  let [least, greatest] = [Infinity, -Infinity]
  for (const x of numbers) {
    if (!Number.isFinite(x)) continue
    count++
    const difference = x - mean
    mean += difference / count
    squares += difference * (x - mean)
    if (x === 0) zeros++
    if (x < least) least = x
    if (x > greatest) greatest = x
  }
  const notFinite = numbers.length - count
  if (count === 0) return { least: null, greatest: null, mean: null, deviation: null, zeros, notFinite }
  return { least, greatest, mean, deviation: Math.sqrt(squares / count), zeros, notFinite }
}

const histogramOf = (numbers: Float32Array, { least, greatest }: Moments): TensorStatistics['histogram'] => {
  if (least === null || greatest === null) return { edges: [], counts: [] }
  const width = (greatest - least) / bins
  if (width === 0) return { edges: [least, greatest], counts: [numbers.length] }
  const counts = new Array<number>(bins).fill(0)
  for (const x of numbers)
    if (Number.isFinite(x)) counts[Math.min(bins - 1, Math.floor((x - least) / width))]++
  return { edges: Array.from({ length: bins + 1 }, (_, i) => least + i * width), counts }
}

type Spectrum = Pick<TensorStatistics, 'singularValues' | 'singularNote'>

const spectrumOf = async (
  numbers: Float32Array,
  shape: readonly number[],
  finite: boolean,
): Promise<Spectrum> => {
  if (shape.length < 2) return { singularValues: null, singularNote: 'not a matrix' }
  if (!finite) return { singularValues: null, singularNote: 'some elements are not finite' }
  const [rows, cols] = [shape[0], numbers.length / shape[0]]
  const size = Math.min(rows, cols)
  if (!(size > 0)) return { singularValues: null, singularNote: 'empty' }
  if (size <= exactSize)
    return { singularValues: [...svd(matrix(rows, cols, numbers)).s], singularNote: null }
  const { s } = await randomizedSvd({ rows, cols, data: numbers }, leading)
  return { singularValues: [...s], singularNote: `the ${leading} largest of ${size}, approximately` }
}

/** Statistics of the tensor `name`. Throws CheckpointError when there is none, WeftError when it is too large. */
export const statisticsOf = async (checkpoint: Checkpoint, name: string): Promise<TensorStatistics> => {
  const { dtype, shape, length } = checkpoint.info(name)
  const count = sizeOf(shape)
  if (count > mostElements)
    throw new WeftError('TensorTooLarge', `${name} has ${count} elements; at most ${mostElements} are shown`)
  const { data } = await checkpoint.read(name, 'float32')
  const numbers = data as Float32Array
  const moments = momentsOf(numbers)
  return {
    name,
    dtype,
    shape: [...shape],
    bytes: length,
    count,
    ...moments,
    histogram: histogramOf(numbers, moments),
    ...(await spectrumOf(numbers, shape, moments.notFinite === 0)),
  }
}
