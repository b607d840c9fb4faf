/**
 * @file Breadcrumbs as things of their own (Davari and Belilovsky 2023, arXiv 2312.06795): what a fine-tuning changed, with
 * the smallest and the very largest changes left out, kept in a small file; any of them, added to the base, make a
 * multi-task model. Recipes do the same in one go: `merge_method: breadcrumbs` with `paper_masks: true`, whose density is
 * `keep` and whose gamma is `removeTop`; so does the command line, `--method breadcrumbs`. Files are store.ts.
 */
import { UsageError } from '../../errors.js'
import type { Shape } from '../../tensor/index.js'
import { keepBetween } from '../tensor-methods/sparsify.js'

/** Options of the paper's masks. */
export interface BreadcrumbOptions {
  /** The share of the changes that is kept: 1 - beta - (1 - gamma) in the paper's quantiles. Default 0.15. */
  readonly keep: number
  /** The share of the largest changes that is left out: 1 - gamma in the paper. Default 0.006. */
  readonly removeTop: number
  /** Entries that are ranked together: those of a tensor, as the paper has it, or of each row of its last axis, as its code has it. Default 'tensor'. */
  readonly granularity: 'tensor' | 'row'
  /** Whether vectors (biases, norms) are masked too; else they are kept whole. Default true. */
  readonly maskVectors: boolean
  /** Tensors that are left out altogether: embeddings, heads of their own. Default none. */
  readonly exclude: (name: string) => boolean
}

/** The paper's starting values. */
export const defaults: BreadcrumbOptions = {
  keep: 0.15,
  removeTop: 0.006,
  granularity: 'tensor',
  maskVectors: true,
  exclude: () => false,
}

/** Throws UsageError for shares that there cannot be. */
const checkShares = ({ keep, removeTop }: BreadcrumbOptions): void => {
  if (!(keep >= 0 && removeTop >= 0 && keep + removeTop <= 1))
    throw new UsageError(
      'BadOption',
      `keep ${keep} and removeTop ${removeTop}: expected shares that add up to at most 1`,
    )
}

/**
 * The breadcrumbs of one tensor's change: `delta` with the floor(removeTop n) largest magnitudes zeroed, then all but the
 * floor(keep n) largest of the rest. Scalars stay whole. Throws UsageError, with `name`, where nothing would stay.
 * delta: [elements], flattened.
 */
export const breadcrumbsOf = (
  delta: Float32Array,
  shape: Shape,
  choices: Partial<BreadcrumbOptions> = {},
  name = 'the tensor',
): Float32Array => {
  const options = { ...defaults, ...choices }
  checkShares(options)
  const out = Float32Array.from(delta)
  const { keep, removeTop, granularity, maskVectors } = options
  if (shape.length === 0 || (shape.length === 1 && !maskVectors) || keep === 1) return out
  const size = granularity === 'row' ? shape[shape.length - 1] : delta.length
  const kept = Math.floor(keep * size)
  const top = Math.floor(removeTop * size)
  if (kept === 0)
    throw new UsageError(
      'NothingKept',
      `${name} [${shape.join(', ')}]: keep ${keep} of ${size} is not one element`,
      {
        hint: 'Keep more, leave vectors whole (maskVectors: false), or leave the tensor out (exclude).',
      },
    )
  for (let start = 0; start < out.length; start += size)
    keepBetween(out.subarray(start, start + size), { kept, top })
  return out
}
