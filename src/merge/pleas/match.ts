/**
 * @file Matching the units of two models by what they do on the same inputs (step 1 of the method): the similarity of two
 * units is minus the distance of their activations, over batches and positions, summed over batches and over all nodes of
 * the graph where their group appears.
 */
import { linearAssignment, type Matrix, matrix } from '../../linalg/index.js'
import { type Model, outputAxis } from '../../models/index.js'
import {
  accumulated,
  type Batches,
  inPasses,
  type Passage,
  passagesOf,
  positionRows,
  unpadded,
} from '../../observe/index.js'
import { type Tensor, tensor } from '../../tensor/index.js'
import type { Batch } from '../../train/index.js'
import { type GroupAxis, type Inside, type PermutationGroup } from '../../units/permutation/index.js'

/** A node of the graph where the units of a group appear, in both models. */
interface Appearance {
  readonly a: Tensor
  readonly b: Tensor
  readonly isConv: boolean
  readonly axis: GroupAxis
}

/** Where a group appears: outputs of the modules that make it, inputs of those that read it; each tensor once. */
const appearancesOf = (
  group: PermutationGroup,
  passages: readonly (readonly [Passage, Passage])[],
): Appearance[] => {
  const axes = new Map(group.axes.map((axis) => [`${axis.tensor} ${axis.axis}`, axis]))
  const appearances = new Map<Tensor, Appearance>()
  for (const [first, second] of passages) {
    const out = outputAxis(first.spec)
    const isConv = first.options !== undefined
    const read = axes.get(`${first.spec.name} ${1 - out}`)
    const made = axes.get(`${first.spec.name} ${out}`)
    if (read) appearances.set(first.x, { a: first.x, b: second.x, isConv, axis: read })
    if (made) appearances.set(first.y, { a: first.y, b: second.y, isConv, axis: made })
  }
  return [...appearances.values()]
}

/** Activations at a node with one row for each unit of `axis`, the padding zero: [units, run * rows]. */
const unitsOf = (x: Tensor, isConv: boolean, axis: GroupAxis, batch: Batch<Tensor>): Tensor => {
  const { places, run } = axis
  const elements = positionRows(unpadded(x, batch), isConv).gather(
    tensor(Int32Array.from(places), [places.length], 'int32'),
    1,
  )
  return elements.t().reshape([places.length / run, -1])
}

const squares = (units: Tensor): Tensor => units.square().sum(1, { keep: true })

/** Distances from squared lengths, [units, 1] each, and inner products, [units, units]: sqrt(|a|² + |b|² - 2 a·b). */
const distances = (aa: Tensor, bb: Tensor, ab: Tensor): Tensor =>
  aa.add(bb.t()).sub(ab.mul(2)).maximum(0).sqrt()

/** The axis of `inside` that a node shows; undefined for a node where its dimensions have no order of their own. */
const axisInside = ({ axes }: Inside, { axis }: Appearance): GroupAxis | undefined =>
  axes.find((one) => one.tensor === axis.tensor && one.axis === axis.axis)

/** Inner products of the dimensions of A's heads and B's at a node: [heads * size] squared. */
const productsAt = (node: Appearance, axis: GroupAxis, batch: Batch<Tensor>): Tensor =>
  unitsOf(node.a, node.isConv, axis, batch).matmul(unitsOf(node.b, node.isConv, axis, batch).t())

/** Which dimension of B's head j goes with which of A's head i: 1 at [(i, d), (j, order of i and j at d)], else 0. */
const bestOrders = (products: Matrix, size: number): Float32Array => {
  const heads = products.rows / size
  const mask = new Float32Array(products.rows * products.cols)
  for (let i = 0; i < heads; i++)
    for (let j = 0; j < heads; j++)
      orderInside(products, size, i, j).forEach(
        (e, d) => (mask[(i * size + d) * products.cols + j * size + e] = 1),
      )
  return mask
}

/** The order of the dimensions of B's head j in which they agree best with those of A's head i. */
const orderInside = ({ data, cols }: Matrix, size: number, i: number, j: number): Int32Array => {
  const block = matrix(size, size)
  for (let d = 0; d < size; d++)
    for (let e = 0; e < size; e++) block.data[d * size + e] = data[(i * size + d) * cols + j * size + e]
  return linearAssignment(block, { maximize: true }).columns
}

/** Distances of all pairs of units at a node. masks: of each inside, `bestOrders` as [heads * size] squared. */
const distancesAt = (
  group: PermutationGroup,
  node: Appearance,
  masks: readonly Tensor[],
  batch: Batch<Tensor>,
): Tensor => {
  const a = unitsOf(node.a, node.isConv, node.axis, batch)
  const b = unitsOf(node.b, node.isConv, node.axis, batch)
  const inside = group.insides.findIndex((one) => axisInside(one, node))
  if (inside < 0) return distances(squares(a), squares(b), a.matmul(b.t()))
  const { size } = group.insides[inside]
  const products = productsAt(node, axisInside(group.insides[inside], node)!, batch).mul(masks[inside])
  const ofHeads = products.reshape([group.units, size, group.units, size]).sum([1, 3])
  return distances(squares(a), squares(b), ofHeads)
}

