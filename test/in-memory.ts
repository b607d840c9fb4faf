/** @file Checkpoints made of tensors, in memory. */
import {
  type Checkpoint,
  encode,
  formatJson,
  type JsonObject,
  layOut,
  openBytes,
} from '../src/checkpoint/web.js'
import type { Value } from '../src/tensor/index.js'

/** A checkpoint of these tensors in one file. */
export const inMemory = (
  config: JsonObject,
  tensors: Readonly<Record<string, Value>>,
): Promise<Checkpoint> => {
  const stored = Object.entries(tensors).map(([name, v]) => ({ name, ...encode(v) }))
  const { header, tensors: places, size } = layOut(stored, {}, 'model.safetensors')
  const bytes = new Uint8Array(size)
  bytes.set(header)
  for (const { name, offset } of places) bytes.set(encode(tensors[name]).data, offset)
  return openBytes({
    'config.json': new TextEncoder().encode(formatJson(config)),
    'model.safetensors': bytes,
  })
}

/** Every tensor of a checkpoint, as it is stored. */
export const tensorsOf = async (checkpoint: Checkpoint): Promise<Record<string, Value>> => {
  const all: Record<string, Value> = {}
  for (const name of checkpoint.names()) all[name] = await checkpoint.read(name)
  return all
}
