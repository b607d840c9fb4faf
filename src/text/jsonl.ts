/** @file JSONL files as datasets: streamed in order, or read at the offsets of an index of lines. */
import { WeftError } from '../errors.js'
import { type ByteReader, openBytes, readLines } from './bytes.js'
import type { Dataset } from './dataset.js'
import { type DataRecord, malformed, toRecord } from './records.js'

/** Treatment of lines that are no record. */
export interface JsonlOptions {
  /** Leave malformed lines out (counted in `skipped`) instead of throwing. Default false. */
  skipMalformed?: boolean
  /** The longest line that is read, in bytes; a longer one is malformed. Default 16 MiB. */
  maxLineBytes?: number
}

/** Where each line starts, how long it is and which it is: 20 bytes of memory a line. */
interface Index {
  offsets: Float64Array
  lengths: Float64Array
  numbers: Uint32Array
}

const decoder = new TextDecoder('utf-8', { fatal: true })

const parse = (bytes: Uint8Array | undefined, where: string, limit: number): DataRecord => {
  if (!bytes) throw malformed(where, `the line is longer than ${limit} bytes (maxLineBytes)`)
  let text: string
  try {
    text = decoder.decode(bytes)
  } catch {
    throw malformed(where, 'not valid UTF-8')
  }
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    throw malformed(where, `not valid JSON: ${(error as Error).message}`)
  }
  return toRecord(json, where)
}

/** Numbers in an array that doubles when full. */
const growing = (): { push(x: number): void; array(): Float64Array } => {
  let numbers = new Float64Array(1024)
  let n = 0
  return {
    push(x) {
      if (n === numbers.length) {
        const larger = new Float64Array(2 * n)
        larger.set(numbers)
        numbers = larger
      }
      numbers[n++] = x
    },
    array: () => numbers.slice(0, n),
  }
}

const indexLines = async (reader: ByteReader, limit: number): Promise<Index> => {
  const [offsets, lengths, numbers] = [growing(), growing(), growing()]
  for await (const line of readLines(reader, limit)) {
    offsets.push(line.offset)
    lengths.push(line.length)
    numbers.push(line.number)
  }
  return { offsets: offsets.array(), lengths: lengths.array(), numbers: Uint32Array.from(numbers.array()) }
}

class JsonlDataset implements Dataset {
  readonly name: string
  readonly #source: string | Blob
  readonly #skip: boolean
  readonly #limit: number
  readonly #malformedLines = new Set<number>()
  #index: Promise<Index> | undefined

  constructor(source: string | Blob, { skipMalformed = false, maxLineBytes = 16 * 2 ** 20 }: JsonlOptions) {
    this.name = typeof source === 'string' ? source : source instanceof File ? source.name : 'blob'
    this.#source = source
    this.#skip = skipMalformed
    this.#limit = maxLineBytes
  }

  get skipped(): number {
    return this.#malformedLines.size
  }

  async size(): Promise<number> {
    return (await this.#lines()).offsets.length
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<DataRecord> {
    const reader = await openBytes(this.#source)
    try {
      for await (const { bytes, number } of readLines(reader, this.#limit)) {
        const record = this.#record(bytes, number)
        if (record) yield record
      }
    } finally {
      await reader.close()
    }
  }

  async *pick(chosen: Iterable<number>): AsyncGenerator<DataRecord> {
    const { offsets, lengths, numbers } = await this.#lines()
    const reader = await openBytes(this.#source)
    try {
      for (const i of chosen) {
        if (!(i in offsets))
          throw new WeftError('NoSuchRecord', `${this.name}: no record ${i} of ${offsets.length}`)
        const bytes = lengths[i] > this.#limit ? undefined : await reader.read(offsets[i], lengths[i])
        const record = this.#record(bytes, numbers[i])
        if (record) yield record
      }
    } finally {
      await reader.close()
    }
  }

  /** The index, made on first need; a failure is not remembered. */
  async #lines(): Promise<Index> {
    this.#index ??= this.#scan().catch((error: unknown) => {
      this.#index = undefined
      throw error
    })
    return this.#index
  }

  async #scan(): Promise<Index> {
    const reader = await openBytes(this.#source)
    try {
      return await indexLines(reader, this.#limit)
    } finally {
      await reader.close()
    }
  }

  #record(bytes: Uint8Array | undefined, line: number): DataRecord | undefined {
    try {
      return parse(bytes, `${this.name}:${line}`, this.#limit)
    } catch (error) {
      if (!this.#skip) throw error
      this.#malformedLines.add(line)
      return undefined
    }
  }
}

/**
 * The records of a JSONL file (its path, in Node) or Blob. Iterating streams it: a chunk and a line are in memory at a
 * time. `size` and `pick` (and so shuffling and splitting) read it through once for an index of 20 bytes a line.
 * Nothing is read before. A malformed line is a CheckpointError that starts with FILE:LINE, or is skipped on request.
 * Line ends may be LF or CRLF; blank lines and a byte order mark are ignored.
 */
export const jsonl = (source: string | Blob, options: JsonlOptions = {}): Dataset =>
  new JsonlDataset(source, options)
