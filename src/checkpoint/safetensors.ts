/** @file The safetensors header: bytes in, tensors' places out, and back. Pure, so that it runs in a browser too. */
import { CheckpointError } from '../errors.js'
import { decodeText, isJsonObject, type Json, type JsonObject, parseJsonObject } from './json.js'

/** Bytes that one element of each safetensors dtype takes, in the order in which the reference library ranks them. */
const elementBytes = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E5M2: 1,
  F8_E4M3: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  F64: 8,
  I64: 8,
  U64: 8,
} as const

/** Element type of a stored tensor, in the format's own words. */
export type SafetensorsDType = keyof typeof elementBytes

/** Every element type that the format has. */
export const safetensorsDTypes = Object.keys(elementBytes) as readonly SafetensorsDType[]

/** A tensor that is to be written: its name, element type and shape. */
export interface TensorPlan {
  readonly name: string
  readonly dtype: SafetensorsDType
  readonly shape: readonly number[]
}

/** A tensor in a file. */
export interface TensorInfo extends TensorPlan {
  /** The name of the file that holds it, inside its folder. */
  readonly file: string
  /** Path of that file on disk, symbolic links resolved; absent when it is in memory. */
  readonly path?: string
  /** Place of its first byte in the file. */
  readonly offset: number
  /** How many bytes it takes. */
  readonly length: number
}

/** Header of a file: its tensors and its metadata. */
export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, TensorInfo>
  readonly metadata: Readonly<Record<string, string>>
}

/** The format's own limit on the header, in bytes. */
const maximumHeader = 100_000_000

const fault = (file: string, code: string, message: string, hint?: string): CheckpointError =>
  new CheckpointError(code, `${file}: ${message}`, { hint })

/** Bytes that a tensor of this dtype and shape takes; NaN when its sizes multiply beyond the safe integers. */
export const tensorBytes = (dtype: SafetensorsDType, shape: readonly number[]): number => {
  let bytes: number = elementBytes[dtype]
  for (const size of shape) bytes *= size || 1
  if (!Number.isSafeInteger(bytes)) return NaN
  return shape.includes(0) ? 0 : bytes
}

/**
 * The length of the JSON header that `prefix` [8 bytes], with which the file begins, declares. Throws CheckpointError when it is
 * beyond the file's size or the format's limit of 100 MB, before anything is allocated.
 */
export const headerLength = (prefix: Uint8Array, fileSize: number, file: string): number => {
  if (fileSize < 8 || prefix.length < 8)
    throw fault(
      file,
      'TruncatedFile',
      `${fileSize} bytes are too few for a safetensors file (at least 8 + header).`,
    )
  const length = Number(new DataView(prefix.buffer, prefix.byteOffset, 8).getBigUint64(0, true))
  if (length > maximumHeader)
    throw fault(
      file,
      'HeaderTooLong',
      `declares a header of ${length} bytes; the limit is ${maximumHeader}.`,
      'It is probably not a safetensors file, or its beginning is damaged.',
    )
  if (length > fileSize - 8)
    throw fault(
      file,
      'TruncatedFile',
      `declares a header of ${length} bytes, but only ${fileSize - 8} follow.`,
      'The file is cut off: download or copy it again.',
    )
  return length
}

const isCount = (json: Json | undefined): json is number =>
  typeof json === 'number' && Number.isSafeInteger(json) && json >= 0

const shown = (json: Json | undefined): string => String(JSON.stringify(json)).slice(0, 60)

const readMetadata = (json: Json, file: string): Record<string, string> => {
  const wrong = isJsonObject(json) ? Object.keys(json).find((key) => typeof json[key] !== 'string') : ''
  if (!isJsonObject(json) || wrong !== undefined)
    throw fault(file, 'InvalidHeader', `__metadata__ must map strings to strings; ${wrong || 'it'} does not.`)
  return json as Record<string, string>
}

const readTensor = (name: string, json: Json, start: number, fileSize: number, file: string): TensorInfo => {
  const bad = (code: string, message: string): CheckpointError =>
    fault(file, code, `tensor ${JSON.stringify(name)}: ${message}`)
  if (!isJsonObject(json))
    throw bad('InvalidHeader', `expected {dtype, shape, data_offsets}, found ${shown(json)}.`)
  const { dtype, shape, data_offsets: offsets } = json
  const unknown = Object.keys(json).find((key) => !['dtype', 'shape', 'data_offsets'].includes(key))
  if (unknown !== undefined) throw bad('InvalidHeader', `unknown key ${JSON.stringify(unknown)}.`)
  if (typeof dtype !== 'string' || !Object.hasOwn(elementBytes, dtype))
    throw bad('UnknownDType', `dtype ${shown(dtype)} is none of ${safetensorsDTypes.join(', ')}.`)
  if (!Array.isArray(shape) || !shape.every(isCount))
    throw bad('InvalidShape', `shape ${shown(shape)} is not a list of sizes.`)
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount))
    throw bad('InvalidOffsets', `data_offsets ${shown(offsets)} are not two positions.`)
  const [begin, end] = offsets as [number, number]
  if (begin > end) throw bad('InvalidOffsets', `its data ends at ${end}, before it begins at ${begin}.`)
  if (start + end > fileSize)
    throw bad(
      'OutOfRange',
      `its data ends at byte ${start + end}, but the file has ${fileSize}; it is cut off or damaged.`,
    )
  const bytes = tensorBytes(dtype as SafetensorsDType, shape as number[])
  if (bytes !== end - begin)
    throw bad(
      'WrongSize',
      `${dtype} [${shape}] takes ${bytes} bytes, but its data_offsets span ${end - begin}.`,
    )
  return {
    name,
    dtype: dtype as SafetensorsDType,
    shape: shape as number[],
    file,
    offset: start + begin,
    length: bytes,
  }
}

