/** @file Every merge that is a procedure. A new one is its file, and its name here. */
import type { Procedure } from './procedure.js'

export const procedures: readonly Procedure<never>[] = [] as readonly Procedure<never>[]
