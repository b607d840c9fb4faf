/** @file `weft inspect`: what is in a checkpoint, from its headers alone. */
import type { Checkpoint, JsonObject, OpenOptions } from '../checkpoint/index.js'
import { formatBytes, short } from './progress.js'
import { grouped, table } from './table.js'
import { action } from './verb.js'
import type { Verb } from './verb.js'
import { maxOf } from '../tensor/numbers.js'
import { sizeOf } from '../tensor/shape.js'

/** One tensor as its file's header describes it. */
export interface TensorRow {
  name: string
  dtype: string
  shape: readonly number[]
  bytes: number
  file: string
}

/** What `weft inspect --json` prints. */
export interface Inspection {
  folder: string
  modelType?: string
  architectures: string[]
  parameters: number
  bytes: number
  files: string[]
  dtypes: { dtype: string; tensors: number; parameters: number; bytes: number }[]
  config: JsonObject
  metadata: Readonly<Record<string, string>>
  modules: { name: string; parameters: number; tensors: Record<string, readonly number[]> }[]
  tensors: TensorRow[]
}

export const inspect: Verb = {
  group: 'Checkpoints',
  ...action({
    name: 'inspect',
    summary: 'show architecture, parameters, dtypes, modules and tensors of a checkpoint',
    arguments: [
      {
        name: 'model',
        summary: 'a Hugging Face folder, a .safetensors file, or a hub id in the cache',
        names: 'model',
      },
    ],
    examples: [
      'weft inspect models/SmolLM2-135M',
      'weft inspect models/SmolLM2-135M --modules      # names that --targets can match',
      'weft inspect HuggingFaceTB/SmolLM2-135M --json | jq .parameters',
    ],
    options: async () => {
      const [{ z }, { common, flag }] = await Promise.all([import('zod'), import('./options.js')])
      return z.object({
        modules: flag(z.boolean().default(false), 'list the modules, repeated blocks folded into one line'),
        tensors: flag(z.boolean().default(false), 'list every tensor with its dtype, shape and file'),
        strict: common.strict,
      })
    },
    run: async ({ arguments: { model }, options }, context) => {
      const { checkpoint, config } = await openAny(model, { strict: options.strict, onWarning: context.info })
      try {
        context.result(describe(checkpoint, config), (inspection) => page(inspection, options))
      } finally {
        await checkpoint.close()
      }
    },
  }),
}

/** The checkpoint of that name, or the adapter. */
const openAny = async (
  model: string,
  options: OpenOptions,
): Promise<{ checkpoint: Checkpoint; config: JsonObject }> => {
  const { adapterNames, open, readAdapter, resolveModel } = await import('../checkpoint/index.js')
  const [adapter] = await adapterNames(await resolveModel(model))
  if (adapter !== undefined) {
    const { tensors, config } = await readAdapter(model, adapter)
    return { checkpoint: tensors, config }
  }
  const checkpoint = await open(model, options)
  return { checkpoint, config: checkpoint.config }
}

const sum = <T>(items: readonly T[], of: (item: T) => number): number =>
  items.reduce((total, item) => total + of(item), 0)

const groupBy = <T>(items: readonly T[], key: (item: T) => string): [string, T[]][] => {
  const groups = new Map<string, T[]>()
  for (const item of items) {
    const group = groups.get(key(item))
    if (group) group.push(item)
    else groups.set(key(item), [item])
  }
  return [...groups]
}

const text = (json: unknown): string | undefined => (typeof json === 'string' ? json : undefined)

// `layers.10` after `layers.9`.
const byName = (a: string, b: string): number => a.localeCompare(b, 'en', { numeric: true })

/** What the headers of an open checkpoint say. Parameters are counted as stored: a tied tensor once. */
export const describe = (checkpoint: Checkpoint, config: JsonObject): Inspection => {
  const tensors = checkpoint
    .names()
    .sort(byName)
    .map((name): TensorRow => {
      const { dtype, shape, length, file } = checkpoint.info(name)
      return { name, dtype, shape, bytes: length, file }
    })
  const { folder, metadata } = checkpoint
  return {
    folder,
    modelType: text(config.model_type) ?? text(config.peft_type),
    architectures: Array.isArray(config.architectures) ? config.architectures.map(String) : [],
    parameters: sum(tensors, (t) => sizeOf(t.shape)),
    bytes: sum(tensors, (t) => t.bytes),
    files: [...new Set(tensors.map((t) => t.file))].sort(byName),
    dtypes: groupBy(tensors, (t) => t.dtype).map(([dtype, group]) => ({
      dtype,
      tensors: group.length,
      parameters: sum(group, (t) => sizeOf(t.shape)),
      bytes: sum(group, (t) => t.bytes),
    })),
    config,
    metadata,
    modules: groupBy(tensors, (t) => t.name.replace(/\.?[^.]*$/, '')).map(([name, group]) => ({
      name,
      parameters: sum(group, (t) => sizeOf(t.shape)),
      tensors: Object.fromEntries(group.map((t) => [t.name.slice(name ? name.length + 1 : 0), t.shape])),
    })),
    tensors,
  }
}

