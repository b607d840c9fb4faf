/** @file What an extraction found in two models, and what it says of every tensor in which they differ. */
import type { Site } from '../../models/index.js'
import type { LowRank } from './low-rank.js'

/** Fate of a tensor in which the two differ. */
export interface ExtractedTensor {
  readonly name: string
  readonly shape: readonly number[]
  /** `low-rank`: in the adapter; `saved`: whole; `left`: its change is in no adapter. */
  readonly kept: 'low-rank' | 'saved' | 'left'
  readonly rank?: number
  /** ||D|| over the larger of ||W|| and ||W'||, Frobenius norms: how much the tuning changed. */
  readonly change: number
  /** ||D - B A|| / ||D||: the share of the change that is not kept; 0 where it is saved, 1 where it is left. */
  readonly error: number
}

/** The low rank of one site's difference, as the adapter has it. */
export interface Factors extends LowRank {
  readonly site: Site
}

/** What is known of the tensors after all of them were read. */
export interface Findings {
  readonly factors: readonly Factors[]
  /** Differences that no low rank holds: norms, biases, embeddings, modules that are no targets. */
  readonly rest: readonly {
    readonly name: string
    readonly shape: readonly number[]
    readonly change: number
  }[]
  readonly changes: ReadonlyMap<string, number>
  readonly unchanged: number
}

/** The fates of the tensors that differ, by name. `factors`: what the adapter has; `whole`: the tensors it saves whole. */
export const reported = (
  { rest, factors: all, changes }: Findings,
  factors: readonly Factors[],
  whole: ReadonlySet<string>,
): ExtractedTensor[] => {
  const low = new Set(factors)
  const tensors = [
    ...all.map((extractedModule): ExtractedTensor => {
      const { name, in: width, out, transposed: turned } = extractedModule.site
      const tensor = `${name}.weight`
      const shape = turned ? [width, out] : [out, width]
      const change = changes.get(tensor)!
      if (!low.has(extractedModule)) return { name: tensor, shape, kept: 'saved', change, error: 0 }
      return {
        name: tensor,
        shape,
        kept: 'low-rank',
        rank: extractedModule.rank,
        change,
        error: extractedModule.error,
      }
    }),
    ...rest.map(({ name, shape, change }): ExtractedTensor => {
      const kept = whole.has(name) ? 'saved' : 'left'
      return { name, shape, kept, change, error: kept === 'saved' ? 0 : 1 }
    }),
  ]
  return tensors.sort((a, b) => (a.name < b.name ? -1 : 1))
}
