/** @file What a benchmark gives. */

/** One comparison, both sides measured in the same run. Less is better where `unit` is a time or a size. */
export interface Row {
  /** What was measured. */
  name: string
  ours: number
  theirs: number
  /** What `theirs` is: another library, a system's tool, or a budget. */
  peer: string
  unit: string
  /** `ours / theirs`. */
  ratio: number
}

/** A row with its ratio. */
export const row = (name: string, ours: number, peer: string, theirs: number, unit: string): Row => ({
  name,
  ours,
  theirs,
  peer,
  unit,
  ratio: ours / theirs,
})

/** The middle of `values`; the mean of the two middle ones where their count is even. */
export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}
