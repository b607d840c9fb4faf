/** @file What of the family has a paper's card and experiment: the procedures, and those of the recipes' methods named here. */
import type { CataloguedMethod } from '../papers/families.js'
import { breadcrumbsCard } from './breadcrumbs.card.js'
import { procedures } from './procedures.js'

const breadcrumbs: CataloguedMethod = {
  paper: breadcrumbsCard,
  source: 'src/merge/task-vectors.ts',
  reproduction: async () => (await import('./breadcrumbs.repro.js')).experiment,
}

export const papers: readonly CataloguedMethod[] = [...procedures, breadcrumbs]
