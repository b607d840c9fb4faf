/** @file The families whose entries the catalogue collects: one line a family, none a method. */
import type { Entry } from '../papers/entry.js'

/** A family and how its list of entries is loaded. */
export interface MethodFamily {
  readonly name: string
  readonly entries: () => Promise<readonly Entry[]>
}

export const families: readonly MethodFamily[] = [
  { name: 'adapt', entries: async () => (await import('../adapt/index.js')).entries },
  { name: 'merge', entries: async () => (await import('../merge/index.js')).entries },
]
