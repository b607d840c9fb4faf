/** @file The families whose methods the catalogue collects: one line a family, none a method. */
import type { Paper } from '../papers/card.js'
import type { Reproduction } from '../papers/reproduction.js'

/** What the catalogue needs of a method. */
export interface CataloguedMethod {
  readonly paper: Paper
  /** Its experiment, loaded when it is run or shown. */
  readonly reproduction?: () => Promise<Reproduction>
  /** The method's file, relative to the repository: `src/adapt/mos/mos.ts`. */
  readonly source?: string
}

/** A family and how its list of methods is loaded. */
export interface MethodFamily {
  readonly name: string
  readonly methods: () => Promise<readonly CataloguedMethod[]>
}

export const families: readonly MethodFamily[] = [
  { name: 'adapt', methods: async () => (await import('../adapt/index.js')).papers },
  { name: 'merge', methods: async () => (await import('../merge/papers.js')).papers },
]
