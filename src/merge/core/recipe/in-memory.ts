/** @file Checkpoints that lie in memory: merged candidates of a search, and models in training that are to be merged. */
import {
  Checkpoint,
  encode,
  type JsonObject,
  type RandomAccess,
  tensorBytes,
  type TensorInfo,
} from '../../../checkpoint/index.js'
import type { Model } from '../../../models/index.js'
import { value } from '../../../tensor/index.js'
import type { MergeMethod } from '../method.js'
import { mergedBytes } from '../planned.js'
import { planMerge } from './plan.js'
import type { Recipe } from './recipe.js'

/** Models by the names that recipes use. */
export type Opened = ReadonlyMap<string, Checkpoint>

/** A tensor and its bytes. */
interface Part extends Pick<TensorInfo, 'name' | 'dtype' | 'shape'> {
  readonly bytes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>
}

const held = async (folder: string, config: JsonObject, parts: readonly Part[]): Promise<Checkpoint> => {
  const size = parts.reduce((sum, { dtype, shape }) => sum + tensorBytes(dtype, shape), 0)
  const all = new Uint8Array(size)
  const tensors = new Map<string, TensorInfo>()
  let end = 0
  for (const { name, dtype, shape, bytes } of parts) {
    const offset = end
    for await (const block of bytes) {
      all.set(block, end)
      end += block.length
    }
    tensors.set(name, { name, dtype, shape, file: 'memory', offset, length: end - offset })
  }
  const file: RandomAccess = {
    size,
    read: async (into, offset) => into.set(all.subarray(offset, offset + into.length)),
    close: async () => {},
  }
  return new Checkpoint({ folder, config, metadata: {}, tensors, files: new Map([['memory', file]]) })
}

/**
 * What `recipe` gives, in float32, by one of `methods`. Its folder is that of the model whose config and tokenizer it has.
 * Throws what `planMerge` throws, and CheckpointError for numbers that are not finite.
 */
export const mergedInMemory = async (
  recipe: Recipe,
  opened: Opened,
  { methods }: { readonly methods: readonly MergeMethod[] },
): Promise<Checkpoint> => {
  const { tensors, config, method, donor } = await planMerge({ ...recipe, dtype: 'float32' }, opened, {
    methods,
  })
  return held(
    donor.folder,
    config,
    tensors.map((plan) => ({ ...plan, bytes: mergedBytes(plan, method) })),
  )
}

/** A model of which all tensors train, as it is now. `folder` stands for it in messages and reports. */
export const modelInMemory = async (
  { checkpoint, parameters }: Pick<Model, 'checkpoint' | 'parameters'>,
  folder: string = checkpoint.folder,
): Promise<Checkpoint> => {
  const parts = Object.entries(parameters).map(async ([name, v]): Promise<Part> => {
    const { data } = encode(value(await v.read(), v.shape, v.dtype))
    return { name, dtype: v.dtype === 'int64' ? 'I64' : 'F32', shape: v.shape, bytes: [data] }
  })
  return held(folder, checkpoint.config, await Promise.all(parts))
}
