/** @file Adapter folders as PEFT reads and writes them: adapter_config.json, adapter_model.safetensors, README.md. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { CheckpointError, nearest, UsageError } from '../errors.js'
import { writeFileAtomic } from './atomic.js'
import type { Checkpoint } from './checkpoint.js'
import { diskFiles } from './disk.js'
import { openFile, readJson } from './folder.js'
import { formatJson, type JsonObject } from './json.js'
import { resolveModel } from './open.js'
import { type TensorData, writeSafetensors } from './write.js'
import { exists } from './paths.js'

const configFile = 'adapter_config.json'
const weightsFile = 'adapter_model.safetensors'
/** What PEFT wrote at first: a state dict of PyTorch's. */
const olderFile = 'adapter_model.bin'

/** An open adapter. */
export interface Adapter {
  readonly folder: string
  /** adapter_config.json as it is written; `peft_type` is there. */
  readonly config: JsonObject & { readonly peft_type: string }
  /** Tensors under their names in the file, read on demand. Close it when done. */
  readonly tensors: Checkpoint
}

/** The names of the adapters in `folder`: `default` for the folder itself, and its sub-folders that are adapters. */
export const adapterNames = async (folder: string): Promise<string[]> => {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
  const names = (await exists(join(folder, configFile))) ? ['default'] : []
  for (const entry of entries)
    if (entry.isDirectory() && (await exists(join(folder, entry.name, configFile)))) names.push(entry.name)
  return names
}

/**
 * Opens the adapter `name` of `folder` (a folder, or a hub id in the cache): the folder itself for `default`, else its
 * sub-folder of that name. Throws CheckpointError when there is none, or its config or tensors are broken.
 */
export const readAdapter = async (folder: string, name = 'default'): Promise<Adapter> => {
  const root = await resolveModel(folder)
  const names = await adapterNames(root)
  if (!names.includes(name))
    throw new CheckpointError(
      'NoSuchAdapter',
      `${folder}: no adapter ${JSON.stringify(name)} (${configFile}).`,
      {
        hint: names.length ? `It holds: ${nearest(name, names, 5).join(', ')}.` : 'It is no adapter folder.',
      },
    )
  const path = name === 'default' ? root : join(root, name)
  const files = diskFiles(path)
  const config = await readJson(files, configFile)
  const { peft_type: type } = config
  if (typeof type !== 'string')
    throw new CheckpointError(
      'InvalidAdapter',
      `${path}/${configFile}: peft_type is missing, so the method is unknown.`,
    )
  const isOlder = !(await exists(join(path, weightsFile))) && (await exists(join(path, olderFile)))
  const tensors = await openFile(files, isOlder ? olderFile : weightsFile)
  return { folder: path, config: { ...config, peft_type: type }, tensors }
}

/** Options of `writeAdapter`. */
export interface WriteAdapterOptions {
  /** The base model: a hub id or a folder. Goes into the config and the README. */
  readonly base?: string
  /** An adapter that is not `default` goes into the sub-folder of its name. */
  readonly name?: string
  /** More `__metadata__` beside {format: 'pt'}: the SHA-256 of the base tensors, say. */
  readonly metadata?: Record<string, string>
}

const yaml = (text: string): string => (/^[\w./-]+$/.test(text) ? text : JSON.stringify(text))

const card = (base: string | undefined, type: string): string =>
  [
    '---',
    ...(base ? [`base_model: ${yaml(base)}`] : []),
    'library_name: peft',
    'tags:',
    ...(base ? [`- ${yaml(`base_model:adapter:${base}`)}`] : []),
    `- ${yaml(type.toLowerCase())}`,
    '- weft',
    '---',
    '',
    `# ${type} adapter${base ? ` of ${base}` : ''}`,
    '',
  ].join('\n')

/**
 * Writes an adapter folder that PEFT loads. `config`: the keys of adapter_config.json, `peft_type` among them;
 * `tensors`: under PEFT's names. A README.md that is there already is kept. Every file appears complete or not at all,
 * the config last. Throws UsageError for a name that is none.
 */
export const writeAdapter = async (
  folder: string,
  config: JsonObject & { readonly peft_type: string },
  tensors: Iterable<TensorData> | AsyncIterable<TensorData>,
  { base, name = 'default', metadata = {} }: WriteAdapterOptions = {},
): Promise<void> => {
  if (!/^[\w-][\w.-]*$/.test(name))
    throw new UsageError(
      'BadAdapterName',
      `adapter name ${JSON.stringify(name)}: expected letters, digits, "_", "-", ".".`,
    )
  const path = name === 'default' ? folder : join(folder, name)
  await writeSafetensors(join(path, weightsFile), tensors, { format: 'pt', ...metadata })
  const readme = join(path, 'README.md')
  if (!(await exists(readme))) await writeFileAtomic(readme, card(base, config.peft_type))
  const complete = base === undefined ? config : { ...config, base_model_name_or_path: base }
  await writeFileAtomic(join(path, configFile), formatJson(complete))
}
