/** @file The capture of a forward pass: what enters and leaves every linear module and convolution, as rows. */
import { answering, type Model, type Parameters, type WeightSpec } from '../models/index.js'
import { concat, type ConvOptions, type Tensor } from '../tensor/index.js'
import { type Batch, inputsOf } from '../train/loss.js'

/** A linear module or convolution as it ran on a batch. */
export interface Passage {
  /** Full name of the module: 'model.layers.0.mlp.down_proj'. */
  readonly module: string
  /** Specification of its weight. */
  readonly spec: WeightSpec
  /** Input: [..., in], or [batch, in, height, width] of a convolution. */
  readonly x: Tensor
  /** Output: [..., out], or [batch, out, height, width] of a convolution. */
  readonly y: Tensor
  /** Stride, padding and dilation of a convolution; absent for a linear module. */
  readonly options?: ConvOptions
  readonly batch: Batch<Tensor>
}

/** Every linear module and convolution of a forward pass of `model` with these parameters, in the order in which they run. */
export const passagesOf = (
  model: Model,
  batch: Batch<Tensor>,
  parameters: Parameters<Tensor> = {},
): Passage[] => {
  const passages: Passage[] = []
  const specs = new Map(model.architecture.table(model.config).map((spec) => [spec.name, spec]))
  const base = model.weights(parameters, { inputs: batch })
  const record = (module: string, x: Tensor, y: Tensor, options?: ConvOptions): Tensor => {
    passages.push({ module, spec: specs.get(`${module}.weight`)!, x, y, options, batch })
    return y
  }
  const weights = answering(base, {
    linear: (name, x) => record(name, x, base.linear(name, x)),
    conv: (name, x, options) => record(name, x, base.conv(name, x, options), options),
  })
  model.architecture.forward(weights, inputsOf(model, batch), model.config)
  return passages
}

/** x: [batch, time, ...] with zeros where the batch is padding; any other shape as it is. */
export const unpadded = (x: Tensor, { attentionMask: mask }: Batch<Tensor>): Tensor => {
  if (!mask || x.rank !== 3 || x.shape[0] !== mask.shape[0] || x.shape[1] !== mask.shape[1]) return x
  return x.mul(mask.cast('float32').unsqueeze(2))
}

/** Rows of a position each, channels last: [batch, channels, height, width] -> [rows, channels]; [..., width] -> [rows, width]. */
export const positionRows = (x: Tensor, isConv: boolean): Tensor => {
  const last = isConv ? x.transpose([0, 2, 3, 1]) : x
  return last.reshape([-1, last.shape[last.rank - 1]])
}

const pair = (x: ConvOptions['stride'], otherwise: number): readonly [number, number] =>
  typeof x === 'object' ? x : [x ?? otherwise, x ?? otherwise]

/** Patches that the positions of a convolution read. x: [batch, in, height, width] -> [positions, in * kh * kw]. */
export const patchesOf = (
  x: Tensor,
  [kh, kw]: readonly number[],
  y: Tensor,
  options: ConvOptions,
): Tensor => {
  const stride = pair(options.stride, 1)
  const padding = pair(options.padding, 0)
  const dilation = pair(options.dilation, 1)
  const around = [0, 0, ...padding]
  const padded = x.pad(around, around)
  const [height, width] = y.shape.slice(2)
  const along = (of: Tensor, axis: number, k: number, count: number): Tensor => {
    const from = k * dilation[axis - 2]
    const step = stride[axis - 2]
    return of.slice(axis, from, from + (count - 1) * step + 1, step)
  }
  const shifted = Array.from({ length: kh * kw }, (_, k) =>
    along(along(padded, 2, Math.floor(k / kw), height), 3, k % kw, width).unsqueeze(2),
  )
  return concat(shifted, 2)
    .reshape([x.shape[0], x.shape[1] * kh * kw, height * width])
    .transpose([0, 2, 1])
    .reshape([-1, x.shape[1] * kh * kw])
}
