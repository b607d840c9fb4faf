/** @file The sums over data that a merged layer's least squares needs. */
import { type Matrix, matrix } from '../linalg/index.js'
import type { Model, WeightSpec } from '../models/index.js'
import { concat, ones, type Tensor, tensor } from '../tensor/index.js'
import type { Batch } from '../train/loss.js'
import { outputAxis } from './permutation/index.js'
import {
  type Batches,
  inPasses,
  patchesOf,
  rowsOf,
  type Site,
  sitesOf,
  summed,
  unpadded,
} from './pleas-sites.js'
import { owners, type WideAxis } from './pleas-split.js'

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

/** Sums over all rows x of what enters a layer (a 1 behind where it has a bias) and y of what it should put out. */
export interface LayerSums {
  readonly spec: WeightSpec
  readonly bias: boolean
  /** Σ x xᵀ, [k, k]. */
  readonly xx: Matrix
  /** Σ x yᵀ, [k, out]. */
  readonly xy: Matrix
  /** Σ y², [out]. */
  readonly yy: Float64Array
  /** How many rows. */
  readonly rows: number
}

/** The sums of every linear module and convolution in `layers` (by the names of their weights), for `fit`. */
export async function* layerSums(
  [a, b]: readonly [Model, Model],
  layers: readonly WeightSpec[],
  wide: ReadonlyMap<string, readonly WideAxis[]>,
  batches: Batches,
  { rows = 'averaged', signal }: { readonly rows?: Rows; readonly signal?: AbortSignal } = {},
): AsyncGenerator<LayerSums> {
  const sizesOf = (spec: WeightSpec): { k: number; out: number; bias: boolean } => {
    const [o, i] = [outputAxis(spec), 1 - outputAxis(spec)]
    const axes = wide.get(spec.name)!
    const bias = wide.has(spec.name.replace(/weight$/, 'bias'))
    const kernel = spec.shape.slice(2).reduce((n, d) => n * d, 1)
    return { k: axes[i].from.length * kernel + Number(bias), out: axes[o].from.length, bias }
  }
  for (const pass of inPasses(layers, (spec) => sizesOf(spec).k * (sizesOf(spec).k + sizesOf(spec).out))) {
    const sums = await summed(
      batches,
      (batch) => {
        const [first, second] = [sitesOf(a, batch), sitesOf(b, batch)]
        const results: Record<string, Tensor> = {}
        for (const spec of pass) {
          const { bias } = sizesOf(spec)
          const pieces = first.flatMap((site, i) =>
            site.spec.name === spec.name ? [piecesOf(site, second[i], wide, { bias, rows, batch })] : [],
          )
          for (const part of ['xx', 'xy', 'yy', 'rows'] as const)
            results[`${spec.name} ${part}`] = pieces.map((p) => p[part]).reduce((s, x) => s.add(x))
        }
        return results
      },
      signal,
    )
    for (const spec of pass) {
      const { k, out, bias } = sizesOf(spec)
      const of = (part: string): Float64Array => sums[`${spec.name} ${part}`]
      const xx = matrix(k, k, of('xx'))
      yield { spec, bias, xx, xy: matrix(k, out, of('xy')), yy: of('yy'), rows: of('rows')[0] }
    }
  }
}

/** The sums of one layer on one batch, as graphs. */
const piecesOf = (
  first: Site,
  second: Site,
  wide: ReadonlyMap<string, readonly WideAxis[]>,
  { bias, rows, batch }: { readonly bias: boolean; readonly rows: Rows; readonly batch: Batch<Tensor> },
): Record<'xx' | 'xy' | 'yy' | 'rows', Tensor> => {
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
  const one = ones([...first.y.shape.slice(0, -1), 1])
  const counted = options
    ? ones([x.shape[0], 1])
    : rowsOf(
        rows === 'stacked'
          ? concat(
              [one, one].map((t) => unpadded(t, batch)),
              0,
            )
          : unpadded(one, batch),
        false,
      )
  const full = bias ? concat([x, counted], 1) : x
  return {
    xx: full.t().matmul(full),
    xy: full.t().matmul(y),
    yy: y.square().sum(0),
    rows: counted.sum().reshape([1]),
  }
}
