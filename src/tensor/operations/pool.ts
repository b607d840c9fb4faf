/**
 * @file Pooling over the last two axes, or the last: the greatest or the mean of windows, and means of a given output
 * size.
 */
import { fused } from '../control.js'
import { full, ones, tensor, where } from '../create.js'
import { isFloat } from '../dtype.js'
import { gradients } from '../grad.js'
import { ShapeError, show } from '../shape.js'
import type { Tensor } from '../tensor.js'
import { conv2d } from './conv.js'

type Pair = number | readonly [number, number]

/** Options of pooling over two axes; a pair is one number for both, or [height, width]. */
export interface PoolOptions {
  /** Step from window to window, in elements. Default the kernel. */
  readonly stride?: Pair
  /** Elements added on every side. Default 0. */
  readonly padding?: Pair
  /** Distance between the elements of a window. Default 1. */
  readonly dilation?: Pair
}

interface Windows {
  readonly kernel: readonly [number, number]
  readonly strides: readonly [number, number]
  readonly padding: readonly [number, number]
  readonly dilations: readonly [number, number]
  /** Height and width of the result. */
  readonly out: readonly [number, number]
}

const pair = (p: Pair): readonly [number, number] => (typeof p === 'number' ? [p, p] : p)

const requireImages = (name: string, x: Tensor): void => {
  if (x.rank !== 4) throw new ShapeError(name, `${show(x.shape)} is not [batch, channels, height, width]`)
}

const windowsOf = (name: string, x: Tensor, size: Pair, options: PoolOptions): Windows => {
  requireImages(name, x)
  const kernel = pair(size)
  const strides = pair(options.stride ?? size)
  const padding = pair(options.padding ?? 0)
  const dilations = pair(options.dilation ?? 1)
  const positive = [...kernel, ...strides, ...dilations].every((n) => Number.isInteger(n) && n >= 1)
  if (!positive || !padding.every((n, i) => Number.isInteger(n) && n >= 0 && 2 * n <= kernel[i]))
    throw new ShapeError(
      name,
      `kernel [${kernel}], stride [${strides}], padding [${padding}], dilation [${dilations}]: ` +
        'positive integers expected, and padding of at most half the kernel',
    )
  const count = (axis: 0 | 1): number => {
    const room = x.shape[axis + 2] + 2 * padding[axis] - dilations[axis] * (kernel[axis] - 1) - 1
    if (room < 0) throw new ShapeError(name, `kernel [${kernel}] does not fit in ${show(x.shape)}`)
    return Math.floor(room / strides[axis]) + 1
  }
  return { kernel, strides, padding, dilations, out: [count(0), count(1)] }
}

/** For each place of the kernel, what stands there in every window: tensors of the result's shape. */
const taps = (x: Tensor, { kernel, strides, padding, dilations, out }: Windows): Tensor[] => {
  const room = [0, 0, ...padding]
  const padded = x.pad(room, room, isFloat(x.dtype) ? -Infinity : -(2 ** 31))
  const seen = (t: Tensor, axis: 0 | 1): Tensor[] =>
    Array.from({ length: kernel[axis] }, (_, place) => {
      const start = place * dilations[axis]
      return t.slice(axis + 2, start, start + (out[axis] - 1) * strides[axis] + 1, strides[axis])
    })
  return seen(padded, 0).flatMap((rows) => seen(rows, 1))
}

/** The pooled `y` again, as a sum in which the first greatest element of each window takes part, and no other. */
const chosen = (x: Tensor, y: Tensor, windows: Windows): Tensor => {
  let open = full(y.shape, true, 'bool')
  const parts = taps(x, windows).map((tap) => {
    const hit = tap.equal(y).and(open)
    open = open.and(hit.not())
    return where(hit, tap, 0)
  })
  return parts.reduce((a, b) => a.add(b))
}

/**
 * The greatest element of each window. x: [batch, channels, height, width] -> [batch, channels, h, w] with h =
 * floor((height + 2 padding - dilation (kernel - 1) - 1) / stride) + 1, and w alike. Padding never wins; the gradient
 * goes to the first of equal elements. Throws ShapeError.
 */
export const maxPool2d = (x: Tensor, kernel: Pair, options: PoolOptions = {}): Tensor => {
  const windows = windowsOf('maxPool2d', x, kernel, options)
  const { strides, padding, dilations } = windows
  return fused('MaxPool', [x], [taps(x, windows).reduce((a, b) => a.maximum(b))], {
    options: { kernel_shape: windows.kernel, strides, dilations, pads: [...padding, ...padding] },
    gradient: ([g], [given], [y]) => gradients([chosen(given, y, windows)], [g!], [given]),
    batch: ([t]) => {
      const pooled = maxPool2d(t.reshape([-1, ...t.shape.slice(2)]), kernel, options)
      return [pooled.reshape([t.shape[0], -1, ...pooled.shape.slice(1)])]
    },
  })[0]
}

