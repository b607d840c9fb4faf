/** @file Reads GGUF by its specification, for tests of what is written. */

/** What a file holds. */
export interface GgufFile {
  readonly settings: Readonly<Record<string, unknown>>
  readonly tensors: ReadonlyMap<string, { readonly shape: number[]; readonly data: Float32Array }>
}

class Reader {
  private at = 0
  private readonly view: DataView
  constructor(private readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }
  take(count: number): Uint8Array {
    this.at += count
    return this.bytes.slice(this.at - count, this.at)
  }
  uint32(): number {
    this.at += 4
    return this.view.getUint32(this.at - 4, true)
  }
  long(): number {
    this.at += 8
    return Number(this.view.getBigUint64(this.at - 8, true))
  }
  float(): number {
    this.at += 4
    return this.view.getFloat32(this.at - 4, true)
  }
  text(): string {
    return new TextDecoder().decode(this.take(this.long()))
  }
  value(type: number): unknown {
    if (type === 4) return this.uint32()
    if (type === 6) return this.float()
    if (type === 7) return this.take(1)[0] === 1
    if (type === 8) return this.text()
    if (type !== 9) throw new Error(`type ${type}`)
    const inner = this.uint32()
    return Array.from({ length: this.long() }, () => this.value(inner))
  }
  get aligned(): number {
    return Math.ceil(this.at / 32) * 32
  }
}

/** Settings and float32 tensors of a GGUF, version 3. file: its bytes. */
export const readGguf = (file: Uint8Array): GgufFile => {
  // A copy, since a Buffer's slices are views.
  const bytes = new Uint8Array(file)
  const reader = new Reader(bytes)
  const magic = new TextDecoder().decode(reader.take(4))
  if (magic !== 'GGUF' || reader.uint32() !== 3) throw new Error('no GGUF of version 3')
  const count = reader.long()
  const settings = Object.fromEntries(
    Array.from({ length: reader.long() }, () => [reader.text(), reader.value(reader.uint32())]),
  )
  const infos = Array.from({ length: count }, () => {
    const name = reader.text()
    const shape = Array.from({ length: reader.uint32() }, () => reader.long()).reverse()
    if (reader.uint32() !== 0) throw new Error(`${name} is not float32`)
    return { name, shape, offset: reader.long() }
  })
  const start = reader.aligned
  const tensors = infos.map(({ name, shape, offset }) => {
    if (offset % 32) throw new Error(`${name} lies at ${offset}`)
    const from = start + offset
    const data = new Float32Array(bytes.slice(from, from + 4 * shape.reduce((n, d) => n * d, 1)).buffer)
    return [name, { shape, data }] as const
  })
  return { settings, tensors: new Map(tensors) }
}
