/** @file A Hugging Face folder, from files anywhere: which files hold the weights, and which tensor is in which. */
import { CheckpointError } from '../errors.js'
import { Checkpoint, type CheckpointParts, type RandomAccess } from './checkpoint.js'
import { isPytorchFile, readPytorch } from './formats/pytorch.js'
import { readWeightMap, tensorsByIndex } from './index-file.js'
import { decodeText, type JsonObject, parseJsonObject } from './json.js'
import {
  headerLength,
  parseHeader,
  type SafetensorsHeader,
  tensorBytes,
  type TensorInfo,
} from './safetensors.js'

/** The files of a folder, on disk or in memory. */
export interface Files {
  /** The folder as the user named it. */
  readonly folder: string
  /** Names of the files directly in it. */
  list(): Promise<string[]>
  /** Opens one. Throws CheckpointError when it is absent or leads out of the folder. */
  open(file: string): Promise<RandomAccess>
}

/** No JSON side file of a checkpoint comes near this; beyond it, the file is not what its name says. */
const maximumJson = 200_000_000

/** `file` of the folder as a JSON object. Throws CheckpointError where it is none, or too large. */
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

/** What is open so far: on failure it is closed. */
interface Shards {
  readonly files: Map<string, RandomAccess>
  readonly headers: Map<string, SafetensorsHeader>
  metadata: Record<string, string>
}

/** The tensors of a PyTorch file. One whose numbers are not in order is a file of its own, which gathers them. */
const pytorchTensors = async (
  file: RandomAccess,
  { name: fileName, shown }: { name: string; shown: string },
  shards: Shards,
): Promise<Map<string, TensorInfo>> => {
  const infos = new Map<string, TensorInfo>()
  for (const { file: gathered, ...tensor } of await readPytorch(file, shown)) {
    const source = `${fileName}#${tensor.name}`
    if (gathered) shards.files.set(source, gathered)
    // A session maps numbers where they lie at multiples of their size alone.
    const mapped = !gathered && tensor.offset % tensorBytes(tensor.dtype, []) === 0
    const place = gathered ? { file: source } : { file: fileName, ...(mapped && { path: file.path }) }
    infos.set(tensor.name, { ...tensor, ...place })
  }
  return infos
}

/** Opens the weight files one by one into `shards`. */
const openShards = async (source: Files, names: readonly string[], shards: Shards): Promise<void> => {
  for (const name of names) {
    const file = await source.open(name)
    shards.files.set(name, file)
    const shown = `${source.folder}/${name}`
    if (isPytorchFile(name)) {
      shards.headers.set(name, { tensors: await pytorchTensors(file, { name, shown }, shards), metadata: {} })
      continue
    }
    const { tensors, metadata } = await readHeader(file, shown)
    const placed = [...tensors].map(
      ([tensor, info]) => [tensor, { ...info, file: name, path: file.path }] as const,
    )
    shards.headers.set(name, { tensors: new Map(placed), metadata })
    shards.metadata = { ...shards.metadata, ...metadata }
  }
}

/** The names under which a folder's weights lie, likeliest first: one file, or the index of several. */
const weightFiles = [
  { single: 'model.safetensors', index: 'model.safetensors.index.json', ending: '.safetensors' },
  { single: 'pytorch_model.bin', index: 'pytorch_model.bin.index.json', ending: '.bin' },
] as const

const indexOf = (shard: string): string =>
  (weightFiles.find(({ ending }) => shard.endsWith(ending)) ?? weightFiles[1]).index

const noWeights = (folder: string, present: readonly string[]): CheckpointError => {
  const shard = present.find((file) => /\.(safetensors|bin|pt|pth|ckpt)$/.test(file))
  const hint = present.includes('adapter_config.json')
    ? 'It is an adapter folder: open its base model, and give the folder as the adapter.'
    : shard && `It holds ${shard}, but no ${indexOf(shard)} says what belongs together.`
  const wanted = weightFiles.flatMap(({ single, index }) => [single, index]).join(', ')
  return new CheckpointError('NoWeights', `${folder}: none of ${wanted}.`, { hint })
}

/** The checkpoint in one file of `source`, of safetensors or PyTorch's, its configuration empty. */
export const openFile = (source: Files, file: string): Promise<Checkpoint> =>
  closingOnError(async (shards) => {
    await openShards(source, [file], shards)
    const { files, metadata } = shards
    const { tensors } = shards.headers.get(file)!
    return new Checkpoint({ folder: source.folder, config: {}, files, metadata, tensors })
  })

/** Options of `openFolder`. */
export interface FolderOptions {
  /** Whether an index that is out of step with its shards is refused. Default false: it is a warning of the checkpoint. */
  readonly strict?: boolean
}

/** The tensors of the folder by name, and what was found amiss. */
const openWeights = async (
  source: Files,
  present: readonly string[],
  shards: Shards,
  { strict = false }: FolderOptions,
): Promise<Pick<CheckpointParts, 'tensors' | 'warnings'>> => {
  const files = weightFiles.find(({ single, index }) => present.includes(single) || present.includes(index))
  if (!files) throw noWeights(source.folder, present)
  const { single, index, ending } = files
  if (present.includes(single)) {
    await openShards(source, [single], shards)
    return { tensors: shards.headers.get(single)!.tensors }
  }
  const shown = `${source.folder}/${index}`
  const map = readWeightMap(await readJson(source, index), shown, ending)
  await openShards(source, [...new Set(map.values())].sort(), shards)
  return tensorsByIndex(map, shards.headers, { shown, strict })
}

/**
 * The Hugging Face checkpoint in the folder `source`: config.json, and model.safetensors or the shards that
 * model.safetensors.index.json names. Every header is read and checked; no tensor is. Throws CheckpointError for
 * anything broken, and with `strict` for an index that is out of step.
 */
export const openFolder = (source: Files, options: FolderOptions = {}): Promise<Checkpoint> =>
  closingOnError(async (shards) => {
    const present = await source.list()
    const weights = await openWeights(source, present, shards, options)
    if (!present.includes('config.json'))
      throw new CheckpointError(
        'NoConfig',
        `${source.folder}: no config.json, so the architecture is unknown.`,
      )
    const config = await readJson(source, 'config.json')
    const generation = 'generation_config.json'
    const generationConfig = present.includes(generation) ? await readJson(source, generation) : undefined
    const { files, metadata } = shards
    return new Checkpoint({ folder: source.folder, config, generationConfig, files, metadata, ...weights })
  })

const closingOnError = async (work: (shards: Shards) => Promise<Checkpoint>): Promise<Checkpoint> => {
  const shards: Shards = { files: new Map(), headers: new Map(), metadata: {} }
  try {
    return await work(shards)
  } catch (error) {
    await Promise.all([...shards.files.values()].map((file) => file.close()))
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
 * A checkpoint that is already in memory (a page that fetched it, a test): the bytes [n] of one safetensors file, or of
 * every file of a Hugging Face folder by name. `name` stands in messages where a folder's would. Throws CheckpointError as
 * `openFolder` does.
 */
export const openBytes = (
  content: Uint8Array | Readonly<Record<string, Uint8Array>>,
  name = 'memory',
  options: FolderOptions = {},
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
  return single ? openFile(files, 'model.safetensors') : openFolder(files, options)
}