/** How the units of one group of the second model are put into the first's order, and how well they then agree. */
export interface GroupMatch {
  readonly order: Int32Array
  /** [units]: the similarity of what is matched. */
  readonly agreement: Float64Array
  /** For each inside of a head: the order of the dimensions of each unit, once the units are in order. */
  readonly insides: readonly (readonly Int32Array[])[]
}

/** Inner products inside the heads of a group, one matrix an inside, summed over batches. */
type InsideProducts = ReadonlyMap<string, readonly Matrix[]>

const nodesOf = (
  groups: readonly PermutationGroup[],
  [a, b]: readonly [Model, Model],
  batch: Batch<Tensor>,
): (readonly [PermutationGroup, readonly Appearance[]])[] => {
  const second = passagesOf(b, batch)
  const passages = passagesOf(a, batch).map((passage, i) => [passage, second[i]] as const)
  return groups.map((group) => [group, appearancesOf(group, passages)] as const)
}

/** First round, for groups of heads alone: how the dimensions inside any two heads agree. */
const productsInside = async (
  groups: readonly PermutationGroup[],
  models: readonly [Model, Model],
  batches: Batches,
  signal?: AbortSignal,
): Promise<InsideProducts> => {
  const products = new Map<string, readonly Matrix[]>()
  const sizeOf = ({ insides, units }: PermutationGroup): number =>
    insides.reduce((n, { size }) => n + (units * size) ** 2, 0)
  const withHeads = groups.filter(({ insides }) => insides.length > 0)
  for (const pass of inPasses(withHeads, sizeOf)) {
    const program = (batch: Batch<Tensor>): Record<string, Tensor> =>
      Object.fromEntries(
        nodesOf(pass, models, batch).flatMap(([group, nodes]) =>
          group.insides.flatMap((inside, i): [string, Tensor][] => {
            const each = nodes.flatMap((node) => {
              const axis = axisInside(inside, node)
              return axis ? [productsAt(node, axis, batch)] : []
            })
            return each.length ? [[`${group.name} ${i}`, each.reduce((sum, one) => sum.add(one))]] : []
          }),
        ),
      )
    const { sums } = await accumulated(batches, program, { signal })
    for (const { name, insides, units } of pass)
      products.set(
        name,
        insides.map(({ size }, i) => {
          const out = matrix(units * size, units * size)
          if (sums[`${name} ${i}`]) out.data.set(sums[`${name} ${i}`])
          return out
        }),
      )
  }
  return products
}

/** Second round: minus the distances of all pairs of units, [units, units], summed over batches and nodes. */
const similaritiesOf = async (
  groups: readonly PermutationGroup[],
  models: readonly [Model, Model],
  inside: InsideProducts,
  batches: Batches,
  signal?: AbortSignal,
): Promise<ReadonlyMap<string, Matrix>> => {
  const similarities = new Map<string, Matrix>()
  for (const pass of inPasses(groups, ({ units }) => units ** 2)) {
    const masks = new Map(
      pass.map(({ name, insides }) => [
        name,
        insides.map(({ size }, i) => {
          const products = inside.get(name)![i]
          return tensor(bestOrders(products, size), [products.rows, products.cols])
        }),
      ]),
    )
    const program = (batch: Batch<Tensor>): Record<string, Tensor> =>
      Object.fromEntries(
        nodesOf(pass, models, batch).flatMap(([group, nodes]): [string, Tensor][] => {
          const each = nodes.map((node) => distancesAt(group, node, masks.get(group.name)!, batch))
          return each.length ? [[group.name, each.reduce((sum, one) => sum.add(one)).neg()]] : []
        }),
      )
    const { sums } = await accumulated(batches, program, { signal })
    for (const { name, units } of pass)
      if (sums[name]) similarities.set(name, { rows: units, cols: units, data: sums[name] })
  }
  return similarities
}

/**
 * The order of B's units, group by group, in which its activations are nearest to A's on the same inputs. Heads are
 * compared with the dimensions inside in their best order, and these are then put into it. Groups that appear nowhere are
 * left out. `batches` is gone through once, and twice where there are heads.
 */
export const matchActivations = async (
  groups: readonly PermutationGroup[],
  models: readonly [Model, Model],
  batches: Batches,
  signal?: AbortSignal,
): Promise<ReadonlyMap<string, GroupMatch>> => {
  const inside = await productsInside(groups, models, batches, signal)
  const similarities = await similaritiesOf(groups, models, inside, batches, signal)
  return new Map(
    groups.flatMap((group): [string, GroupMatch][] => {
      const similarity = similarities.get(group.name)
      if (!similarity) return []
      const { columns: order } = linearAssignment(similarity, { maximize: true })
      const agreement = Float64Array.from(order, (j, i) => similarity.data[i * similarity.cols + j])
      const insides = group.insides.map(({ size }, n) =>
        Array.from(order, (j, i) => orderInside(inside.get(group.name)![n], size, i, j)),
      )
      return [[group.name, { order, agreement, insides }]]
    }),
  )
}
