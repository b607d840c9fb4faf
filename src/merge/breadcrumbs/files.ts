/** @file Tasks composed on demand as a merge of whole models: files of breadcrumbs as they are, fine-tunings masked on the way. */
import { z } from 'zod'
import { UsageError } from '../../errors.js'
import { namesOf } from '../core/averaging/weighted.js'
import { type Procedure, procedure } from '../core/procedure.js'
import { type BreadcrumbOptions, defaults } from './breadcrumbs.js'
import { card } from './card.js'
import { isTrail, writeComposed } from './store.js'

/** Options of `breadcrumbFiles`. The masks are of models that are no files of breadcrumbs: these have theirs. */
export interface BreadcrumbFilesOptions extends Omit<BreadcrumbOptions, 'exclude'> {
  /** Factor of each task's breadcrumbs. Default 0.3. */
  readonly scale: number
}

const share = z.number().min(0).max(1)

/** The schema of the masks' options. */
export const maskOptions = {
  keep: share.default(defaults.keep).describe('share of the changes that is kept'),
  removeTop: share.default(defaults.removeTop).describe('share of the largest changes that is left out'),
  granularity: z
    .enum(['tensor', 'row'])
    .default(defaults.granularity)
    .describe("entries that are ranked together: a tensor's, or those of each row"),
  maskVectors: z.boolean().default(defaults.maskVectors).describe('mask biases and norms too'),
}

/**
 * The base with the breadcrumbs of every task added to it. Throws CheckpointError for breadcrumbs of another base, and for
 * models of other tensors.
 *
 *     weft extract models/base models/tuned --as breadcrumbs --out crumbs/tuned
 *     weft merge --method breadcrumb-files --base models/base crumbs/tuned/breadcrumbs.safetensors --out models/merged
 */
export const breadcrumbFiles: Procedure<BreadcrumbFilesOptions> = procedure<BreadcrumbFilesOptions>({
  paper: card,
  name: 'breadcrumb-files',
  summary: 'breadcrumbs of tasks added to their base: files of them, or fine-tunings',
  base: 'required',
  data: 'none',
  counts: [1, Infinity],
  // A bias of the suite's has fewer entries than leave one.
  example: { options: { maskVectors: false } },
  options: z.strictObject({
    ...maskOptions,
    scale: z.number().default(0.3).describe("factor of each task's breadcrumbs"),
  }),
  run(models, { scale, ...masks }, { base, names, ...listeners }) {
    if (masks.keep + masks.removeTop > 1)
      throw new UsageError(
        'BadOption',
        `keep ${masks.keep} and removeTop ${masks.removeTop}: more than there is`,
      )
    const tasks = models.map((source) => ({ source, scale }))
    const files = models.filter(isTrail).length
    return Promise.resolve({
      report: { base: base!.folder, tasks: namesOf(models, names), files, scale, ...masks },
      notes: [],
      save: (folder) => writeComposed(base!, tasks, folder, masks, listeners),
    })
  },
})