/**
 * The mean of each window. x: [batch, channels, height, width] -> [batch, channels, h, w] as `maxPool2d` gives. Padding
 * counts as zeros unless `countPadding` is false: then the mean is over what lies inside. Throws ShapeError.
 */
export const averagePool2d = (
  x: Tensor,
  kernel: Pair,
  { countPadding = true, ...options }: PoolOptions & { readonly countPadding?: boolean } = {},
): Tensor => {
  const windows = windowsOf('averagePool2d', x, kernel, options)
  const [h, w] = windows.kernel
  const { strides: stride, padding, dilations: dilation } = windows
  const sum = (images: Tensor): Tensor =>
    conv2d(images, ones([1, 1, h, w], x.dtype), { stride, padding, dilation })
  const planes = x.reshape([-1, 1, ...x.shape.slice(2)])
  const total = sum(planes)
  const mean = countPadding
    ? total.mul(1 / (h * w))
    : total.div(sum(ones([1, 1, ...x.shape.slice(2)], x.dtype)))
  return mean.reshape([...x.shape.slice(0, 2), ...windows.out])
}

/** Row i holds the weights of the i-th of `out` means over `size` elements, which may overlap. [out, size]. */
const meansMatrix = (size: number, out: number, like: Tensor): Tensor => {
  const weights = new Float64Array(out * size)
  for (let i = 0; i < out; i++) {
    const start = Math.floor((i * size) / out)
    const end = Math.ceil(((i + 1) * size) / out)
    weights.fill(1 / (end - start), i * size + start, i * size + end)
  }
  return tensor(weights, [out, size], like.dtype)
}

/**
 * Means over out[0] x out[1] regions that cover the image evenly: region i of n spans floor(i size / n) to
 * ceil((i + 1) size / n). x: [batch, channels, height, width] -> [batch, channels, ...out]. Throws ShapeError.
 */
export const adaptiveAveragePool2d = (x: Tensor, out: Pair): Tensor => {
  requireImages('adaptiveAveragePool2d', x)
  const [h, w] = pair(out)
  if (![h, w].every((n) => Number.isInteger(n) && n >= 1))
    throw new ShapeError('adaptiveAveragePool2d', `[${h}, ${w}] is no size`)
  const rows = meansMatrix(x.shape[2], h, x)
  return rows.matmul(x).matmul(meansMatrix(x.shape[3], w, x).t())
}

/** The mean of every channel: [batch, channels, height, width] -> [batch, channels]. */
export const globalAveragePool2d = (x: Tensor): Tensor => {
  requireImages('globalAveragePool2d', x)
  return x.mean([2, 3])
}

/** Options of pooling along one axis. */
export interface Pool1dOptions {
  /** Step from window to window, in elements. Default the kernel. */
  readonly stride?: number
  /** Elements added at both ends. Default 0. */
  readonly padding?: number
  /** Distance between the elements of a window. Default 1. */
  readonly dilation?: number
}

const lengthwise = (
  kernel: number,
  { stride = kernel, padding = 0, dilation = 1 }: Pool1dOptions,
): PoolOptions => ({
  stride: [1, stride],
  padding: [0, padding],
  dilation: [1, dilation],
})

const flat = (name: string, x: Tensor): Tensor => {
  if (x.rank !== 3) throw new ShapeError(name, `${show(x.shape)} is not [batch, channels, length]`)
  return x.unsqueeze(2)
}

/** maxPool2d along one axis. x: [batch, channels, length]. Throws ShapeError. */
export const maxPool1d = (x: Tensor, kernel: number, options: Pool1dOptions = {}): Tensor =>
  maxPool2d(flat('maxPool1d', x), [1, kernel], lengthwise(kernel, options)).squeeze(2)

/** averagePool2d along one axis. x: [batch, channels, length]. Throws ShapeError. */
export const averagePool1d = (
  x: Tensor,
  kernel: number,
  { countPadding, ...options }: Pool1dOptions & { readonly countPadding?: boolean } = {},
): Tensor =>
  averagePool2d(flat('averagePool1d', x), [1, kernel], {
    ...lengthwise(kernel, options),
    countPadding,
  }).squeeze(2)
