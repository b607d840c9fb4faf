/** @file The second model's units in the first's order, by activations or by weights (step 1 of the method). */
import type { Model } from '../../models/index.js'
import type { Batches } from '../../observe/index.js'
import {
  insideUnit,
  matchWeights,
  moveUnits,
  type PermutationGroup,
  type Tensors,
  weightSimilarity,
} from '../../units/permutation/index.js'
import type { ProcedureContext } from '../core/procedure.js'
import { type GroupMatch, matchActivations } from './match.js'

/** B's tensors with its units in A's order, and how well each unit of a group agrees. */
export interface Aligned {
  readonly tensors: Tensors
  readonly agreement: ReadonlyMap<string, ArrayLike<number>>
}

/** B's tensors in the order that a matching by activations found. */
const inOrder = (
  tensors: Tensors,
  groups: readonly PermutationGroup[],
  matches: ReadonlyMap<string, GroupMatch>,
): Tensors => {
  let aligned = { tensors, orders: {} }
  for (const group of groups) {
    const match = matches.get(group.name)
    if (!match) continue
    aligned = moveUnits(aligned, group, match.order)
    match.insides.forEach((units, i) =>
      units.forEach((order, u) => {
        aligned = moveUnits(aligned, insideUnit(group.insides[i], u), order)
      }),
    )
  }
  return aligned.tensors
}

/** How much alike the units are by their weights as they stand. */
const agreementByWeights = async (
  groups: readonly PermutationGroup[],
  pair: readonly [Tensors, Tensors],
): Promise<Map<string, ArrayLike<number>>> => {
  const found = new Map<string, ArrayLike<number>>()
  for (const { name, units, axes } of groups) {
    const { matrix } = await weightSimilarity(
      axes.filter(({ kind }) => kind !== 'buffer'),
      pair,
    )
    found.set(
      name,
      Float64Array.from({ length: units }, (_, u) => matrix.data[u * units + u]),
    )
  }
  return found
}

/** Brings B's units into A's order. [a, b]: the models' tensors. */
export const alignedTo = async (
  models: readonly [Model, Model],
  [a, b]: readonly [Tensors, Tensors],
  groups: readonly PermutationGroup[],
  match: 'activations' | 'weights' | 'none',
  batches: Batches,
  { seed, signal }: ProcedureContext,
): Promise<Aligned> => {
  if (match === 'activations') {
    const matches = await matchActivations(groups, models, batches, signal)
    const agreement = new Map([...matches].map(([name, found]) => [name, found.agreement]))
    return { tensors: inOrder(b, groups, matches), agreement }
  }
  const tensors = match === 'none' ? b : (await matchWeights(groups, a, b, { seed, signal })).tensors
  return { tensors, agreement: await agreementByWeights(groups, [a, tensors]) }
}