const dimensions = (shape: readonly number[]): string => (shape.length ? shape.join(' x ') : 'scalar')

/** Settings that say how large a model or an adapter is, under the names that architectures use. */
const sizes = [
  'base_model_name_or_path',
  'r',
  'lora_alpha',
  'target_modules',
  'modules_to_save',
  'num_hidden_layers',
  'n_layer',
  'num_layers',
  'depths',
  'hidden_size',
  'n_embd',
  'd_model',
  'hidden_sizes',
  'intermediate_size',
  'd_ff',
  'num_attention_heads',
  'n_head',
  'num_heads',
  'num_key_value_heads',
  'head_dim',
  'vocab_size',
  'max_position_embeddings',
  'sliding_window',
  'num_local_experts',
  'num_experts_per_tok',
  'image_size',
  'patch_size',
  'num_labels',
  'tie_word_embeddings',
]

const page = (inspection: Inspection, show: { modules: boolean; tensors: boolean }): string => {
  const { folder, modelType, architectures, parameters, bytes, files, tensors, config } = inspection
  const facts: [string, string][] = [
    ['checkpoint', folder],
    [
      'architecture',
      [...architectures, modelType ? `(${modelType})` : ''].filter(Boolean).join(' ') ||
        'unknown: no config.json',
    ],
    ['parameters', `${grouped(parameters)}${parameters >= 1e4 ? ` (${short(parameters)})` : ''}`],
    [
      'size',
      `${formatBytes(bytes)} in ${files.length} ${files.length === 1 ? 'file' : 'files'}, ${tensors.length} tensors`,
    ],
    ...sizes
      .filter((key) => config[key] !== undefined && config[key] !== null)
      .map((key): [string, string] => [key, [config[key]].flat().join(', ')]),
  ]
  const width = maxOf(facts.map(([name]) => name.length))
  return [
    facts.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join('\n'),
    dtypeTable(inspection),
    show.modules ? moduleTable(inspection) : '',
    show.tensors ? tensorTable(inspection) : '',
  ]
    .filter(Boolean)
    .join('\n\n')
}

const dtypeTable = ({ dtypes }: Inspection): string =>
  table(
    ['dtype', 'tensors', 'parameters', 'size'],
    dtypes.map((d) => [d.dtype, grouped(d.tensors), grouped(d.parameters), formatBytes(d.bytes)]),
  )

/** Modules that differ only in a number share a line: `model.layers.{0-29}.self_attn.q_proj`. */
const moduleTable = ({ modules }: Inspection): string => {
  const layout = (m: Inspection['modules'][number]): string =>
    Object.entries(m.tensors)
      .map(([name, shape]) => `${name} ${dimensions(shape)}`)
      .join(', ')
  const folded = groupBy(modules, (m) => `${m.name.replace(layerNumber, '#')}\n${layout(m)}`).map(
    ([, group]) => [
      fold(group.map((m) => m.name)) || '(top)',
      String(group.length),
      grouped(sum(group, (m) => m.parameters)),
      layout(group[0]),
    ],
  )
  return table(['module', 'count', 'parameters', 'tensors (each)'], folded)
}

// A layer's number stands alone between dots; the 1 of `ln_1` is part of its name.
const layerNumber = /(?<=^|\.)\d+(?=\.|$)/g

const fold = (names: readonly string[]): string => {
  const numbers = names.map((name) => (name.match(layerNumber) ?? []).map(Number))
  let place = 0
  return names[0].replace(layerNumber, () => {
    const values = [...new Set(numbers.map((row) => row[place]))].sort((a, b) => a - b)
    place++
    const [first, last] = [values[0], values[values.length - 1]]
    if (values.length === 1) return String(first)
    return last - first === values.length - 1 ? `{${first}-${last}}` : `{${values.join(',')}}`
  })
}

const tensorTable = ({ tensors }: Inspection): string =>
  table(
    ['tensor', 'dtype', 'shape', 'size', 'file'],
    tensors.map((t) => [t.name, t.dtype, dimensions(t.shape), formatBytes(t.bytes), t.file]),
  )
