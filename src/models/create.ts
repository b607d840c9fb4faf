/** @file New models: an architecture and a size, with weights drawn at random. */
import {
  encode,
  formatJson,
  type JsonObject,
  layOut,
  openBytes,
  type TensorPlan,
  withFloats,
} from '../checkpoint/web.js'
import { keyOf, normal } from '../random/index.js'
import { castValue, sizeOf, value, type Value } from '../tensor/index.js'
import type { WeightSpec } from './architecture.js'
import { architectureFor } from './architectures.js'
import type { Model } from './model.js'
import { openModel } from './open.js'

/** Options of `createModel`. */
export interface CreateOptions {
  /** Seed of the random weights. Default 0. */
  readonly seed?: number | string
}

/** What fills a tensor with one number: a bias, a norm, what its architecture says; undefined where it is random. */
const constantOf = ({ name, kind, initial }: WeightSpec): number | undefined =>
  initial ??
  (kind === 'bias' || kind === 'buffer' || name.endsWith('.bias') ? 0 : kind === 'norm' ? 1 : undefined)

/** Random weights depend on the seed and their name alone. */
export const initialValue = (spec: WeightSpec, range: unknown, seed: number | string): Value => {
  const data = new Float32Array(sizeOf(spec.shape))
  const constant = constantOf(spec)
  if (constant !== undefined)
    return castValue(value(data.fill(constant), spec.shape, 'float32'), spec.dtype ?? 'float32')
  normal(data, keyOf(`${seed}/${spec.name}`))
  const deviation = typeof range === 'number' ? range : (spec.deviation ?? 0.02)
  return value(
    data.map((x) => x * deviation),
    spec.shape,
    'float32',
  )
}

/**
 * A new model that trains whole. config: the keys of a config.json, of which `model_type` chooses the architecture and
 * `initializer_range` is the standard deviation of the weights (default: what the architecture's table says, else 0.02).
 * It is in memory until it is saved.
 * Throws CheckpointError for an unknown architecture and a configuration that is unusable.
 */
export const createModel = async (config: JsonObject, { seed = 0 }: CreateOptions = {}): Promise<Model> => {
  const architecture = architectureFor(config)
  const table = architecture.table(architecture.readConfig(config)).filter(({ tied }) => tied === undefined)
  const plans = table.map(({ name, shape, dtype }): TensorPlan => ({
    name,
    dtype: dtype ? 'I64' : 'F32',
    shape,
  }))
  const { header, tensors, size } = layOut(plans, { format: 'pt' }, 'model.safetensors')
  const file = new Uint8Array(size)
  file.set(header)
  const specs = new Map(table.map((spec) => [spec.name, spec]))
  for (const { name, offset } of tensors)
    file.set(encode(initialValue(specs.get(name)!, config.initializer_range, seed)).data, offset)
  const json = new TextEncoder().encode(formatJson(withFloats(config)))
  const name = `new ${architecture.name}`
  return openModel(await openBytes({ 'config.json': json, 'model.safetensors': file }, name), {
    trainable: true,
  })
}
