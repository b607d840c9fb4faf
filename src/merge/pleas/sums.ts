/** @file The sums over data that a merged layer's least squares needs. */
import { type Matrix, matrix } from '../../linalg/index.js'
import type { Model, WeightSpec } from '../../models/index.js'
import { bound, concat, ones, sizeOf, type Tensor, tensor, type Value } from '../../tensor/index.js'
import type { Batch } from '../../train/loss.js'
import { outputAxis } from '../../units/permutation/index.js'
import {
  type Batches,
  inPasses,
  patchesOf,
  rowsOf,
  type Site,
  sitesOf,
  summed,
  unpadded,
} from '../../observe/passing.js'
import { owners, type WideAxis } from './split.js'

/** How the two models' rows make the rows of the merged layer: averaged at merged elements, or one model's after the other's. */
export type Rows = 'averaged' | 'stacked'

/** The merged layer's rows of a feature that both models have, along `axis`. */
const mixed = (a: Tensor, b: Tensor, { from, owner }: WideAxis, axis: number, rows: Rows): Tensor => {
  const shape = a.shape.map((_, i) => (i === axis ? from.length : 1))
  const both = rows === 'averaged' ? 0.5 : 1
  const part = (x: Tensor, other: number): Tensor => {
    const shares = Float32Array.from(owner, (o) => (o === other ? 0 : o === owners.both ? both : 1))
    // Where nothing is taken, the models may differ in size.
    const places = Int32Array.from(from, (place, i) => (shares[i] === 0 ? 0 : place))
    return x.gather(tensor(places, [from.length], 'int32'), axis).mul(tensor(shares, shape))
  }
  const [first, second] = [part(a, owners.second), part(b, owners.first)]
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
  [a, b]: readonly [Model, Model],
  layers: readonly WeightSpec[],
  merging: Merging,
  batches: Batches,
  signal?: AbortSignal,
): AsyncGenerator<LayerSums> {
  const sizesOf = (spec: WeightSpec): { k: number; out: number } => {
    const { weight, bias } = merging.startOf(spec)
    const out = weight.shape[outputAxis(spec)]
    return { k: sizeOf(weight.shape) / out + Number(bias !== undefined), out }
  }
  for (const pass of inPasses(layers, (spec) => sizesOf(spec).k * (sizesOf(spec).k + sizesOf(spec).out))) {
    const sums = await summed(
      batches,
      (batch) => {
        const [first, second] = [sitesOf(a, batch), sitesOf(b, batch)]
        const results: Record<string, Tensor> = {}
        for (const { name } of pass) {
          const pieces = first.flatMap((site, i) =>
            site.spec.name === name ? [piecesOf(site, second[i], merging, batch)] : [],
          )
          for (const part of ['xx', 'xe', 'ee', 'yy', 'rows'] as const)
            results[`${name} ${part}`] = pieces.map((p) => p[part]).reduce((s, x) => s.add(x))
        }
        return results
      },
      signal,
    )
    for (const spec of pass) {
      const { k, out } = sizesOf(spec)
      const of = (part: string): Float64Array => sums[`${spec.name} ${part}`]
      const [xx, xe] = [matrix(k, k, of('xx')), matrix(k, out, of('xe'))]
      yield {
        ...{ spec, start: merging.startOf(spec), xx, xe },
        ...{ ee: of('ee')[0], yy: of('yy')[0], rows: of('rows')[0] },
      }
    }
  }
}

const boundTo = (v: Value): Tensor => bound({ kind: 'memory', dtype: v.dtype, shape: v.shape, value: v })

/** A column of ones, one for each row that is not padding. */
const countedRows = ({ y, options }: Site, rows: Rows, batch: Batch<Tensor>): Tensor => {
  const one = ones(options ? [y.size / y.shape[1], 1] : [...y.shape.slice(0, -1), 1])
  const real = unpadded(one, batch)
  return rowsOf(rows === 'stacked' ? concat([real, real], 0) : real, false)
}

/** The sums of one layer on one batch, as graphs. */
const piecesOf = (
  first: Site,
  second: Site,
  { wide, startOf, rows }: Merging,
  batch: Batch<Tensor>,
): Record<'xx' | 'xe' | 'ee' | 'yy' | 'rows', Tensor> => {
  const { spec, options } = first
  const out = outputAxis(spec)
  const [made, read] = [wide.get(spec.name)![out], wide.get(spec.name)![1 - out]]
  const last = (t: Tensor): number => (options ? 1 : t.rank - 1)
  const mix = (a: Tensor, b: Tensor, axis: WideAxis): Tensor =>
    mixed(unpadded(a, batch), unpadded(b, batch), axis, last(a), rows)
  const targets = mix(first.y, second.y, made)
  const features = mix(first.x, second.x, read)
  const y = rowsOf(targets, options !== undefined)
  const x = options ? patchesOf(features, spec.shape.slice(2), targets, options) : rowsOf(features, false)
  const counted = countedRows(first, rows, batch)
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
