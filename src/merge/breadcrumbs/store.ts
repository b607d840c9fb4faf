/**
 * @file Files of breadcrumbs: of every tensor that a fine-tuning changed a bit an element and the numbers that stay. Any of
 * them, added to the base, make a multi-task model; taking one away is adding it with a negative factor.
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
import { isFloat, value } from '../../tensor/index.js'
import type { ProcedureContext } from '../core/procedure.js'
import { type BreadcrumbOptions, breadcrumbsOf, defaults } from './breadcrumbs.js'

const format = 'weft.breadcrumbs'

/** Whether an open checkpoint is a file of breadcrumbs. */
export const isTrail = ({ metadata }: Checkpoint): boolean => metadata.format === format

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

/** What `tuned` changed of a tensor: [elements]; undefined where it changed nothing. */
const changeOf = async (
  base: Checkpoint,
  tuned: Checkpoint,
  name: string,
): Promise<Float32Array | undefined> => {
  const before = (await base.read(name, 'float32')).data as Float32Array
  const after = (await tuned.read(name, 'float32')).data as Float32Array
  let changed = false
  const delta = after.map((x, i) => {
    const change = x - before[i]
    changed ||= change !== 0
    return change
  })
  if (delta.some((x) => !Number.isFinite(x)))
    throw new CheckpointError('NotFinite', `${tuned.folder}: ${name} holds numbers that are not finite.`)
  return changed ? delta : undefined
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
  choices: Partial<BreadcrumbOptions> = {},
): Promise<void> => {
  const { exclude, ...options } = { ...defaults, ...choices }
  const names = checkTensors(base, tuned, exclude)
  const parts: TensorData[] = []
  for (const name of names) {
    const { dtype, shape } = base.info(name)
    if (!isFloat(valueDType[dtype])) continue
    const delta = await changeOf(base, tuned, name)
    if (!delta) continue
    const { mask, values } = packed(breadcrumbsOf(delta, shape, { ...options, exclude }, name))
    parts.push({ name: `${name}.mask`, ...encode(value(mask, [mask.length], 'uint8')) })
    parts.push({ name: `${name}.values`, ...encode(value(values, [values.length], 'float32')) })
  }
  const about = {
    format,
    base: await fingerprint(base),
    options: JSON.stringify(options),
  }
  await writeSafetensors(path, parts, about)
}

/** Adds `scale` times a task's breadcrumbs to `out`. */
const addTrail = async (out: Float64Array, trail: Checkpoint, name: string, scale: number): Promise<void> => {
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

/** A task: a file of breadcrumbs, or a fine-tuning whose breadcrumbs are taken on the way. */
interface Task {
  readonly source: Checkpoint
  readonly scale: number
}

/** Throws CheckpointError for breadcrumbs of another base, and for models of other tensors. */
const checkTasks = async (base: Checkpoint, tasks: readonly Task[]): Promise<void> => {
  const trails = tasks.filter(({ source }) => isTrail(source))
  const hash = trails.length ? await fingerprint(base) : ''
  const foreign = trails.find(({ source }) => source.metadata.base !== hash)
  if (foreign)
    throw new CheckpointError(
      'WrongBase',
      `${foreign.source.folder}: these are breadcrumbs of another base than ${base.folder}.`,
    )
  for (const { source } of tasks) if (!isTrail(source)) checkTensors(base, source, () => false)
}

/** The breadcrumbs of every task that has some of this tensor, added to it; undefined where none has. */
const withTrails = async (
  base: Checkpoint,
  tasks: readonly Task[],
  name: string,
  options: BreadcrumbOptions,
): Promise<Float64Array | undefined> => {
  const { dtype, shape } = base.info(name)
  let sum: Float64Array | undefined
  const started = async (): Promise<Float64Array> =>
    (sum ??= Float64Array.from((await base.read(name, 'float32')).data as Float32Array))
  for (const { source, scale } of tasks) {
    if (isTrail(source)) {
      if (source.has(`${name}.mask`)) await addTrail(await started(), source, name, scale)
      continue
    }
    const delta = isFloat(valueDType[dtype]) ? await changeOf(base, source, name) : undefined
    if (!delta) continue
    const trail = breadcrumbsOf(delta, shape, options, name)
    const out = await started()
    for (let i = 0; i < out.length; i++) out[i] += scale * trail[i]
  }
  return sum
}

/**
 * Writes the base with the breadcrumbs of tasks added to it to `folder`, a tensor at a time, in the base's dtypes. Throws
 * CheckpointError for breadcrumbs of another base, and for models of other tensors.
 */
export const writeComposed = async (
  base: Checkpoint,
  tasks: readonly Task[],
  folder: string,
  choices: Partial<BreadcrumbOptions> = {},
  { signal, onProgress }: Pick<ProcedureContext, 'signal' | 'onProgress'> = {},
): Promise<void> => {
  await checkTasks(base, tasks)
  signal?.throwIfAborted()
  const plans = base.names().map((name) => base.info(name))
  await using writer = await CheckpointWriter.create(folder, plans)
  for (const [i, { name, dtype, shape }] of plans.entries()) {
    onProgress?.({ status: 'progress', name: 'merge', done: i, total: plans.length, unit: 'tensors' })
    signal?.throwIfAborted()
    const sum = await withTrails(base, tasks, name, { ...defaults, ...choices })
    const bytes = (): Uint8Array =>
      encode(convertValue(value(Float32Array.from(sum!), shape, 'float32'), valueDType[dtype])).data
    await writer.write(name, sum ? bytes() : await base.readRaw(name))
  }
  await writer.finish({ 'config.json': base.config })
  if (await isFolder(base.folder)) await copyCompanions(base.folder, folder)
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
    const tasks = trails.map((source, i) => ({ source, scale: scales[i] }))
    await writeComposed(base, tasks, folder)
  } finally {
    await Promise.all(trails.map((trail) => trail.close()))
  }
}
