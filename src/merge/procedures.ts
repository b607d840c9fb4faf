/** @file Every merge that is a procedure. A new one is its file, and its name here. */
import { cfgDistillation } from './cfg-distillation/cfg-distillation.js'
import { deepweightflow } from './deepweightflow/deepweightflow.js'
import { fusionX } from './fusion-x/fusion-x.js'
import { pleas } from './pleas/pleas.js'
import { mwa } from './mwa/mwa.js'
import type { Procedure } from './core/procedure.js'
import { learnedSoup } from './soups/learned.js'
import { greedySoup, uniformSoup } from './soups/soups.js'
import { unconstrainedMerging } from './unconstrained/unconstrained.js'

export const procedures: readonly Procedure<never>[] = [
  uniformSoup,
  greedySoup,
  learnedSoup,
  mwa,
  unconstrainedMerging,
  fusionX,
  cfgDistillation,
  pleas,
  deepweightflow,
] as readonly Procedure<never>[]
