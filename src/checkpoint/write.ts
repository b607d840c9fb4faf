/** @file Writing tensors: one safetensors file, or a sharded Hugging Face folder, in bounded memory and atomically. */
import { readdir, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { CheckpointError, nearest, UsageError } from '../errors.js'
import { sameShape } from '../tensor/shape.js'
import type { Value } from '../tensor/value.js'
import { TemporaryFile } from './atomic.js'
import { encode } from './convert.js'
import { formatJson, type JsonObject } from './json.js'
import { layOut, tensorBytes, type TensorInfo, type TensorPlan } from './safetensors.js'

/** A tensor's stored bytes: at once, or in pieces, in order. */
export type Bytes = Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>

/** A tensor with its bytes. A function is called when its turn comes, so that one tensor is in memory at a time. */
export interface TensorData extends TensorPlan {
  readonly data: Bytes | (() => Bytes | Promise<Bytes>)
}

/** What Transformers expects to find in every file. */
const defaultMetadata = { format: 'pt' }

/** One safetensors file in the making: its header is written first, its tensors in any order. */
class FileWriter {
  private readonly done = new Map<string, number>()
  private constructor(
    readonly file: TemporaryFile,
    readonly tensors: ReadonlyMap<string, TensorInfo>,
  ) {}

  static async create(
    path: string,
    plans: Iterable<TensorPlan>,
    metadata: Record<string, string>,
  ): Promise<FileWriter> {
    const { header, tensors } = layOut(plans, metadata, path)
    const file = await TemporaryFile.create(path)
    try {
      await file.write(header, 0)
    } catch (error) {
      await file.discard()
      throw error
    }
    return new FileWriter(file, new Map(tensors.map((info) => [info.name, info])))
  }

  /** Appends `bytes` to the tensor `name`. */
  async append(name: string, bytes: Uint8Array): Promise<void> {
    const { offset, length } = this.tensors.get(name)!
    const at = this.done.get(name) ?? 0
    if (at + bytes.length > length) throw this.error(name, `more than its ${length} bytes were written`)
    this.done.set(name, at + bytes.length)
    await this.file.write(bytes, offset + at)
  }

  async appendAll(name: string, data: TensorData['data']): Promise<void> {
    const bytes = typeof data === 'function' ? await data() : data
    if (bytes instanceof Uint8Array) await this.append(name, bytes)
    else for await (const piece of bytes) await this.append(name, piece)
  }

  /** Throws CheckpointError when a tensor lacks bytes. */
  async seal(): Promise<void> {
    for (const { name, length } of this.tensors.values()) {
      const at = this.done.get(name) ?? 0
      if (at !== length) throw this.error(name, `only ${at} of its ${length} bytes were written`)
    }
    await this.file.seal()
  }

  private error(name: string, message: string): CheckpointError {
    return new CheckpointError(
      'IncompleteTensor',
      `${this.file.final}: tensor ${JSON.stringify(name)}: ${message}.`,
    )
  }
}

/**
 * Writes `tensors` to the safetensors file `path`, laid out as the reference library does. Atomic: a temporary file,
 * fsync, rename; on failure nothing is left. Names, dtypes and shapes are read first (the header holds them); then
 * each tensor's data in turn. Throws CheckpointError when the data do not fill a tensor.
 */
export const writeSafetensors = async (
  path: string,
  tensors: Iterable<TensorData> | AsyncIterable<TensorData>,
  metadata: Record<string, string> = defaultMetadata,
): Promise<void> => {
  const all: TensorData[] = []
  for await (const tensor of tensors) all.push(tensor)
  const plans = all.map(({ name, dtype, shape }) => ({ name, dtype, shape }))
  const writer = await FileWriter.create(path, plans, metadata)
  try {
    for (const { name, data } of all) await writer.appendAll(name, data)
    await writer.seal()
    await writer.file.publish()
  } catch (error) {
    await writer.file.discard()
    throw error
  }
}

/** Options of a `CheckpointWriter`. */
export interface CheckpointWriterOptions {
  /** A shard holds at most this many bytes of tensors (or one larger tensor). 5e9 by default. */
  readonly maxShardBytes?: number
  /** `__metadata__` of every file; {format: 'pt'} by default. */
  readonly metadata?: Record<string, string>
  /** Replace the weights that the folder holds already; by default they are an error. */
  readonly overwrite?: boolean
}

/** Whether `file` is one that `CheckpointWriter` writes weights or their index to. */
export const isWeights = (file: string): boolean =>
  /^model(-\d+-of-\d+)?\.safetensors(\.index\.json)?$/.test(file)

/** Consecutive tensors, as many as fit, in each shard. */
export const shardsOf = <T extends TensorPlan>(plans: readonly T[], maxShardBytes: number): T[][] => {
  const shards: T[][] = [[]]
  let size = 0
  for (const plan of plans) {
    const bytes = tensorBytes(plan.dtype, plan.shape)
    if (size > 0 && size + bytes > maxShardBytes) {
      shards.push([])
      size = 0
    }
    shards.at(-1)!.push(plan)
    size += bytes
  }
  return shards
}

/** The name of shard `i` (from 0) of `n`. */
export const shardName = (i: number, n: number): string => {
  const five = (k: number): string => String(k).padStart(5, '0')
  return n === 1 ? 'model.safetensors' : `model-${five(i + 1)}-of-${five(n)}.safetensors`
}

const indexFile = 'model.safetensors.index.json'

/**
 * Writes the weights of a Hugging Face folder, sharded by size. All names, dtypes and shapes are given first; then
 * every tensor is written whole or in pieces, the tensors in any order. Nothing stands under a final name before
 * `finish`; `abort` (or leaving the scope of `await using`) removes what was written.
 */
export class CheckpointWriter implements AsyncDisposable {
  private readonly side: TemporaryFile[] = []
  private finished = false
  private constructor(
    readonly folder: string,
    private readonly shards: FileWriter[],
    private readonly byName: ReadonlyMap<string, FileWriter>,
  ) {}

  /** Throws UsageError when the folder holds weights and `overwrite` is not set, CheckpointError for a bad plan. */
  static async create(
    folder: string,
    tensors: Iterable<TensorPlan>,
    { maxShardBytes = 5e9, metadata = defaultMetadata, overwrite = false }: CheckpointWriterOptions = {},
  ): Promise<CheckpointWriter> {
    const there = (await readdir(folder).catch(() => [])).find(isWeights)
    if (there && !overwrite)
      throw new UsageError('FolderInUse', `${folder} already holds ${there}.`, {
        hint: 'Choose another folder, or overwrite it on purpose (--force).',
      })
    const plans = [...tensors].map(({ name, dtype, shape }) => ({ name, dtype, shape }))
    layOut(plans, metadata, folder) // A name in two shards is found here, before anything is written.
    const split = shardsOf(plans, maxShardBytes)
    const shards: FileWriter[] = []
    try {
      for (const [i, shard] of split.entries())
        shards.push(await FileWriter.create(join(folder, shardName(i, split.length)), shard, metadata))
    } catch (error) {
      for (const shard of shards) await shard.file.discard()
      throw error
    }
    const byName = new Map(
      shards.flatMap((shard) => [...shard.tensors.keys()].map((name) => [name, shard] as const)),
    )
    return new CheckpointWriter(folder, shards, byName)
  }

  /** Writes (or, when called again, appends) stored bytes `data` [n] of the tensor `name`. */
  async write(name: string, data: TensorData['data']): Promise<void> {
    await this.shardOf(name).appendAll(name, data)
  }

  /** Writes `value` as the tensor `name`; dtype and shape are the planned ones. Throws CheckpointError where they are not. */
  async writeValue(name: string, value: Value): Promise<void> {
    const { dtype, shape } = this.shardOf(name).tensors.get(name)!
    const stored = encode(value)
    if (stored.dtype !== dtype || !sameShape(stored.shape, shape))
      throw new CheckpointError(
        'TensorMismatch',
        `${this.folder}: tensor ${JSON.stringify(name)} is ${stored.dtype} [${stored.shape}], planned as ${dtype} [${shape}].`,
      )
    await this.write(name, stored.data)
  }

  /**
   * Checks that every tensor is complete, writes the index and the side files (`{'config.json': config, ...}`), and
   * gives everything its final name.
   */
  async finish(sideFiles: Readonly<Record<string, JsonObject | string>> = {}): Promise<void> {
    try {
      for (const shard of this.shards) await shard.seal()
      if (this.shards.length > 1) await this.addSide(indexFile, this.index())
      for (const [file, content] of Object.entries(sideFiles)) await this.addSide(file, content)
      await this.publish()
    } catch (error) {
      await this.abort()
      throw error
    }
  }

  /** Removes everything that was written. Does nothing after `finish`. */
  async abort(): Promise<void> {
    if (this.finished) return
    this.finished = true
    for (const file of this.files()) await file.discard()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.abort()
  }

  private files(): TemporaryFile[] {
    return [...this.shards.map((shard) => shard.file), ...this.side]
  }

  private async publish(): Promise<void> {
    // While shards are replaced one by one, an old index would tie new ones to old ones.
    if (this.shards.length > 1) await rm(join(this.folder, indexFile), { force: true })
    for (const file of this.files()) await file.publish()
    this.finished = true
    const mine = new Set(this.files().map((file) => basename(file.final)))
    for (const file of await readdir(this.folder))
      if (isWeights(file) && !mine.has(file)) await rm(join(this.folder, file))
  }

  private async addSide(name: string, content: JsonObject | string): Promise<void> {
    const file = await TemporaryFile.create(join(this.folder, name))
    this.side.push(file)
    await file.write(
      new TextEncoder().encode(typeof content === 'string' ? content : formatJson(content) + '\n'),
      0,
    )
    await file.seal()
  }

  private index(): JsonObject {
    const map: [string, string][] = [...this.byName].map(([name, shard]) => [
      name,
      basename(shard.file.final),
    ])
    const infos = this.shards.flatMap((shard) => [...shard.tensors.values()])
    return {
      metadata: { total_size: infos.reduce((sum, { length }) => sum + length, 0) },
      weight_map: Object.fromEntries(map),
    }
  }

  private shardOf(name: string): FileWriter {
    const shard = this.byName.get(name)
    if (!shard)
      throw new CheckpointError(
        'NoSuchTensor',
        `${this.folder}: tensor ${JSON.stringify(name)} was not planned.`,
        {
          hint: `Nearest: ${nearest(name, this.byName.keys()).join(', ')}.`,
        },
      )
    return shard
  }
}
