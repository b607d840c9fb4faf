/** @file Matching the units of two models by what they do on the same inputs. */
import { linearAssignment, type Matrix, matrix } from '../../linalg/index.js'
import type { Model } from '../../models/index.js'
import type { Tensor } from '../../tensor/index.js'
import {
  bestInside,
  type GroupAxis,
  outputAxis,
  type PermutationGroup,
} from '../../units/permutation/index.js'
import {
  type Batches,
  inPasses,
  rowsOf,
  type Site,
  sitesOf,
  summed,
  unpadded,
} from '../../observe/passing.js'

/** A place in the graph where the units of a group appear, in both models. */
interface Appearance {
  readonly a: Tensor
  readonly b: Tensor
  readonly isConv: boolean
  readonly axis: GroupAxis
}

/** Where a group appears: outputs of the modules that make it, inputs of those that read it; each tensor once. */
const appearancesOf = (group: PermutationGroup, sites: readonly (readonly [Site, Site])[]): Appearance[] => {
  const axes = new Map(group.axes.map((axis) => [`${axis.tensor} ${axis.axis}`, axis]))
  const found = new Map<Tensor, Appearance>()
  for (const [first, second] of sites) {
    const out = outputAxis(first.spec)
    const isConv = first.options !== undefined
    const [made, read] = [out, 1 - out].map((axis) => axes.get(`${first.spec.name} ${axis}`))
    if (read) found.set(first.x, { a: first.x, b: second.x, isConv, axis: read })
    if (made) found.set(first.y, { a: first.y, b: second.y, isConv, axis: made })
  }
  return [...found.values()]
}

/** Of one appearance over all rows: squared lengths of A's and B's elements, [elements] each, and products, [elements, elements]. */
interface Products {
  readonly aa: Float64Array
  readonly bb: Float64Array
  readonly ab: Float64Array
  readonly axis: GroupAxis
}

/** Products of the elements that lie in the units of `axis`, summed over each run: [count, count], count = places / run. */
const runProducts = ({ ab, aa }: Products, { places, run }: GroupAxis): Matrix => {
  const [count, width] = [places.length / run, aa.length]
  const out = matrix(count, count)
  for (let i = 0; i < count; i++)
    for (let j = 0; j < count; j++)
      for (let r = 0; r < run; r++)
        out.data[i * count + j] += ab[places[i * run + r] * width + places[j * run + r]]
  return out
}

/** The squared length of each unit. */
const lengths = (squares: Float64Array, { places, run }: GroupAxis): Float64Array => {
  const out = new Float64Array(places.length / run)
  places.forEach((place, p) => (out[Math.floor(p / run)] += squares[place]))
  return out
}

/** Adds minus the distance of units: sqrt(|a|² + |b|² - 2 a·b). */
const addDistances = (sum: Matrix, aa: Float64Array, bb: Float64Array, ab: Matrix): void => {
  for (let i = 0; i < aa.length; i++)
    for (let j = 0; j < bb.length; j++)
      sum.data[i * bb.length + j] -= Math.sqrt(Math.max(0, aa[i] + bb[j] - 2 * ab.data[i * bb.length + j]))
}

/** How the units of one group of the second model are put into the first's order, and how well they then agree. */
export interface GroupMatch {
  readonly order: Int32Array
  /** [units]: minus the distance of what is matched. */
  readonly agreement: Float64Array
  /** For each inside of a head: the order of the dimensions of each unit, once the units are in order. */
  readonly insides: readonly (readonly Int32Array[])[]
}

const assigned = (similarity: Matrix): Pick<GroupMatch, 'order' | 'agreement'> => {
  const { columns } = linearAssignment(similarity, { maximize: true })
  const agreement = Float64Array.from(columns, (j, i) => similarity.data[i * similarity.cols + j])
  return { order: columns, agreement }
}

