/** @file What passes through the linear modules and convolutions of a model, as rows, and sums of it over batches. */
import { answering, type Model, type WeightSpec } from '../models/index.js'
import { concat, type ConvOptions, type Tensor, toNumbers, type Value } from '../tensor/index.js'
import { byShape } from '../train/by-shape.js'
import { type Batch, inputsOf } from '../train/loss.js'

/** Batches, from the beginning each time. */
export type Batches = () => AsyncIterable<Batch>

/** A linear module or convolution as it was run. */
export interface Site {
  readonly spec: WeightSpec
  readonly x: Tensor
  readonly y: Tensor
  /** Of a convolution. */
  readonly options?: ConvOptions
}

/** Every linear module and convolution of a forward pass, in its order. */
export const sitesOf = (model: Model, batch: Batch<Tensor>): Site[] => {
  const sites: Site[] = []
  const specs = new Map(model.architecture.table(model.config).map((spec) => [spec.name, spec]))
  const base = model.weights({}, { inputs: batch })
  const record = (name: string, x: Tensor, y: Tensor, options?: ConvOptions): Tensor => {
    sites.push({ spec: specs.get(`${name}.weight`)!, x, y, options })
    return y
  }
  const weights = answering(base, {
    linear: (name, x) => record(name, x, base.linear(name, x)),
    conv: (name, x, options) => record(name, x, base.conv(name, x, options), options),
  })
  model.architecture.forward(weights, inputsOf(model, batch), model.config)
  return sites
}

/** x: [batch, time, ...] with zeros where the batch is padding. */
export const unpadded = (x: Tensor, { attentionMask: mask }: Batch<Tensor>): Tensor => {
  if (!mask || x.rank !== 3 || x.shape[0] !== mask.shape[0] || x.shape[1] !== mask.shape[1]) return x
  return x.mul(mask.cast('float32').unsqueeze(2))
}

/** Channels last, one row a position: [batch, channels, height, width] -> [rows, channels]; [..., width] -> [rows, width]. */
export const rowsOf = (x: Tensor, isConv: boolean): Tensor => {
  const last = isConv ? x.transpose([0, 2, 3, 1]) : x
  return last.reshape([-1, last.shape[last.rank - 1]])
}

const pair = (x: ConvOptions['stride'], otherwise: number): readonly [number, number] =>
  typeof x === 'object' ? x : [x ?? otherwise, x ?? otherwise]

/** What each position of a convolution reads. x: [batch, in, height, width] -> [positions, in * kh * kw]. */
export const patchesOf = (
  x: Tensor,
  [kh, kw]: readonly number[],
  y: Tensor,
  options: ConvOptions,
): Tensor => {
  const [stride, padding, dilation] = [
    pair(options.stride, 1),
    pair(options.padding, 0),
    pair(options.dilation, 1),
  ]
  const around = [0, 0, ...padding]
  const padded = x.pad(around, around)
  const [height, width] = y.shape.slice(2)
  const along = (of: Tensor, axis: number, k: number, count: number): Tensor => {
    const [from, step] = [k * dilation[axis - 2], stride[axis - 2]]
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

/** Pieces of work whose results together stay within `limit` numbers. */
export const inPasses = <T>(
  items: readonly T[],
  sizeOf: (item: T) => number,
  limit: number = 2 ** 26,
): T[][] => {
  const passes: T[][] = []
  let size = Infinity
  for (const item of items) {
    size += sizeOf(item)
    if (size > limit) {
      passes.push([])
      size = sizeOf(item)
    }
    passes.at(-1)!.push(item)
  }
  return passes
}

/** Sums over batches, in float64, of what a program gives for each. */
export const summed = async <O extends Readonly<Record<string, Tensor>>>(
  batches: Batches,
  f: (batch: Batch<Tensor>) => O,
  signal?: AbortSignal,
): Promise<Record<keyof O, Float64Array>> => {
  const program = byShape(({ batch }: { batch: Batch<Tensor> }) => f(batch))
  const sums: Record<string, Float64Array> = {}
  for await (const batch of batches()) {
    signal?.throwIfAborted()
    const found = (await program({ batch })) as unknown as Record<string, Value>
    for (const [name, v] of Object.entries(found)) {
      const numbers = toNumbers(v)
      const sum = (sums[name] ??= new Float64Array(numbers.length))
      for (let i = 0; i < numbers.length; i++) sum[i] += numbers[i]
    }
  }
  return sums as Record<keyof O, Float64Array>
}
