/** @file The sums over data that a merged layer's least squares needs. */
import { type Matrix, matrix } from '../../linalg/index.js'
import { type Model, outputAxis, type WeightSpec } from '../../models/index.js'
import { bound, concat, ones, sizeOf, type Tensor, tensor, type Value } from '../../tensor/index.js'
import {
  type Batches,
  observe,
  type Passage,
  patchesOf,
  positionRows,
  unpadded,
} from '../../observe/index.js'
import { owners, type WideAxis } from './split.js'

/** How the two models' rows make the rows of the merged layer: averaged at merged elements, or one model's after the other's. */
export type Rows = 'averaged' | 'stacked'

/** The merged layer's rows of a feature that both models have, along `axis`. */
const mergedRows = (a: Tensor, b: Tensor, { from, owner }: WideAxis, axis: number, rows: Rows): Tensor => {
  const shape = a.shape.map((_, i) => (i === axis ? from.length : 1))
  const both = rows === 'averaged' ? 0.5 : 1
  const part = (x: Tensor, other: number): Tensor => {
    const shares = Float32Array.from(owner, (o) => (o === other ? 0 : o === owners.both ? both : 1))
    // Where nothing is taken, the models may differ in size.
    const places = Int32Array.from(from, (place, i) => (shares[i] === 0 ? 0 : place))
    return x.gather(tensor(places, [from.length], 'int32'), axis).mul(tensor(shares, shape))
  }
  const first = part(a, owners.second)
  const second = part(b, owners.first)
  return rows === 'averaged' ? first.add(second) : concat([first, second], 0)
}

/** A layer's weights before it is solved. */
export interface LayerStart {
  readonly weight: Value
  readonly bias?: Value
}

/**
 * Sums over all rows x of what enters a layer (a 1 behind where it has a bias), y of what it should put out, and
 * e = y - x W of what its weights W leave of that. The error is summed rather than y, so that weights which are right
 * already lose nothing to rounding.
 */
export interface LayerSums {
  readonly spec: WeightSpec
  readonly start: LayerStart
  /** Σ x xᵀ, [k, k]. */
  readonly xx: Matrix
  /** Σ x eᵀ, [k, out]. */
  readonly xe: Matrix
  /** Σ e², over all outputs. */
  readonly ee: number
  /** Σ y², over all outputs. */
  readonly yy: number
  /** How many rows. */
  readonly rows: number
}

/** What the sums of all layers are made of. */
interface Merging {
  readonly wide: ReadonlyMap<string, readonly WideAxis[]>
  readonly startOf: (spec: WeightSpec) => LayerStart
  readonly rows: Rows
}

/** The sums of every linear module and convolution in `layers`. startOf: their weights before. */
export async function* layerSums(
  models: readonly [Model, Model],
  layers: readonly WeightSpec[],
  merging: Merging,
  batches: Batches,
  signal?: AbortSignal,
): AsyncGenerator<LayerSums> {
  const specs = new Map(layers.map((spec) => [spec.name, spec]))
  const wanted = {
    '.*': (first: Passage, second: Passage) =>
      specs.has(first.spec.name) ? momentsOf(first, second, merging) : {},
  }
  for await (const { module, sums } of observe(models, batches, wanted, { signal })) {
    const spec = specs.get(`${module}.weight`)!
    const start = merging.startOf(spec)
    const out = start.weight.shape[outputAxis(spec)]
    const k = sizeOf(start.weight.shape) / out + Number(start.bias !== undefined)
    yield {
      spec,
      start,
      xx: matrix(k, k, sums.xx),
      xe: matrix(k, out, sums.xe),
      ee: sums.ee[0],
      yy: sums.yy[0],
      rows: sums.rows[0],
    }
  }
}

const boundTo = (v: Value): Tensor => bound({ kind: 'memory', dtype: v.dtype, shape: v.shape, value: v })

/** A column of ones, one for each row that is not padding. */
const countedRows = ({ y, options, batch }: Passage, rows: Rows): Tensor => {
  const one = ones(options ? [y.size / y.shape[1], 1] : [...y.shape.slice(0, -1), 1])
  const real = unpadded(one, batch)
  return positionRows(rows === 'stacked' ? concat([real, real], 0) : real, false)
}

/** The sums of one layer on one batch, as graphs. */
const momentsOf = (
  first: Passage,
  second: Passage,
  { wide, startOf, rows }: Merging,
): Record<'xx' | 'xe' | 'ee' | 'yy' | 'rows', Tensor> => {
  const { spec, options, batch } = first
  const out = outputAxis(spec)
  const made = wide.get(spec.name)![out]
  const read = wide.get(spec.name)![1 - out]
  const last = (t: Tensor): number => (options ? 1 : t.rank - 1)
  const mix = (a: Tensor, b: Tensor, axis: WideAxis): Tensor =>
    mergedRows(unpadded(a, batch), unpadded(b, batch), axis, last(a), rows)
  const targets = mix(first.y, second.y, made)
  const features = mix(first.x, second.x, read)
  const y = positionRows(targets, options !== undefined)
  const x = options
    ? patchesOf(features, spec.shape.slice(2), targets, options)
    : positionRows(features, false)
  const counted = countedRows(first, rows)
  const { weight, bias } = startOf(spec)
  const w = boundTo(weight)
  const linear = x.matmul(out === 0 ? w.reshape([made.from.length, -1]).t() : w)
  const e = y.sub(bias ? linear.add(counted.mul(boundTo(bias))) : linear)
  const full = bias ? concat([x, counted], 1) : x
  return {
    xx: full.t().matmul(full),
    xe: full.t().matmul(e),
    ee: e.square().sum().reshape([1]),
    yy: y.square().sum().reshape([1]),
    rows: counted.sum().reshape([1]),
  }
}
