/**
 * @file Breadcrumbs as things of their own (Davari and Belilovsky 2023, arXiv 2312.06795): what a fine-tuning changed, with
 * the smallest and the very largest changes left out, kept in a small file; any of them, added to the base, make a
 * multi-task model. Recipes do the same in one go: `merge_method: breadcrumbs` with `paper_masks: true`, whose density is
 * `keep` and whose gamma is `removeTop`; so does the command line, `--method breadcrumbs`.
 */
import { createHash } from 'node:crypto'
import { basename, dirname } from 'node:path'
import {
  type Checkpoint,
  CheckpointWriter,
  convertValue,
  copyCompanions,
  diskFiles,
  encode,
  isFolder,
  openFile,
  type TensorData,
  valueDType,
  writeSafetensors,
} from '../../checkpoint/index.js'
import { CheckpointError, UsageError } from '../../errors.js'
import { isFloat, type Shape, value } from '../../tensor/index.js'
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

const defaults: BreadcrumbOptions = {
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
  given: Partial<BreadcrumbOptions> = {},
  name = 'the tensor',
): Float32Array => {
  const options = { ...defaults, ...given }
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

/** Stands for every number of a checkpoint. */
const fingerprint = async (checkpoint: Checkpoint): Promise<string> => {
  const hash = createHash('sha256')
  for (const name of checkpoint.names()) {
    const { dtype, shape } = checkpoint.info(name)
    hash.update(`${name} ${dtype} ${shape.join(',')}\n`)
    for await (const { bytes } of checkpoint.rows(name)) hash.update(bytes)
  }
  return hash.digest('hex')
}

/** A bit for each element that stays, and the numbers of these. */
const packed = (delta: Float32Array): { mask: Uint8Array; values: Float32Array } => {
  const mask = new Uint8Array(Math.ceil(delta.length / 8))
  const values = delta.filter((x) => x !== 0)
  for (let i = 0; i < delta.length; i++) if (delta[i] !== 0) mask[i >> 3] |= 1 << (i & 7)
  return { mask, values }
}

/** Throws CheckpointError unless `tuned` has the base's tensors. */
const checkTensors = (base: Checkpoint, tuned: Checkpoint, exclude: (name: string) => boolean): string[] => {
  const names = base.names().filter((name) => !exclude(name))
  const odd = names.filter(
    (name) => !tuned.has(name) || String(tuned.info(name).shape) !== String(base.info(name).shape),
  )
  if (odd.length)
    throw new CheckpointError(
      'NotAlike',
      `${tuned.folder}: ${odd.slice(0, 3).join(', ')}${odd.length > 3 ? ` and ${odd.length - 3} more` : ''} are missing or of another shape than in ${base.folder}.`,
      { hint: 'Leave tensors out that were resized (exclude).' },
    )
  return names
}

/**
 * Writes the breadcrumbs of `tuned` to the safetensors file `path`: for every float tensor that changed `NAME.mask`, a bit
 * an element, and `NAME.values`, float32. For a tensor of n elements that is n / 8 + 4 keep n bytes. The file names its
 * base by a hash of its numbers. Throws CheckpointError for models that do not fit each other.
 */
export const writeBreadcrumbs = async (
  base: Checkpoint,
  tuned: Checkpoint,
  path: string,
  given: Partial<BreadcrumbOptions> = {},
): Promise<void> => {
  const { exclude, ...options } = { ...defaults, ...given }
  const names = checkTensors(base, tuned, exclude)
  const parts: TensorData[] = []
  for (const name of names) {
    const from = await base.read(name)
    if (!isFloat(from.dtype)) continue
    const [a, b] = await Promise.all(
      [base, tuned].map(async (model) => (await model.read(name, 'float32')).data as Float32Array),
    )
    const delta = b.map((x, i) => x - a[i])
    if (delta.some((x) => !Number.isFinite(x)))
      throw new CheckpointError('NotFinite', `${tuned.folder}: ${name} holds numbers that are not finite.`)
    if (delta.every((x) => x === 0)) continue
    const { mask, values } = packed(breadcrumbsOf(delta, from.shape, { ...options, exclude }, name))
    parts.push({ name: `${name}.mask`, ...encode(value(mask, [mask.length], 'uint8')) })
    parts.push({ name: `${name}.values`, ...encode(value(values, [values.length], 'float32')) })
  }
  const about = {
    format: 'weft.breadcrumbs',
    base: await fingerprint(base),
    options: JSON.stringify(options),
  }
  await writeSafetensors(path, parts, about)
}

/** Adds `scale` times a task's breadcrumbs to `out`. */
const addTrail = async (out: Float64Array, trail: Checkpoint, name: string, scale: number): Promise<void> => {
  if (!trail.has(`${name}.mask`)) return
  const mask = (await trail.read(`${name}.mask`)).data as Uint8Array
  const values = (await trail.read(`${name}.values`)).data as Float32Array
  let next = 0
  for (let i = 0; i < out.length; i++) if (mask[i >> 3] & (1 << (i & 7))) out[i] += scale * values[next++]
}

/** Options of composing breadcrumb files. */
export interface ComposeOptions {
  /** Factor of each task's breadcrumbs: one number for all, or a list. Default 0.3. */
  readonly scale?: number | readonly number[]
}

/**
 * Writes the base with the breadcrumbs of the files `paths` added to it to `folder`, a tensor at a time, in the base's
 * dtypes. Throws CheckpointError for breadcrumbs of another base.
 * scale: one for all, or [files].
 */
export const composeBreadcrumbs = async (
  base: Checkpoint,
  paths: readonly string[],
  folder: string,
  { scale = 0.3 }: ComposeOptions = {},
): Promise<void> => {
  const scales = typeof scale === 'number' ? paths.map(() => scale) : scale
  if (scales.length !== paths.length)
    throw new UsageError('BadOption', `${scales.length} scales for ${paths.length} files of breadcrumbs`)
  const trails = await Promise.all(paths.map((path) => openFile(diskFiles(dirname(path)), basename(path))))
  try {
    const own = paths.length ? await fingerprint(base) : ''
    const foreign = trails.findIndex(({ metadata }) => metadata.base !== own)
    if (foreign >= 0)
      throw new CheckpointError(
        'WrongBase',
        `${paths[foreign]}: these are breadcrumbs of another base than ${base.folder}.`,
      )
    const plans = base.names().map((name) => base.info(name))
    await using writer = await CheckpointWriter.create(folder, plans)
    for (const { name, dtype } of plans) {
      if (!trails.some((trail) => trail.has(`${name}.mask`))) {
        await writer.write(name, await base.readRaw(name))
        continue
      }
      const from = await base.read(name, 'float32')
      const sum = Float64Array.from(from.data as Float32Array)
      for (const [t, trail] of trails.entries()) await addTrail(sum, trail, name, scales[t])
      const merged = value(Float32Array.from(sum), from.shape, 'float32')
      await writer.write(name, encode(convertValue(merged, valueDType[dtype])).data)
    }
    await writer.finish({ 'config.json': base.config })
    if (await isFolder(base.folder)) await copyCompanions(base.folder, folder)
  } finally {
    await Promise.all(trails.map((trail) => trail.close()))
  }
}
