/** @file The normalisation that SentencePiece stores in a model: a double array of UTF-8 keys, and what each becomes. */
import { bytesOf } from './unicode.js'

const offsetOf = (unit: number): number => (unit >>> 10) << ((unit & (1 << 9)) >>> 6)
const labelOf = (unit: number): number => (unit & ((1 << 31) | 0xff)) >>> 0
const hasLeaf = (unit: number): boolean => ((unit >>> 8) & 1) === 1
const valueOf = (unit: number): number => unit & 0x7fffffff

const fromBase64 = (text: string): Uint8Array => Uint8Array.from(atob(text), (c) => c.charCodeAt(0))

/** Throws when the bytes are no such map. */
const parse = (bytes: Uint8Array): { units: Uint32Array; texts: Uint8Array } => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const length = bytes.length < 4 ? -1 : view.getUint32(0, true)
  if (length < 4 || length % 4 !== 0 || 4 + length > bytes.length)
    throw new RangeError(`"precompiled_charsmap" of ${bytes.length} bytes is broken`)
  const units = Uint32Array.from({ length: length / 4 }, (_, i) => view.getUint32(4 + 4 * i, true))
  return { units, texts: bytes.subarray(4 + length) }
}

/**
 * The text that a grapheme or character becomes, or undefined where the map leaves it. As the reference does, the
 * shortest key that `part` begins with decides.
 */
export type Charsmap = (part: string) => string | undefined

/** The map that base64 text holds. Throws RangeError or an error of `atob` for text that holds none. */
export const charsmap = (base64: string): Charsmap => {
  const { units, texts } = parse(fromBase64(base64))
  const utf8 = new TextDecoder('utf-8', { ignoreBOM: true })
  const known = new Map<string, string | undefined>()
  const shortestKey = (bytes: Uint8Array): number | undefined => {
    let node = offsetOf(units[0])
    for (const byte of bytes) {
      if (byte === 0) return undefined
      node ^= byte
      const unit = units[node]
      if (unit === undefined || labelOf(unit) !== byte) return undefined
      node ^= offsetOf(unit)
      if (hasLeaf(unit)) return valueOf(units[node])
    }
    return undefined
  }
  const look = (part: string): string | undefined => {
    const start = shortestKey(bytesOf(part))
    if (start === undefined) return undefined
    const end = texts.indexOf(0, start)
    return utf8.decode(texts.subarray(start, end < 0 ? undefined : end))
  }
  return (part) => {
    if (!known.has(part)) known.set(part, look(part))
    return known.get(part)
  }
}
