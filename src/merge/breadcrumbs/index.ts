/** @file Model Breadcrumbs: Scaling Multi-Task Model Merging with Sparse Masks (arXiv 2312.06795): see breadcrumbs.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { breadcrumbFiles } from './files.js'

export { type BreadcrumbOptions, breadcrumbsOf } from './breadcrumbs.js'
export { breadcrumbFiles, type BreadcrumbFilesOptions, maskOptions } from './files.js'
export { composeBreadcrumbs, type ComposeOptions, writeBreadcrumbs } from './store.js'

export const entry: Entry<typeof breadcrumbFiles> = {
  card,
  method: breadcrumbFiles,
  experiment: () => import('./experiment.js'),
}
