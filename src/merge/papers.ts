/** @file What of the family has a paper's card and experiment: the procedures, and those of the recipes' methods named here. */
import type { CataloguedMethod } from '../catalogue/families.js'
import { breadcrumbsCard } from './breadcrumbs/card.js'
import { procedures } from './procedures.js'

const breadcrumbs: CataloguedMethod = {
  paper: breadcrumbsCard,
  source: 'src/merge/tensor-methods/task-vectors.ts',
  reproduction: async () => (await import('./breadcrumbs/experiment.js')).experiment,
}

export const papers: readonly CataloguedMethod[] = [...procedures, breadcrumbs]