/** The data must be covered exactly once: no overlap, no hole, nothing after the last tensor. */
const checkCover = (tensors: TensorInfo[], start: number, fileSize: number, file: string): void => {
  let at = start
  let previous = ''
  for (const { name, offset, length } of [...tensors].sort(
    (a, b) => a.offset - b.offset || a.length - b.length,
  )) {
    if (offset < at)
      throw fault(
        file,
        'OverlappingTensors',
        `tensors ${JSON.stringify(previous)} and ${JSON.stringify(name)} overlap.`,
      )
    if (offset > at)
      throw fault(
        file,
        'Hole',
        `${offset - at} bytes before tensor ${JSON.stringify(name)} belong to no tensor.`,
      )
    at = offset + length
    previous = name
  }
  if (at !== fileSize)
    throw fault(file, 'TrailingBytes', `${fileSize - at} bytes after the last tensor belong to no tensor.`)
}

/**
 * The header whose JSON is `json` [n] (the bytes after the 8-byte length) of a file of `fileSize` bytes. Checks every
 * dtype, shape and offset, overlaps and holes; throws CheckpointError naming `file`, the tensor and the cause.
 */
export const parseHeader = (json: Uint8Array, fileSize: number, file: string): SafetensorsHeader => {
  if (json[0] !== 0x7b) throw fault(file, 'InvalidHeader', 'the header does not begin with "{".')
  const object = parseJsonObject(decodeText(json, file), file)
  const start = 8 + json.length
  const tensors = new Map<string, TensorInfo>()
  let metadata: Record<string, string> = {}
  for (const [name, entry] of Object.entries(object))
    if (name === '__metadata__') metadata = readMetadata(entry, file)
    else tensors.set(name, readTensor(name, entry, start, fileSize, file))
  checkCover([...tensors.values()], start, fileSize, file)
  return { tensors, metadata }
}

/** The order of the reference library, wide elements first (so that every tensor is aligned), then by name. */
const fileOrder = (a: TensorPlan, b: TensorPlan): number =>
  safetensorsDTypes.indexOf(b.dtype) - safetensorsDTypes.indexOf(a.dtype) || (a.name < b.name ? -1 : 1)

/**
 * Lays `plans` out as one file named `file`: the bytes of its beginning (length and header, padded to 8) and each
 * tensor's place, in the order of the file. Throws CheckpointError for a duplicate name or a shape that is none.
 */
export const layOut = (
  plans: Iterable<TensorPlan>,
  metadata: Readonly<Record<string, string>>,
  file: string,
): { header: Uint8Array; tensors: TensorInfo[]; size: number } => {
  const entries: [string, JsonObject | Record<string, string>][] = []
  if (Object.keys(metadata).length) entries.push(['__metadata__', metadata])
  const sorted = [...plans].sort(fileOrder)
  const seen = new Set(['__metadata__'])
  const places: { plan: TensorPlan; at: number; length: number }[] = []
  let at = 0
  for (const plan of sorted) {
    const { name, dtype, shape } = plan
    const length =
      shape.every(isCount) && Object.hasOwn(elementBytes, dtype) ? tensorBytes(dtype, shape) : NaN
    if (Number.isNaN(length))
      throw fault(file, 'InvalidShape', `tensor ${JSON.stringify(name)}: ${dtype} [${shape}] is no tensor.`)
    if (seen.has(name)) throw fault(file, 'DuplicateTensor', `tensor ${JSON.stringify(name)} appears twice.`)
    seen.add(name)
    entries.push([name, { dtype, shape: [...shape], data_offsets: [at, at + length] }])
    places.push({ plan, at, length })
    at += length
  }
  // Joined by hand, because an object would move names that look like integers to the front.
  const json = `{${entries.map(([key, entry]) => `${JSON.stringify(key)}:${JSON.stringify(entry)}`).join(',')}}`
  const text = new TextEncoder().encode(json)
  const start = 8 + Math.ceil(text.length / 8) * 8
  if (start - 8 > maximumHeader)
    throw fault(
      file,
      'HeaderTooLong',
      `its header would take ${start - 8} bytes; the limit is ${maximumHeader}.`,
    )
  const header = new Uint8Array(start).fill(0x20)
  new DataView(header.buffer).setBigUint64(0, BigInt(start - 8), true)
  header.set(text, 8)
  const tensors = places.map(({ plan, at, length }) => ({ ...plan, file, offset: start + at, length }))
  return { header, tensors, size: start + at }
}
