/** @file Images resized as PyTorch's `interpolate` does it: nearest, and bilinear and bicubic by interpolation matrices. */
import { tensor } from '../create.js'
import { ShapeError, show } from '../shape.js'
import type { Tensor } from '../tensor.js'

/** Options of `resize`. */
export interface ResizeOptions {
  /** Pixels that a new one is made of: the nearest, or the four or sixteen around it by distance. Default 'nearest'. */
  readonly mode?: 'nearest' | 'bilinear' | 'bicubic'
  /** Whether, but for the nearest, the corner pixels' centres stay (else the corners of the image do). Default false. */
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
  alignCorners ? (out > 1 ? (i * (size - 1)) / (out - 1) : 0) : ((i + 0.5) * size) / out - 0.5

/** Weight of a pixel at a distance, in pixels, by Keys' cubic convolution (1981) with a = -0.75, as PyTorch has it. */
const cubic = (distance: number): number => {
  const d = Math.abs(distance)
  const a = -0.75
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1
  return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0
}

/** For each mode how many pixels on either side of a centre count, and with what weight at a distance. */
const kernels = {
  bilinear: { reach: 1, weight: (distance: number): number => Math.max(0, 1 - Math.abs(distance)) },
  bicubic: { reach: 2, weight: cubic },
} as const

/** Row i mixes the pixels around the centre of pixel i; beyond the border the last one counts on. [out, size]. */
const interpolation = (
  size: number,
  out: number,
  { mode, alignCorners }: { mode: keyof typeof kernels; alignCorners: boolean },
  dtype: Tensor['dtype'],
): Tensor => {
  const { reach, weight } = kernels[mode]
  const weights = new Float64Array(out * size)
  for (let i = 0; i < out; i++) {
    const centre = source(i, size, out, alignCorners)
    const low = Math.floor(centre)
    for (let pixel = low - reach + 1; pixel <= low + reach; pixel++)
      weights[i * size + Math.min(Math.max(pixel, 0), size - 1)] += weight(centre - pixel)
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
  const options = { mode, alignCorners }
  return interpolation(rows, height, options, x.dtype)
    .matmul(x)
    .matmul(interpolation(columns, width, options, x.dtype).t())
}
