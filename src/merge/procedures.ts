/** @file Every merge that is a procedure. A new one is its file, and its name here. */
import type { Procedure } from './procedure.js'
import { unconstrainedMerging } from './unconstrained.js'

export const procedures: readonly Procedure<never>[] = [
  unconstrainedMerging,
] as readonly Procedure<never>[]
