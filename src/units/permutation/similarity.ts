/** @file How alike the units of two models are by their weights. */
import {
  type Dense,
  engineMatmul,
  hostMatmul,
  linearAssignment,
  type Matrix,
  matrix,
  multiply,
  symmetricEigen,
} from '../../linalg/index.js'
import { sizeOf, type Value } from '../../tensor/index.js'
import type { GroupAxis, Inside, PermutationGroup } from './groups.js'
import type { Tensors } from './tensors.js'
import { normOf } from '../../tensor/numbers.js'

/** [units, run * rest]: what of the tensor belongs to each unit, a row a unit. */
export const unfold = (v: Value, { axis, places, run }: GroupAxis): Dense => {
  const [outer, inner] = [sizeOf(v.shape.slice(0, axis)), sizeOf(v.shape.slice(axis + 1))]
  const [size, rows] = [v.shape[axis], places.length / run]
  const from = v.data as Float32Array
  const data = new Float32Array(places.length * outer * inner)
  for (let p = 0, at = 0; p < places.length; p++)
    for (let o = 0; o < outer; o++, at += inner) {
      const start = (o * size + places[p]) * inner
      if (inner === 1) data[at] = from[start]
      else data.set(from.subarray(start, start + inner), at)
    }
  return { rows, cols: run * outer * inner, data }
}

/** Products from this many multiplications on are the engine's. */
const large = 2 ** 24

const onEngine = engineMatmul()

/** Inner products of the rows of a and b, [a.rows, b.rows]; and whether they are as exact as float64 sums. */
const products = async (a: Dense, b: Dense): Promise<{ data: Dense['data']; exact: boolean }> => {
  const exact = a.rows * a.cols * b.rows < large
  const { data } = await (exact ? hostMatmul : onEngine)(a, b, { transposeB: true })
  return { data, exact }
}

/** A similarity of all pairs of units, and the size of its rounding errors relative to its totals. */
export interface Similarity {
  readonly matrix: Matrix
  readonly rounding: number
}

/**
 * The sum over the axes of A's units times B's (Ainsworth et al. 2022, arXiv 2209.04836, algorithm 1). [units, units],
 * row i for unit i of A.
 */
export const weightSimilarity = async (
  axes: readonly GroupAxis[],
  [a, b]: readonly [Tensors, Tensors],
): Promise<Similarity> => {
  const units = axes[0].places.length / axes[0].run
  const sum = matrix(units, units)
  let rounding = 1e-12
  for (const axis of axes) {
    const { data, exact } = await products(unfold(a[axis.tensor], axis), unfold(b[axis.tensor], axis))
    for (let i = 0; i < data.length; i++) sum.data[i] += data[i]
    if (!exact) rounding = 1e-6
  }
  return { matrix: sum, rounding }
}

/**
 * Similarity of heads, [heads, heads], from that of the dimensions inside them, [heads * size] squared: the total of the
 * best assignment of one head's dimensions to the other's.
 */
export const bestInside = (
  { data, cols }: { readonly data: ArrayLike<number>; readonly cols: number },
  size: number,
): Matrix => {
  const heads = cols / size
  const out = matrix(heads, heads)
  for (let i = 0; i < heads; i++)
    for (let j = 0; j < heads; j++) {
      const block = matrix(size, size)
      for (let d = 0; d < size; d++)
        for (let e = 0; e < size; e++) block.data[d * size + e] = data[(i * size + d) * cols + j * size + e]
      out.data[i * heads + j] = linearAssignment(block, { maximize: true }).total
    }
  return out
}

/** Adds `b` to `a` in place. */
export const addTo = (a: Matrix, b: Matrix, factor = 1): void => {
  for (let i = 0; i < a.data.length; i++) a.data[i] += factor * b.data[i]
}

const tensorsOf = ({ axes }: Inside): Set<string> => new Set(axes.map(({ tensor }) => tensor))

/**
 * The similarity of heads when the dimensions inside will be put in the best order: tensors outside every inside count
 * as they are.
 */
export const headSimilarity = async (
  group: PermutationGroup,
  models: readonly [Tensors, Tensors],
): Promise<Similarity> => {
  const covered = new Set(group.insides.flatMap((inside) => [...tensorsOf(inside)]))
  const rest = group.axes.filter(({ tensor }) => !covered.has(tensor))
  const sum = matrix(group.units, group.units)
  let rounding = 1e-12
  if (rest.length) {
    const plain = await weightSimilarity(rest, models)
    addTo(sum, plain.matrix)
    rounding = plain.rounding
  }
  for (const { axes, size } of group.insides) {
    const inside = await weightSimilarity(axes, models)
    addTo(sum, bestInside(inside.matrix, size))
    rounding = Math.max(rounding, inside.rounding)
  }
  return { matrix: sum, rounding }
}

/** The singular values of the block of each unit, [units][run]. */
const spectra = (v: Value, axis: GroupAxis): Float64Array[] => {
  const { rows, cols, data } = unfold(v, axis)
  return Array.from({ length: rows }, (_, u) => {
    const block = { rows: axis.run, cols: cols / axis.run, data: data.slice(u * cols, (u + 1) * cols) }
    const { values } = symmetricEigen(multiply(block, block, { transposeB: true }))
    return values.map((x) => Math.sqrt(Math.max(0, x)))
  })
}

/**
 * Minus the distance of the singular values of two heads' blocks, summed over their matrices (TransFusion): whatever the
 * order of the dimensions inside, it is the same. [heads, heads].
 */
export const spectralSimilarity = (
  group: PermutationGroup,
  [a, b]: readonly [Tensors, Tensors],
): Similarity => {
  const sum = matrix(group.units, group.units)
  for (const axis of group.axes.filter(({ tensor }) => a[tensor].shape.length > 1)) {
    const [first, second] = [spectra(a[axis.tensor], axis), spectra(b[axis.tensor], axis)]
    first.forEach((x, i) =>
      second.forEach((y, j) => {
        sum.data[i * group.units + j] -= normOf(x.map((s, k) => s - y[k]))
      }),
    )
  }
  return { matrix: sum, rounding: 1e-9 }
}
