/**
 * @file Writing GGUF, the file that llama.cpp reads: settings by key, then tensors, each beginning at a multiple of 32
 * bytes. Version 3, little-endian (ggml/docs/gguf.md).
 */
import { UsageError } from '../../errors.js'
import { append } from '../../tensor/numbers.js'
import { sizeOf } from '../../tensor/shape.js'
import { TemporaryFile } from '../atomic.js'

/** A setting: its type is part of the file. `strings` is a list. */
export type GgufValue =
  | { readonly uint32: number }
  | { readonly float32: number }
  | { readonly bool: boolean }
  | { readonly string: string }
  | { readonly strings: readonly string[] }

/** A tensor of float32, its numbers asked for when its turn comes. */
export interface GgufTensor {
  readonly name: string
  /** Shape as PyTorch has it: the last axis is contiguous. */
  readonly shape: readonly number[]
  /** Numbers of the tensor: [product of shape]. */
  readonly read: () => Promise<Float32Array>
}

const alignment = 32
const aligned = (bytes: number): number => Math.ceil(bytes / alignment) * alignment

const version = 3
/** ggml's own limit. */
const mostAxes = 4
const float32Type = 0
const valueTypes = { uint32: 4, float32: 6, bool: 7, string: 8, list: 9 } as const

const integer = (n: number): Uint8Array => {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, n, true)
  return bytes
}

const long = (n: number): Uint8Array => {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(n), true)
  return bytes
}

const single = (x: number): Uint8Array => {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setFloat32(0, x, true)
  return bytes
}

const text = (s: string): Uint8Array[] => {
  const bytes = new TextEncoder().encode(s)
  return [long(bytes.length), bytes]
}

const valueBytes = (value: GgufValue): Uint8Array[] => {
  if ('uint32' in value) return [integer(valueTypes.uint32), integer(value.uint32)]
  if ('float32' in value) return [integer(valueTypes.float32), single(value.float32)]
  if ('bool' in value) return [integer(valueTypes.bool), Uint8Array.of(Number(value.bool))]
  if ('string' in value) return [integer(valueTypes.string), ...text(value.string)]
  const { strings } = value
  return [
    integer(valueTypes.list),
    integer(valueTypes.string),
    long(strings.length),
    ...strings.flatMap(text),
  ]
}

const joined = (parts: readonly Uint8Array[]): Uint8Array => {
  const out = new Uint8Array(aligned(parts.reduce((n, part) => n + part.length, 0)))
  let end = 0
  for (const part of parts) {
    out.set(part, end)
    end += part.length
  }
  return out
}

const bytesOf = ({ shape }: GgufTensor): number => 4 * sizeOf(shape)

/** Header, settings and table of tensors, padded to where the first tensor begins. */
const headerOf = (
  settings: Readonly<Record<string, GgufValue>>,
  tensors: readonly GgufTensor[],
): Uint8Array => {
  const entries = Object.entries(settings)
  const magic = new TextEncoder().encode('GGUF')
  const parts = [magic, integer(version), long(tensors.length), long(entries.length)]
  for (const [key, value] of entries) append(parts, [...text(key), ...valueBytes(value)])
  let offset = 0
  for (const tensor of tensors) {
    const axes = [...tensor.shape].reverse()
    append(parts, [...text(tensor.name), integer(axes.length), ...axes.map(long)])
    append(parts, [integer(float32Type), long(offset)])
    offset += aligned(bytesOf(tensor))
  }
  return joined(parts)
}

const check = (tensors: readonly GgufTensor[]): void => {
  const names = new Set<string>()
  for (const { name, shape } of tensors) {
    if (names.has(name)) throw new UsageError('GgufTensor', `GGUF: two tensors are called '${name}'.`)
    if (shape.length > mostAxes)
      throw new UsageError(
        'GgufTensor',
        `GGUF: '${name}' has ${shape.length} axes; expected at most ${mostAxes}.`,
      )
    names.add(name)
  }
}

/**
 * Writes `settings` and `tensors` to `path` as GGUF with float32 tensors, one in memory at a time; nothing appears under
 * `path` until it is whole. Throws UsageError (GgufTensor) for a name that comes twice, a tensor of more than four axes,
 * or one whose numbers do not fill its shape.
 */
export const writeGguf = async (
  path: string,
  settings: Readonly<Record<string, GgufValue>>,
  tensors: readonly GgufTensor[],
): Promise<void> => {
  check(tensors)
  const file = await TemporaryFile.create(path)
  try {
    const header = headerOf(settings, tensors)
    await file.write(header, 0)
    let position = header.length
    for (const tensor of tensors) {
      const { buffer, byteOffset, byteLength } = await tensor.read()
      if (byteLength !== bytesOf(tensor))
        throw new UsageError(
          'GgufTensor',
          `GGUF: '${tensor.name}' gave ${byteLength / 4} numbers; its shape [${tensor.shape.join(', ')}] holds ${sizeOf(tensor.shape)}.`,
        )
      await file.write(new Uint8Array(buffer, byteOffset, byteLength), position)
      await file.write(new Uint8Array(aligned(byteLength) - byteLength), position + byteLength)
      position += aligned(byteLength)
    }
    await file.seal()
    await file.publish()
  } catch (error) {
    await file.discard()
    throw error
  }
}
