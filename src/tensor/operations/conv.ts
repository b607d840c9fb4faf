/** @file Convolutions in one and two dimensions, and their transposes. */
import type { ConvAttributes } from '../primitives.js'
import { ShapeError, show } from '../shape.js'
import { apply, type Tensor } from '../tensor.js'

type Pair = number | readonly [number, number]

/** Options of a two-dimensional convolution; a pair is one number for both axes, or [height, width]. */
export interface ConvOptions {
  /** Step from window to window, in elements. Default 1. */
  readonly stride?: Pair
  /** Zeros added on every side. Default 0. */
  readonly padding?: Pair
  /** Distance between the elements of a window. Default 1. */
  readonly dilation?: Pair
  /** Number of groups of channels that are convolved apart. Default 1. */
  readonly groups?: number
}

const pair = (p: Pair | undefined, otherwise: number): readonly [number, number] =>
  typeof p === 'object' ? p : [p ?? otherwise, p ?? otherwise]

const attributesOf = ({ stride, padding, dilation, groups = 1 }: ConvOptions): ConvAttributes => {
  const [top, left] = pair(padding, 0)
  return { strides: pair(stride, 1), padding: [top, left, top, left], dilations: pair(dilation, 1), groups }
}

const withBias = (y: Tensor, bias?: Tensor): Tensor => (bias ? y.add(bias.reshape([1, -1, 1, 1])) : y)

/** Cross-correlation. x: [batch, in, height, width], w: [out, in / groups, kh, kw], bias: [out]. Throws ShapeError. */
export const conv2d = (x: Tensor, w: Tensor, options: ConvOptions & { bias?: Tensor } = {}): Tensor =>
  withBias(apply('conv', [x, w], attributesOf(options))[0], options.bias)

/**
 * The transpose of conv2d. x: [batch, in, height, width], w: [in, out / groups, kh, kw], bias: [out]. Throws
 * ShapeError.
 */
export const convTranspose2d = (
  x: Tensor,
  w: Tensor,
  options: ConvOptions & { bias?: Tensor; outputPadding?: Pair } = {},
): Tensor =>
  withBias(
    apply('convTranspose', [x, w], {
      ...attributesOf(options),
      outputPadding: pair(options.outputPadding, 0),
    })[0],
    options.bias,
  )

/** Options of a one-dimensional convolution. */
export interface Conv1dOptions {
  /** Step from window to window, in elements. Default 1. */
  readonly stride?: number
  /** Zeros added at both ends. Default 0. */
  readonly padding?: number
  /** Distance between the elements of a window. Default 1. */
  readonly dilation?: number
  /** Number of groups of channels that are convolved apart. Default 1. */
  readonly groups?: number
  /** Bias of each output channel: [out]. Default none. */
  readonly bias?: Tensor
}

const flat = (x: Tensor): Tensor => {
  if (x.rank !== 3) throw new ShapeError('conv1d', `${show(x.shape)} is not [batch, channels, length]`)
  return x.unsqueeze(2)
}

const lengthwise = ({
  stride = 1,
  padding = 0,
  dilation = 1,
  groups,
  bias,
}: Conv1dOptions): ConvOptions & { bias?: Tensor } => ({
  stride: [1, stride],
  padding: [0, padding],
  dilation: [1, dilation],
  groups,
  bias,
})

/**
 * Cross-correlation along one axis. x: [batch, in, length], w: [out, in / groups, kernel] -> [batch, out, length].
 * Throws ShapeError.
 */
export const conv1d = (x: Tensor, w: Tensor, options: Conv1dOptions = {}): Tensor =>
  conv2d(flat(x), flat(w), lengthwise(options)).squeeze(2)

/**
 * The transpose of conv1d. x: [batch, in, length], w: [in, out / groups, kernel] -> [batch, out, length]. Throws
 * ShapeError.
 */
export const convTranspose1d = (
  x: Tensor,
  w: Tensor,
  options: Conv1dOptions & { outputPadding?: number } = {},
): Tensor =>
  convTranspose2d(flat(x), flat(w), {
    ...lengthwise(options),
    outputPadding: [0, options.outputPadding ?? 0],
  }).squeeze(2)
