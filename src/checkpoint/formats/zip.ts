/** @file Archives in ZIP's format whose files are stored as they are, as PyTorch writes its checkpoints: where each file lies. */
import { CheckpointError } from '../../errors.js'
import type { RandomAccess } from '../checkpoint.js'

/** A file in an archive. */
export interface ZipEntry {
  readonly name: string
  /** Bytes. */
  readonly size: number
  /** Place of its header in the archive. */
  readonly header: number
}

const fault = (shown: string, message: string): CheckpointError =>
  new CheckpointError('BrokenArchive', `${shown}: ${message}`, {
    hint: 'The file is cut off or damaged: download or copy it again.',
  })

/** No checkpoint's directory comes near this. */
const maximumDirectory = 100_000_000

const endSize = 22
const locatorSize = 20
const end64Size = 56
const entrySize = 46
const headerSize = 30

const bytesAt = async (
  source: RandomAccess,
  offset: number,
  length: number,
  shown: string,
): Promise<DataView> => {
  if (!(offset >= 0 && length >= 0 && offset + length <= source.size))
    throw fault(shown, `its archive points beyond its ${source.size} bytes.`)
  const bytes = new Uint8Array(length)
  await source.read(bytes, offset)
  return new DataView(bytes.buffer)
}

const big = (view: DataView, at: number): number => Number(view.getBigUint64(at, true))

interface Directory {
  readonly count: number
  readonly size: number
  readonly offset: number
}

/** Where the directory of the files lies: its end says, or the larger record before that. */
const directoryOf = async (source: RandomAccess, shown: string): Promise<Directory> => {
  const end = await bytesAt(source, source.size - endSize, endSize, shown)
  if (end.getUint32(0, true) !== 0x06054b50) throw fault(shown, 'it does not end as a ZIP archive does.')
  const small = {
    count: end.getUint16(10, true),
    size: end.getUint32(12, true),
    offset: end.getUint32(16, true),
  }
  if (small.count !== 0xffff && small.size !== 0xffffffff && small.offset !== 0xffffffff) return small
  const locator = await bytesAt(source, source.size - endSize - locatorSize, locatorSize, shown)
  if (locator.getUint32(0, true) !== 0x07064b50) throw fault(shown, 'its large archive lacks its locator.')
  const end64 = await bytesAt(source, big(locator, 8), end64Size, shown)
  if (end64.getUint32(0, true) !== 0x06064b50) throw fault(shown, 'its large archive lacks its end.')
  return { count: big(end64, 32), size: big(end64, 40), offset: big(end64, 48) }
}

/** Sizes and place of an entry, those of 64 bits from its extra field. */
const measured = (
  view: DataView,
  at: number,
  shown: string,
): { size: number; stored: number; header: number } => {
  const small = {
    size: view.getUint32(at + 24, true),
    stored: view.getUint32(at + 20, true),
    header: view.getUint32(at + 42, true),
  }
  const wanted = (['size', 'stored', 'header'] as const).filter((key) => small[key] === 0xffffffff)
  if (wanted.length === 0) return small
  let field = at + entrySize + view.getUint16(at + 28, true)
  const last = field + view.getUint16(at + 30, true)
  while (field + 4 <= last && view.getUint16(field, true) !== 1) field += 4 + view.getUint16(field + 2, true)
  if (field + 4 + 8 * wanted.length > last) throw fault(shown, 'a large file of its archive has no size.')
  return { ...small, ...Object.fromEntries(wanted.map((key, i) => [key, big(view, field + 4 + 8 * i)])) }
}

/**
 * The files of the archive `source` by name. Throws CheckpointError for an archive that is broken, and for a file in it that
 * is compressed or encrypted. shown: the archive in messages.
 */
export const zipEntries = async (
  source: RandomAccess,
  shown: string,
): Promise<ReadonlyMap<string, ZipEntry>> => {
  const { count, size, offset } = await directoryOf(source, shown)
  if (size > maximumDirectory || count * entrySize > size)
    throw fault(shown, `its directory of ${count} files in ${size} bytes is none.`)
  const view = await bytesAt(source, offset, size, shown)
  const entries = new Map<string, ZipEntry>()
  let at = 0
  for (let i = 0; i < count; i++) {
    if (at + entrySize > size || view.getUint32(at, true) !== 0x02014b50)
      throw fault(shown, `the entry ${i} of its directory is none.`)
    const length = view.getUint16(at + 28, true)
    const next = at + entrySize + length + view.getUint16(at + 30, true) + view.getUint16(at + 32, true)
    if (next > size) throw fault(shown, `the entry ${i} of its directory is cut off.`)
    const name = new TextDecoder().decode(new Uint8Array(view.buffer, at + entrySize, length))
    const { size: bytes, stored, header } = measured(view, at, shown)
    const plain =
      view.getUint16(at + 10, true) === 0 && stored === bytes && !(view.getUint16(at + 8, true) & 1)
    if (!plain) throw fault(shown, `${JSON.stringify(name)} in it is compressed or encrypted.`)
    if (entries.has(name)) throw fault(shown, `${JSON.stringify(name)} is in it twice.`)
    entries.set(name, { name, size: bytes, header })
    at = next
  }
  return entries
}

/** Place of the first byte of a file's data. Throws CheckpointError where it does not lie within the archive. */
export const dataOffset = async (source: RandomAccess, entry: ZipEntry, shown: string): Promise<number> => {
  const header = await bytesAt(source, entry.header, headerSize, shown)
  if (header.getUint32(0, true) !== 0x04034b50)
    throw fault(shown, `${JSON.stringify(entry.name)} is not where its archive says.`)
  const start = entry.header + headerSize + header.getUint16(26, true) + header.getUint16(28, true)
  if (start + entry.size > source.size)
    throw fault(
      shown,
      `${JSON.stringify(entry.name)} ends at byte ${start + entry.size}, but the file has ${source.size}.`,
    )
  return start
}
