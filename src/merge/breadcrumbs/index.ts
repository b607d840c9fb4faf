/** @file Model Breadcrumbs: Scaling Multi-Task Model Merging with Sparse Masks (arXiv 2312.06795): see breadcrumbs.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'

export {
  type BreadcrumbOptions,
  breadcrumbsOf,
  composeBreadcrumbs,
  type ComposeOptions,
  writeBreadcrumbs,
} from './breadcrumbs.js'

export const entry: Entry<never> = { card, experiment: () => import('./experiment.js') }
