/** @file Images resized as PyTorch's `interpolate` does it: nearest, and bilinear by interpolation matrices. */
import { tensor } from '../create.js'
import { ShapeError, show } from '../shape.js'
import type { Tensor } from '../tensor.js'

/** Options of `resize`. */
export interface ResizeOptions {
  /** Pixels that a new one is made of: the nearest, or the four around it by distance. Default 'nearest'. */
  readonly mode?: 'nearest' | 'bilinear'
  /** Whether, in bilinear mode, the corner pixels' centres stay (else the corners of the image do). Default false. */
  readonly alignCorners?: boolean
}

/**
 * Which of `size` pixels each of `out` pixels takes; in float32 steps, since that is where PyTorch's roundings fall.
 */
const nearestPixels = (size: number, out: number): Tensor => {
  const scale = Math.fround(size / out)
  const at = Array.from({ length: out }, (_, i) => Math.min(Math.floor(Math.fround(i * scale)), size - 1))
  return tensor(at, [out], 'int32')
}

/** Where pixel i of `out` has its centre, counted in the `size` source pixels. */
const source = (i: number, size: number, out: number, alignCorners: boolean): number =>
  alignCorners ? (out > 1 ? (i * (size - 1)) / (out - 1) : 0) : Math.max(((i + 0.5) * size) / out - 0.5, 0)

/** Row i mixes the two pixels beside the centre of pixel i. [out, size]. */
const interpolation = (size: number, out: number, alignCorners: boolean, dtype: Tensor['dtype']): Tensor => {
  const weights = new Float64Array(out * size)
  for (let i = 0; i < out; i++) {
    const at = source(i, size, out, alignCorners)
    const low = Math.min(Math.floor(at), size - 1)
    weights[i * size + low] += 1 - (at - low)
    weights[i * size + Math.min(low + 1, size - 1)] += at - low
  }
  return tensor(weights, [out, size], dtype)
}

/** Images at another size. x: [batch, channels, height, width] -> [batch, channels, ...size]. Throws ShapeError. */
export const resize = (
  x: Tensor,
  size: readonly [number, number],
  { mode = 'nearest', alignCorners = false }: ResizeOptions = {},
): Tensor => {
  const [height, width] = size
  if (x.rank !== 4 || x.size === 0)
    throw new ShapeError('resize', `${show(x.shape)} is not [batch, channels, height, width]`)
  if (!size.every((n) => Number.isInteger(n) && n >= 1))
    throw new ShapeError('resize', `${show(size)} is no size`)
  const [, , rows, columns] = x.shape
  if (mode === 'nearest')
    return x.gather(nearestPixels(rows, height), 2).gather(nearestPixels(columns, width), 3)
  return interpolation(rows, height, alignCorners, x.dtype)
    .matmul(x)
    .matmul(interpolation(columns, width, alignCorners, x.dtype).t())
}
