/** @file A Hugging Face folder, from files anywhere: which files hold the weights, and which tensor is in which. */
import { CheckpointError } from '../errors.js'
import { Checkpoint, type RandomAccess } from './checkpoint.js'
import { decodeText, isJsonObject, type JsonObject, parseJsonObject } from './json.js'
import { headerLength, parseHeader, type SafetensorsHeader, type TensorInfo } from './safetensors.js'

/** The files of a folder, on disk or in memory. */
export interface Files {
  /** The folder as the user named it. */
  readonly folder: string
  /** Names of the files directly in it. */
  list(): Promise<string[]>
  /** Opens one. Throws CheckpointError when it is absent or leads out of the folder. */
  open(file: string): Promise<RandomAccess>
}

const indexName = (stem: string): string => `${stem}.safetensors.index.json`

/** No JSON side file of a checkpoint comes near this; beyond it, the file is not what its name says. */
const maximumJson = 200_000_000

/** `file` of the folder as a JSON object. */
export const readJson = async (files: Files, file: string): Promise<JsonObject> => {
  const source = await files.open(file)
  const shown = `${files.folder}/${file}`
  try {
    if (source.size > maximumJson)
      throw new CheckpointError('InvalidJson', `${shown}: ${source.size} bytes are too many for this file.`)
    const bytes = new Uint8Array(source.size)
    await source.read(bytes, 0)
    return parseJsonObject(decodeText(bytes, shown), shown)
  } finally {
    await source.close()
  }
}

/** Reads and checks the header of one safetensors file. */
export const readHeader = async (source: RandomAccess, shown: string): Promise<SafetensorsHeader> => {
  const prefix = new Uint8Array(Math.min(8, source.size))
  await source.read(prefix, 0)
  const json = new Uint8Array(headerLength(prefix, source.size, shown))
  await source.read(json, 8)
  return parseHeader(json, source.size, shown)
}

/** A shard is named by its bare file name; anything else could lead out of the folder. */
const checkShardName = (file: string, tensor: string, index: string): void => {
  if (!/^[^/\\:\0]+\.safetensors$/.test(file))
    throw new CheckpointError(
      'PathLeavesFolder',
      `${index}: tensor ${JSON.stringify(tensor)} is said to be in ${JSON.stringify(file)}, which is not the name of a safetensors file in this folder.`,
    )
}

const readIndex = async (files: Files, index: string): Promise<Map<string, string>> => {
  const shown = `${files.folder}/${index}`
  const { weight_map: map } = await readJson(files, index)
  if (!isJsonObject(map))
    throw new CheckpointError('InvalidIndex', `${shown}: weight_map is missing or no object.`)
  return new Map(
    Object.entries(map).map(([tensor, file]) => {
      if (typeof file !== 'string')
        throw new CheckpointError(
          'InvalidIndex',
          `${shown}: tensor ${JSON.stringify(tensor)} has no file name.`,
        )
      checkShardName(file, tensor, shown)
      return [tensor, file]
    }),
  )
}

/** What the index says and what the shards hold must be the same. */
const checkAgainstIndex = (
  map: Map<string, string>,
  found: Map<string, TensorInfo>,
  folder: string,
  index: string,
): void => {
  for (const [tensor, file] of map) {
    const info = found.get(tensor)
    if (info?.file !== file)
      throw new CheckpointError(
        'MissingTensor',
        `${folder}/${index}: tensor ${JSON.stringify(tensor)} should be in ${file}, which does not hold it${info ? `; ${info.file} does` : ''}.`,
      )
  }
  for (const [tensor, { file }] of found)
    if (!map.has(tensor))
      throw new CheckpointError(
        'UnexpectedTensor',
        `${folder}/${file}: tensor ${JSON.stringify(tensor)} is not in ${index}.`,
      )
}

interface Weights {
  files: Map<string, RandomAccess>
  tensors: Map<string, TensorInfo>
  metadata: Record<string, string>
}

