/** @file Writes a model as a Hugging Face folder. In a file of its own, because it needs a disk. */
import { stat } from 'node:fs/promises'
import { type Checkpoint, CheckpointWriter, convertValue, copyCompanions } from '../checkpoint/index.js'
import { value, type Value } from '../tensor/index.js'
import type { Parameters } from './model.js'
import type { Stored } from './reconcile.js'

/** The numbers as they are stored: in the dtype of the checkpoint's own tensor where that is a float of Weft's. */
const narrowed = async (v: Value, stored: Stored, name: string): Promise<Value> => {
  const host = value(await v.read(), v.shape, v.dtype)
  const { dtype } = stored.info(name)
  return dtype === 'BF16'
    ? convertValue(host, 'bfloat16')
    : dtype === 'F16'
      ? convertValue(host, 'float16')
      : host
}

/** The bytes of a tensor that did not change, a block at a time. */
async function* copied(checkpoint: Checkpoint, name: string): AsyncGenerator<Uint8Array> {
  for await (const { bytes } of checkpoint.rows(name)) yield bytes
}

/**
 * Writes the model to `folder`: config.json as it was, every tensor once (tied ones under their first name; trained ones
 * rounded to the dtype that the checkpoint has them in), tokenizer and other companions. Throws UsageError when the
 * folder holds weights already.
 */
export const saveModel = async (
  checkpoint: Checkpoint,
  stored: Stored,
  parameters: Parameters<Value>,
  folder: string,
): Promise<void> => {
  const names = stored.table.filter(({ tied }) => tied === undefined).map(({ name }) => name)
  const trained = (name: string): boolean => Object.hasOwn(parameters, name)
  const plans = names.map((name) => {
    const { dtype, shape } = stored.info(name)
    const kept = !trained(name) || dtype === 'BF16' || dtype === 'F16' || dtype === 'I64'
    return { name, shape, dtype: kept ? dtype : 'F32' } as const
  })
  await using writer = await CheckpointWriter.create(folder, plans)
  for (const name of names)
    if (trained(name)) await writer.writeValue(name, await narrowed(parameters[name], stored, name))
    else await writer.write(name, copied(checkpoint, stored.info(name).name))
  await writer.finish({ 'config.json': checkpoint.config })
  const onDisk = await stat(checkpoint.folder).catch(() => undefined)
  if (onDisk?.isDirectory()) await copyCompanions(checkpoint.folder, folder)
}
