/** @file An open checkpoint: names, places and numbers of tensors, read on demand from whatever holds its files. */
import { CheckpointError, nearest } from '../errors.js'
import type { DType } from '../tensor/dtype.js'
import type { Value } from '../tensor/value.js'
import { decoder } from './convert.js'
import type { JsonObject } from './json.js'
import type { TensorInfo } from './safetensors.js'

/** A file that is read at any position. */
export interface RandomAccess {
  /** Size in bytes. */
  readonly size: number
  /** Path on disk, symbolic links resolved; absent when it is in memory. */
  readonly path?: string
  /** Fills `into` [n] with the bytes from `offset` on. Throws CheckpointError when the file ends before. */
  read(into: Uint8Array, offset: number): Promise<void>
  close(): Promise<void>
}

/** Blocks of rows: rows `start` to `end` (exclusive) along the first axis. `bytes` is reused by the next block. */
export interface RowBlock {
  readonly start: number
  readonly end: number
  readonly bytes: Uint8Array
}

/** Place of a tensor's numbers in float32, in a file on disk. */
export interface FloatPlace {
  /** Absolute path, symbolic links resolved. */
  readonly path: string
  readonly offset: number
  readonly length: number
  /** Sees to it that the file is there. */
  prepare(): Promise<void>
}

/** Float32 copies of a checkpoint's 16-bit tensors. */
export interface FloatCopies {
  /** Place of the tensor's copy; undefined where there is none. */
  place(info: TensorInfo): Promise<FloatPlace | undefined>
}

/** Parts that make a checkpoint. */
export interface CheckpointParts {
  /** The folder or file as the user named it; messages begin with it. */
  readonly folder: string
  readonly config: JsonObject
  readonly generationConfig?: JsonObject
  readonly metadata: Readonly<Record<string, string>>
  readonly tensors: ReadonlyMap<string, TensorInfo>
  readonly files: ReadonlyMap<string, RandomAccess>
  /** Sentences about what was found amiss, and passed over because the tensors that are there are right. Default none. */
  readonly warnings?: readonly string[]
  /** Default none. */
  readonly copies?: FloatCopies
}

/**
 * An open checkpoint. Nothing but headers is in memory: reading a tensor touches that tensor's bytes alone.
 * `config` is config.json as it is written (`normaliseConfig` gives it one spelling).
 */
export class Checkpoint implements AsyncDisposable {
  readonly folder: string
  readonly config: JsonObject
  readonly generationConfig?: JsonObject
  /** `__metadata__` of the weight files, merged. */
  readonly metadata: Readonly<Record<string, string>>
  /** Sentences about what was found amiss while opening: an index that is out of step with its shards. */
  readonly warnings: readonly string[]
  private readonly tensors: ReadonlyMap<string, TensorInfo>
  private readonly files: ReadonlyMap<string, RandomAccess>
  private readonly copies?: FloatCopies

  constructor(parts: CheckpointParts) {
    this.folder = parts.folder
    this.config = parts.config
    this.generationConfig = parts.generationConfig
    this.metadata = parts.metadata
    this.tensors = parts.tensors
    this.files = parts.files
    this.warnings = parts.warnings ?? []
    this.copies = parts.copies
  }

  /** This checkpoint's parts with others in place of some. */
  private but(parts: Partial<CheckpointParts>): Checkpoint {
    const { folder, config, generationConfig, metadata, tensors, files, warnings, copies } = this
    return new Checkpoint({
      ...{ folder, config, generationConfig, metadata, tensors, files, warnings, copies },
      ...parts,
    })
  }

  /** The same checkpoint with another config.json. Its files are this one's: only one of the two is to be closed. */
  withConfig(config: JsonObject): Checkpoint {
    return this.but({ config })
  }

  /** The same checkpoint, whose 16-bit tensors have float32 copies. Its files are this one's: only one of the two is to be closed. */
  withCopies(copies: FloatCopies): Checkpoint {
    return this.but({ copies })
  }

  /** Place of the tensor `name` in float32, where it is stored in 16 bits and has a copy. Throws CheckpointError for an unknown name. */
  async floatPlace(name: string): Promise<FloatPlace | undefined> {
    return this.copies?.place(this.info(name))
  }

  /** Every tensor's name, sorted. */
  names(): string[] {
    return [...this.tensors.keys()].sort()
  }

  /** Whether there is a tensor `name`. */
  has(name: string): boolean {
    return this.tensors.has(name)
  }

  /**
   * The same files with other names for their tensors: `names` gives the stored name of each. What it does not name is left
   * out. The files are shared: closing one closes both. Throws CheckpointError for a stored name that there is not.
   */
  renamed(names: ReadonlyMap<string, string>): Checkpoint {
    const tensors = [...names].map(([name, stored]) => [name, { ...this.info(stored), name }] as const)
    return this.but({ tensors: new Map(tensors) })
  }