/** Opens the weight files one by one into `weights`; on failure the caller closes what was opened. */
const openWeights = async (source: Files, names: string[], weights: Weights): Promise<void> => {
  for (const name of names) {
    const file = await source.open(name)
    weights.files.set(name, file)
    const shown = `${source.folder}/${name}`
    const header = await readHeader(file, shown)
    for (const [tensor, info] of header.tensors) {
      const other = weights.tensors.get(tensor)
      if (other)
        throw new CheckpointError(
          'DuplicateTensor',
          `${shown}: tensor ${JSON.stringify(tensor)} is also in ${other.file}.`,
        )
      weights.tensors.set(tensor, { ...info, file: name, path: file.path })
    }
    weights.metadata = { ...weights.metadata, ...header.metadata }
  }
}

const noWeights = (folder: string, stem: string, present: string[]): CheckpointError => {
  const pickle = present.find((file) => /\.(bin|pt|pth|ckpt)$/.test(file))
  const shard = present.find((file) => file.endsWith('.safetensors'))
  const hint = present.includes('adapter_config.json')
    ? 'It is an adapter folder: open its base model, and give the folder as the adapter.'
    : shard
      ? `It holds ${shard}, but no ${indexName(stem)} says what belongs together.`
      : pickle
        ? `It holds ${pickle}, a pickle, which can run code when it is read: convert it to safetensors first.`
        : undefined
  return new CheckpointError('NoWeights', `${folder}: neither ${stem}.safetensors nor ${indexName(stem)}.`, {
    hint,
  })
}

/** The checkpoint in one safetensors file of `source`, its configuration empty. */
export const openFile = (source: Files, file: string): Promise<Checkpoint> =>
  closingOnError(async (weights) => {
    await openWeights(source, [file], weights)
    return new Checkpoint({ folder: source.folder, config: {}, ...weights })
  })

/**
 * The Hugging Face checkpoint in the folder `source`: config.json, and model.safetensors or the shards that
 * model.safetensors.index.json names. Every header is read and checked; no tensor is.
 */
export const openFolder = (source: Files): Promise<Checkpoint> =>
  closingOnError(async (weights) => {
    const stem = 'model'
    const present = await source.list()
    if (present.includes(`${stem}.safetensors`)) await openWeights(source, [`${stem}.safetensors`], weights)
    else if (present.includes(indexName(stem))) {
      const map = await readIndex(source, indexName(stem))
      await openWeights(source, [...new Set(map.values())].sort(), weights)
      checkAgainstIndex(map, weights.tensors, source.folder, indexName(stem))
    } else throw noWeights(source.folder, stem, present)
    if (!present.includes('config.json'))
      throw new CheckpointError(
        'NoConfig',
        `${source.folder}: no config.json, so the architecture is unknown.`,
      )
    const config = await readJson(source, 'config.json')
    const generation = 'generation_config.json'
    const generationConfig = present.includes(generation) ? await readJson(source, generation) : undefined
    return new Checkpoint({ folder: source.folder, config, generationConfig, ...weights })
  })

const closingOnError = async (work: (weights: Weights) => Promise<Checkpoint>): Promise<Checkpoint> => {
  const weights: Weights = { files: new Map(), tensors: new Map(), metadata: {} }
  try {
    return await work(weights)
  } catch (error) {
    await Promise.all([...weights.files.values()].map((file) => file.close()))
    throw error
  }
}

class BytesFile implements RandomAccess {
  constructor(private readonly bytes: Uint8Array) {}
  get size(): number {
    return this.bytes.length
  }
  async read(into: Uint8Array, offset: number): Promise<void> {
    into.set(this.bytes.subarray(offset, offset + into.length))
  }
  async close(): Promise<void> {}
}

/**
 * A checkpoint that is already in memory (a page that fetched it, a test): the bytes of one safetensors file, or of
 * every file of a Hugging Face folder by name. `name` stands in messages where a folder's would.
 */
export const openBytes = (
  content: Uint8Array | Readonly<Record<string, Uint8Array>>,
  name = 'memory',
): Promise<Checkpoint> => {
  const single = content instanceof Uint8Array
  const all = new Map(single ? [['model.safetensors', content]] : Object.entries(content))
  const files: Files = {
    folder: name,
    list: async () => [...all.keys()],
    open: async (file) => {
      const bytes = all.get(file)
      if (!bytes) throw new CheckpointError('MissingFile', `${name}/${file}: no such file.`)
      return new BytesFile(bytes)
    },
  }
  return single ? openFile(files, 'model.safetensors') : openFolder(files)
}
