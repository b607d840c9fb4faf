/** @file A checkpoint's folder written again in another form: dtype, size of shards, without its tokenizer. */
import { readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Progress } from '../progress.js'
import { readAdapter } from './adapter.js'
import type { Checkpoint } from './checkpoint.js'
import { copyCompanions, removeCompanions } from './companions.js'
import { convertValue, encode } from './convert.js'
import { open } from './open.js'
import { type SafetensorsDType, type TensorPlan } from './safetensors.js'
import {
  type Bytes,
  CheckpointWriter,
  type CheckpointWriterOptions,
  isWeights,
  type TensorData,
  writeSafetensors,
} from './write.js'

/** Form of a written checkpoint. */
export interface CheckpointForm {
  /** Type of the floating-point numbers. Default: as they are. */
  readonly dtype?: 'float32' | 'float16' | 'bfloat16'
  /** Bytes that a shard holds at most. Default: the files as they are. */
  readonly maxShardBytes?: number
  /** False: tokenizer, chat template, generation and preprocessing settings are left out. Default true. */
  readonly copyTokenizer?: boolean
}

const stored = { float32: 'F32', float16: 'F16', bfloat16: 'BF16' } as const

/** Stored types whose numbers `dtype` changes; 64 bits and 8 bits were chosen on purpose. */
const floats: ReadonlySet<SafetensorsDType> = new Set<SafetensorsDType>(['F32', 'F16', 'BF16'])

const planned = (
  checkpoint: Checkpoint,
  dtype: CheckpointForm['dtype'],
): (TensorPlan & { readonly changes: boolean })[] =>
  checkpoint.names().map((name) => {
    const info = checkpoint.info(name)
    const changes = dtype !== undefined && floats.has(info.dtype) && info.dtype !== stored[dtype]
    return { name, shape: info.shape, dtype: changes ? stored[dtype] : info.dtype, changes }
  })

/** Stored bytes of a tensor that stays as it is, a block at a time. */
async function* blocks(checkpoint: Checkpoint, name: string): AsyncGenerator<Uint8Array> {
  for await (const { bytes } of checkpoint.rows(name)) yield bytes
}

const dataOf = async (
  checkpoint: Checkpoint,
  { name, changes }: { readonly name: string; readonly changes: boolean },
  dtype: CheckpointForm['dtype'],
): Promise<Bytes> =>
  changes ? encode(convertValue(await checkpoint.read(name), dtype!)).data : blocks(checkpoint, name)

/** How a checkpoint is written in another form. */
interface Rewriting extends CheckpointForm, Pick<CheckpointWriterOptions, 'overwrite'> {
  readonly onProgress?: (event: Progress) => void
  readonly signal?: AbortSignal
}

const rewrite = async (
  checkpoint: Checkpoint,
  folder: string,
  { dtype, maxShardBytes = Infinity, overwrite, onProgress, signal }: Rewriting,
): Promise<void> => {
  const plans = planned(checkpoint, dtype)
  await using writer = await CheckpointWriter.create(folder, plans, { maxShardBytes, overwrite })
  for (const [done, plan] of plans.entries()) {
    signal?.throwIfAborted()
    onProgress?.({ status: 'progress', name: plan.name, done, total: plans.length, unit: 'tensors' })
    await writer.write(plan.name, () => dataOf(checkpoint, plan, dtype))
  }
  const { config } = checkpoint
  const named = ['dtype', 'torch_dtype'].filter((key) => dtype !== undefined && key in config)
  const said = Object.fromEntries(named.map((key) => [key, dtype!]))
  await writer.finish({ 'config.json': named.length ? { ...config, ...said } : config })
}

const rewriteModel = async (folder: string, form: CheckpointForm): Promise<void> => {
  await using checkpoint = await open(folder)
  await rewrite(checkpoint, folder, { ...form, overwrite: true })
}

/**
 * Writes `checkpoint`, in whichever form it lies (PyTorch's, safetensors), to `folder` as a Hugging Face checkpoint in
 * safetensors, with its tokenizer and other companions, a tensor in memory at a time. Throws UsageError where the folder holds
 * weights already.
 */
export const convertCheckpoint = async (
  checkpoint: Checkpoint,
  folder: string,
  options: Omit<Rewriting, 'overwrite'> = {},
): Promise<void> => {
  await rewrite(checkpoint, folder, options)
  const onDisk = await stat(checkpoint.folder).catch(() => undefined)
  if (onDisk?.isDirectory() && (options.copyTokenizer ?? true))
    await copyCompanions(checkpoint.folder, folder)
}

const rewriteAdapter = async (
  folder: string,
  file: string,
  dtype: CheckpointForm['dtype'],
): Promise<void> => {
  const { tensors } = await readAdapter(folder)
  await using checkpoint = tensors
  const plans = planned(checkpoint, dtype)
  const data = plans.map((plan): TensorData => ({ ...plan, data: () => dataOf(checkpoint, plan, dtype) }))
  const path = join(folder, `${file}.form`)
  try {
    await writeSafetensors(path, data, checkpoint.metadata)
    await rename(path, join(folder, file))
  } finally {
    await rm(path, { force: true })
  }
}

/**
 * Writes the checkpoint (or adapter) in `folder` again in the form given, and those in its sub-folders, a tensor in memory
 * at a time. Without a form nothing is touched. Throws CheckpointError for a folder that cannot be read.
 */
export const reformat = async (folder: string, form: CheckpointForm): Promise<void> => {
  const { dtype, maxShardBytes, copyTokenizer = true } = form
  const entries = await readdir(folder, { withFileTypes: true })
  for (const entry of entries) if (entry.isDirectory()) await reformat(join(folder, entry.name), form)
  if (!copyTokenizer) await removeCompanions(folder)
  const files = entries.map(({ name }) => name)
  const adapter = files.find((name) => name === 'adapter_model.safetensors')
  if (adapter !== undefined && dtype !== undefined) await rewriteAdapter(folder, adapter, dtype)
  if (files.some(isWeights) && (dtype !== undefined || maxShardBytes !== undefined))
    await rewriteModel(folder, form)
}
