/** @file Bringing one model's units into the order of another's, by their weights alone. */
import { linearAssignment } from '../../linalg/index.js'
import { Stream } from '../../random/index.js'
import { type GroupAxis, insideUnit, type PermutationGroup } from './groups.js'
import { headSimilarity, type Similarity, spectralSimilarity, weightSimilarity } from './similarity.js'
import { moveUnits, type Orders, type Tensors } from './tensors.js'

/** Options of `matchWeights`. */
export interface MatchOptions {
  /** Seed of the order in which groups are visited. Default 0. */
  readonly seed?: number | string
  /** Most visits to every group. Default 100. */
  readonly sweeps?: number
  /** Whether the running statistics of batch norms count. Default false. */
  readonly statistics?: boolean
  /** Features by which heads are matched: their weights with the dimensions inside in the best order, or their singular values. Default dimensions. */
  readonly heads?: 'dimensions' | 'spectra'
  /** Aborts between two groups. */
  readonly signal?: AbortSignal
}

/** A model in another's order. */
export interface Aligned {
  /** The tensors in that order. */
  readonly tensors: Tensors
  /** The order, element by element, of the tensors that moved. */
  readonly orders: Orders
}

/** What one visit to a group found: how far it got, and whether it moved anything. */
interface Visit {
  readonly aligned: Aligned
  readonly moved: boolean
}

/** Puts the units in the best order where that is better than the order they are in. */
const improve = (aligned: Aligned, group: PermutationGroup, { matrix, rounding }: Similarity): Visit => {
  const { columns, total } = linearAssignment(matrix, { maximize: true })
  let now = 0
  for (let i = 0; i < matrix.rows; i++) now += matrix.data[i * matrix.cols + i]
  if (total - now <= rounding * Math.abs(total)) return { aligned, moved: false }
  return { aligned: moveUnits(aligned, group, columns), moved: true }
}

/** Which axes count when units are compared. */
type Counts = (axis: GroupAxis) => boolean

const similarityOf = async (
  group: PermutationGroup,
  pair: readonly [Tensors, Tensors],
  counts: Counts,
  heads: MatchOptions['heads'],
): Promise<Similarity> => {
  if (group.insides.length === 0) return weightSimilarity(group.axes.filter(counts), pair)
  return heads === 'spectra' ? spectralSimilarity(group, pair) : headSimilarity(group, pair)
}

/** The units of a group, and then the dimensions inside each. */
const visit = async (
  aligned: Aligned,
  reference: Tensors,
  group: PermutationGroup,
  counts: Counts,
  heads: MatchOptions['heads'],
): Promise<Visit> => {
  const similarity = await similarityOf(group, [reference, aligned.tensors], counts, heads)
  let { aligned: now, moved } = improve(aligned, group, similarity)
  for (const inside of group.insides)
    for (let u = 0; u < group.units; u++) {
      const one = insideUnit(inside, u)
      const step = improve(now, one, await weightSimilarity(one.axes, [reference, now.tensors]))
      now = step.aligned
      moved ||= step.moved
    }
  return { aligned: now, moved }
}

/**
 * `tensors` with the units of `groups` in the order that is most like `reference`: coordinate ascent, one group after
 * another in random order, each by a linear assignment, until no group gets better (Ainsworth et al. 2022,
 * arXiv 2209.04836, algorithm 1). The model stays the same function. Groups that are left out stay as they are.
 */
export const matchWeights = async (
  groups: readonly PermutationGroup[],
  reference: Tensors,
  tensors: Tensors,
  { seed = 0, sweeps = 100, statistics = false, heads, signal }: MatchOptions = {},
): Promise<Aligned> => {
  const counts: Counts = ({ kind }) => statistics || kind !== 'buffer'
  const stream = new Stream(seed).fork('weight matching')
  let aligned: Aligned = { tensors, orders: {} }
  for (let sweep = 0; sweep < sweeps; sweep++) {
    let moved = false
    for (const index of stream.permutation(groups.length)) {
      signal?.throwIfAborted()
      const step = await visit(aligned, reference, groups[index], counts, heads)
      aligned = step.aligned
      moved ||= step.moved
    }
    if (!moved) break
  }
  return aligned
}