  /** The tensors of this checkpoint and of `other`, which has other ones. Closing it closes both. */
  beside(other: Checkpoint): Checkpoint {
    const { folder, config, generationConfig, metadata, warnings } = this
    const fileOf = (name: string): string => `beside/${name}`
    const tensors = new Map(this.tensors)
    for (const [name, info] of other.tensors) tensors.set(name, { ...info, file: fileOf(info.file) })
    const files = new Map(this.files)
    for (const [name, file] of other.files) files.set(fileOf(name), file)
    return new Checkpoint({ folder, config, generationConfig, metadata, warnings, tensors, files })
  }

  /** Place, element type and shape of the tensor `name`. Throws CheckpointError with the nearest names when there is none. */
  info(name: string): TensorInfo {
    const info = this.tensors.get(name)
    if (!info)
      throw new CheckpointError('NoSuchTensor', `${this.folder}: no tensor ${JSON.stringify(name)}.`, {
        hint: `Nearest: ${nearest(name, this.tensors.keys()).join(', ') || 'none, the checkpoint is empty'}.`,
      })
    return info
  }

  /**
   * The tensor `name` as a value of `dtype`; by default the stored dtype where Weft has it, float32 for F8, and a
   * wide enough integer for I16, U16, U32 and U64. Narrow floats widen in place, without a second copy.
   */
  async read(name: string, dtype?: DType): Promise<Value> {
    const info = this.info(name)
    const target = decoder(info.dtype, info.shape, dtype)
    return this.naming(info, async () => {
      await this.fill(info, target.bytes, 0)
      return target.finish()
    })
  }

  /**
   * The stored bytes of the tensor `name`, at the beginning of `into` [at least its bytes] when it is given (one buffer for many tensors),
   * else in a new array. Throws CheckpointError when `into` is too small.
   */
  async readRaw(name: string, into?: Uint8Array): Promise<Uint8Array> {
    const info = this.info(name)
    if (into && into.length < info.length)
      throw new CheckpointError(
        'BufferTooSmall',
        `${this.folder}: tensor ${JSON.stringify(name)} takes ${info.length} bytes; the buffer has ${into.length}.`,
      )
    const bytes = into ? into.subarray(0, info.length) : new Uint8Array(info.length)
    await this.naming(info, () => this.fill(info, bytes, 0))
    return bytes
  }

  /**
   * The stored bytes of the tensor `name` in blocks of whole rows along its first axis, about `blockBytes` each
   * (8 MiB; at least one row). One buffer holds every block, so copy what must outlive it: `buffer` when it is given
   * and takes a row (the fastest way through many tensors, since it stays in the processor's cache; it sets the size
   * of the blocks), else a new one. A scalar is one row.
   */
  async *rows(
    name: string,
    options: { blockBytes?: number; buffer?: Uint8Array } = {},
  ): AsyncGenerator<RowBlock> {
    const info = this.info(name)
    const rows = info.shape[0] ?? 1
    if (rows === 0) return
    const rowBytes = info.length / rows
    const wanted = options.buffer?.length ?? options.blockBytes ?? 8 << 20
    const step = Math.min(rows, Math.max(1, rowBytes ? Math.floor(wanted / rowBytes) : rows))
    const fitsRow = options.buffer && options.buffer.length >= rowBytes
    const buffer = fitsRow ? options.buffer! : new Uint8Array(step * rowBytes)
    for (let start = 0; start < rows; start += step) {
      const end = Math.min(rows, start + step)
      const bytes = buffer.subarray(0, (end - start) * rowBytes)
      await this.naming(info, () => this.fill(info, bytes, start * rowBytes))
      yield { start, end, bytes }
    }
  }

  /** The stored bytes of rows `start` to `end` (exclusive) of the tensor `name` along its first axis. Throws CheckpointError where it has no such rows. */
  async readRows(name: string, start: number, end: number): Promise<Uint8Array> {
    const info = this.info(name)
    const rows = info.shape[0] ?? 1
    if (!(start >= 0 && start <= end && end <= rows))
      throw new CheckpointError(
        'NoSuchRows',
        `${this.folder}: ${info.file}: tensor ${JSON.stringify(name)} has no rows ${start} to ${end}; it has ${rows}.`,
      )
    const rowBytes = rows ? info.length / rows : 0
    const bytes = new Uint8Array((end - start) * rowBytes)
    await this.readInto(name, bytes, start * rowBytes)
    return bytes
  }

  /** Fills `into` [n] with stored bytes of the tensor `name`, from its byte `at` on. */
  async readInto(name: string, into: Uint8Array, at: number): Promise<void> {
    const info = this.info(name)
    await this.naming(info, () => this.fill(info, into, at))
  }

  /** Closes the files; reading afterwards fails. */
  async close(): Promise<void> {
    await Promise.all([...this.files.values()].map((file) => file.close()))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  private fill(info: TensorInfo, into: Uint8Array, at: number): Promise<void> {
    return this.files.get(info.file)!.read(into, info.offset + at)
  }

  /** Errors of `work` name the file and the tensor. */
  private async naming<T>(info: TensorInfo, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause)
      const message = `${this.folder}: ${info.file}: tensor ${JSON.stringify(info.name)}: ${reason}`
      throw new CheckpointError('ReadFailed', message, { cause })
    }
  }
}