const matchPlain = (group: PermutationGroup, found: readonly Products[]): GroupMatch => {
  const sum = matrix(group.units, group.units)
  for (const one of found)
    addDistances(sum, lengths(one.aa, one.axis), lengths(one.bb, one.axis), runProducts(one, one.axis))
  return { ...assigned(sum), insides: [] }
}

/** Heads are compared with the dimensions inside in the best order; these are then put into it. */
const matchHeads = (group: PermutationGroup, found: readonly Products[]): GroupMatch => {
  const sum = matrix(group.units, group.units)
  const [aa, bb] = [new Float64Array(group.units), new Float64Array(group.units)]
  const products = matrix(group.units, group.units)
  const add = (to: Float64Array, from: Float64Array): void => from.forEach((x, i) => (to[i] += x))
  const loose = new Set(found)
  const inner = group.insides.map(({ axes, size }) => {
    const all = matrix(group.units * size, group.units * size)
    for (const one of found) {
      const axis = axes.find((a) => a.tensor === one.axis.tensor && a.axis === one.axis.axis)
      if (!axis) continue
      loose.delete(one)
      add(all.data, runProducts(one, axis).data)
    }
    add(products.data, bestInside(all, size).data)
    return { all, size }
  })
  for (const one of loose) add(products.data, runProducts(one, one.axis).data)
  for (const one of found) {
    add(aa, lengths(one.aa, one.axis))
    add(bb, lengths(one.bb, one.axis))
  }
  addDistances(sum, aa, bb, products)
  const match = assigned(sum)
  const insides = inner.map(({ all, size }) =>
    Array.from(match.order, (j, i) => {
      const block = matrix(size, size)
      for (let d = 0; d < size; d++)
        for (let e = 0; e < size; e++)
          block.data[d * size + e] = all.data[(i * size + d) * all.cols + j * size + e]
      return linearAssignment(block, { maximize: true }).columns
    }),
  )
  return { ...match, insides }
}

/**
 * The order of B's units, group by group, in which its activations are nearest to A's on the same inputs: the similarity
 * of two units is minus the distance of their activations over all batches and positions, summed over where the group
 * appears; the best assignment is taken. Groups that appear nowhere are left out.
 */
export const matchActivations = async (
  groups: readonly PermutationGroup[],
  [a, b]: readonly [Model, Model],
  batches: Batches,
  signal?: AbortSignal,
): Promise<ReadonlyMap<string, GroupMatch>> => {
  const matches = new Map<string, GroupMatch>()
  const sizeOf = ({ axes }: PermutationGroup): number =>
    axes.reduce((n, { places }) => n + places.length ** 2, 0)
  for (const pass of inPasses(groups, sizeOf)) {
    const axes = new Map<string, GroupAxis[]>()
    const sums = await summed(
      batches,
      (batch) => {
        const [first, second] = [sitesOf(a, batch), sitesOf(b, batch)]
        const sites = first.map((site, i) => [site, second[i]] as const)
        const results: Record<string, Tensor> = {}
        for (const group of pass) {
          const found = appearancesOf(group, sites)
          axes.set(
            group.name,
            found.map(({ axis }) => axis),
          )
          for (const [i, one] of found.entries()) {
            const [x, y] = [one.a, one.b].map((t) => rowsOf(unpadded(t, batch), one.isConv))
            results[`${group.name} ${i} aa`] = x.square().sum(0)
            results[`${group.name} ${i} bb`] = y.square().sum(0)
            results[`${group.name} ${i} ab`] = x.t().matmul(y)
          }
        }
        return results
      },
      signal,
    )
    for (const group of pass) {
      const found = (axes.get(group.name) ?? []).map((axis, i): Products => {
        const of = (part: string): Float64Array => sums[`${group.name} ${i} ${part}`]
        return { aa: of('aa'), bb: of('bb'), ab: of('ab'), axis }
      })
      if (found.length)
        matches.set(group.name, group.insides.length ? matchHeads(group, found) : matchPlain(group, found))
    }
  }
  return matches
}
