/**
 * @file Float32 copies of 16-bit weights: widened once into a cache on disk, from where every program of every process maps them.
 * A copy is found by what names its source: the hash of a blob in the hub's cache, else the file's place, size, times and header.
 */
import { createHash } from 'node:crypto'
import { access, constants, mkdir, readdir, realpath, rm, stat, statfs, utimes } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { CheckpointError, WeftError } from '../errors.js'
import { TemporaryFile } from './atomic.js'
import type { Checkpoint, FloatCopies, FloatPlace } from './checkpoint.js'
import { decoder } from './convert.js'
import { diskFiles } from './disk.js'
import { readHeader } from './folder.js'
import { type Environment, hubCacheFolder } from './hub-cache.js'
import { withLock } from './lock.js'
import { layOut, type TensorInfo } from './safetensors.js'

/** Folder of the copies: in WEFT_CACHE, else in `weft` beside the hub's cache; undefined where WEFT_CACHE is `off`. */
export const floatCopiesFolder = (env: Environment = process.env): string | undefined =>
  env.WEFT_CACHE === 'off'
    ? undefined
    : resolve(env.WEFT_CACHE || join(dirname(hubCacheFolder(env)), 'weft'), 'float32')

/** Options of `floatCopies`. */
export interface FloatCopiesOptions {
  /** Folder of the copies. Default: of the environment. */
  readonly folder?: string
  /** Bytes of 16-bit numbers from which a file is copied; a session widens fewer in no time. Default 64 MiB. */
  readonly least?: number
  /** Bytes that are free for a file in `folder`. Default: what the file system says. */
  readonly free?: (folder: string) => Promise<number>
}

/** Bytes that the file system of `folder` has for this user. */
const freeIn = async (folder: string): Promise<number> => {
  const { bavail, bsize } = await statfs(folder)
  return bavail * bsize
}

/** Bytes of a source that are widened at a time. */
const blockBytes = 8 << 20
/** Counts up when what a copy holds changes. */
const layout = 1

/** The copy of one file of weights. */
interface Copy {
  readonly source: string
  /** Its tensors of 16 bits. */
  readonly tensors: readonly TensorInfo[]
  readonly identity: string
  readonly path: string
  readonly header: Uint8Array
  /** Bytes of the whole copy. */
  readonly size: number
  /** Places in the copy by places in the source. */
  readonly places: ReadonlyMap<number, TensorInfo>
}

/** What names the content of the file `path`, without its content being read. */
const identityOf = async (path: string, tensors: readonly TensorInfo[]): Promise<string> => {
  const name = basename(path)
  if (basename(dirname(path)) === 'blobs' && /^[0-9a-f]{40,64}$/.test(name)) return `blob ${name}`
  const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true })
  const header = tensors.map(({ name, dtype, shape, offset }) => [name, dtype, shape, offset])
  return [dev, ino, size, mtimeNs, ctimeNs, JSON.stringify(header)].join(' ')
}

const copyOf = async (source: string, tensors: readonly TensorInfo[], folder: string): Promise<Copy> => {
  const identity = await identityOf(source, tensors)
  const hash = createHash('sha256').update(`${layout} ${identity}`).digest('hex')
  const path = join(folder, `${hash}.safetensors`)
  const plans = tensors.map(({ name, shape }) => ({ name, dtype: 'F32' as const, shape }))
  const { header, tensors: placed, size } = layOut(plans, { source }, path)
  const byName = new Map(placed.map((info) => [info.name, info]))
  const places = new Map(tensors.map(({ name, offset }) => [offset, byName.get(name)!]))
  return { source, tensors, identity, path, header, size, places }
}

const isThere = async ({ path, size }: Copy): Promise<boolean> =>
  (await stat(path).catch(() => undefined))?.size === size

/** Whether files can be written in `folder`, which is made. */
const isWritable = (folder: string): Promise<boolean> =>
  mkdir(folder, { recursive: true })
    .then(() => access(folder, constants.W_OK))
    .then(
      () => true,
      () => false,
    )

const tooLarge = ({ source, size, path }: Copy, free?: number): WeftError =>
  new WeftError(
    'DiskFull',
    `${source}: its copy in float32 takes ${size} bytes; ${dirname(path)} has ${free ?? 'fewer'} free`,
    {
      hint: 'Free some (weft cache clear), keep copies on another disk (WEFT_CACHE=DIR), or do without (WEFT_CACHE=off): every program then widens the weights in memory.',
    },
  )

/** Removes what killed writers of the copy left. Nobody else may write it meanwhile. */
const sweep = async (path: string): Promise<void> => {
  const left = (await readdir(dirname(path))).filter((name) => finalOf(name) === basename(path))
  for (const name of left) await rm(join(dirname(path), name), { force: true })
}

/** The name that the temporary file `name` was to have; undefined where it is none. */
const finalOf = (name: string): string | undefined =>
  /^\.([0-9a-f]{64}\.safetensors)\.[\d-]+\.tmp$/.exec(name)?.[1]

/** Writes the copy. Throws CheckpointError where the source changes meanwhile. */
const write = async (checkpoint: Checkpoint, copy: Copy): Promise<void> => {
  const file = await TemporaryFile.create(copy.path)
  try {
    await file.write(copy.header, 0)
    for (const { name, dtype, length, offset } of copy.tensors)
      for (let at = 0; at < length; at += blockBytes) {
        const block = decoder(dtype, [Math.min(blockBytes, length - at) / 2], 'float32')
        await checkpoint.readInto(name, block.bytes, at)
        const { data } = block.finish()
        const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
        await file.write(bytes, copy.places.get(offset)!.offset + 2 * at)
      }
    if ((await identityOf(copy.source, copy.tensors)) !== copy.identity)
      throw new CheckpointError('SourceChanged', `${copy.source}: the file was changed while open.`, {
        hint: 'Open it anew.',
      })
    await file.seal()
    await file.publish()
  } catch (error) {
    await file.discard()
    if ((error as NodeJS.ErrnoException).code === 'ENOSPC') throw tooLarge(copy)
    throw error
  }
}

/** Sees to it that the copy is there; whether it had to be written. */
const ensure = async (
  checkpoint: Checkpoint,
  copy: Copy,
  free: (folder: string) => Promise<number>,
): Promise<boolean> => {
  if (await isThere(copy)) return false
  return withLock(`${copy.path}.lock`, async () => {
    if (await isThere(copy)) return false
    await sweep(copy.path)
    const room = await free(dirname(copy.path))
    if (room < copy.size) throw tooLarge(copy, room)
    await write(checkpoint, copy)
    await removeOutdated(copy)
    return true
  })
}

/** Removes copies of what the source was before it was changed. */
const removeOutdated = async ({ path, source }: Copy): Promise<void> => {
  for (const copy of await listFloatCopies(dirname(path)))
    if (copy.source === source && copy.path !== path) await rm(copy.path, { force: true })
}

/** The 16-bit tensors of each file on disk that has at least `least` bytes of them. */
const filesOf = (checkpoint: Checkpoint, least: number): Map<string, TensorInfo[]> => {
  const files = new Map<string, TensorInfo[]>()
  for (const name of checkpoint.names()) {
    const info = checkpoint.info(name)
    if (info.path === undefined || (info.dtype !== 'BF16' && info.dtype !== 'F16')) continue
    const tensors = files.get(info.path) ?? []
    tensors.push(info)
    files.set(info.path, tensors)
  }
  const bytes = (tensors: readonly TensorInfo[]): number =>
    tensors.reduce((sum, { length }) => sum + length, 0)
  return new Map([...files].filter(([, tensors]) => bytes(tensors) >= least))
}

/**
 * Float32 copies of the 16-bit tensors of `checkpoint`, in the cache's folder; there are none of files with few of them, nor
 * where the folder can neither be written nor has them already. Nothing is written before a place is prepared. Preparing
 * throws WeftError DiskFull, with the bytes that are needed and those that are free, and CheckpointError where the source is
 * changed meanwhile.
 */
export const floatCopies = (checkpoint: Checkpoint, options: FloatCopiesOptions = {}): FloatCopies => {
  const { folder = floatCopiesFolder(), least = 64 << 20, free = freeIn } = options
  const files = folder === undefined ? new Map<string, TensorInfo[]>() : filesOf(checkpoint, least)
  const copies = new Map<string, Promise<Copy | undefined>>()
  const find = async (source: string): Promise<Copy | undefined> => {
    if (!(await isWritable(folder!)) && !(await stat(folder!).catch(() => undefined))) return undefined
    const real = await realpath(folder!)
    const copy = await copyOf(source, files.get(source)!, real)
    return (await isThere(copy)) || (await isWritable(real)) ? copy : undefined
  }
  const found = (source: string): Promise<Copy | undefined> => {
    const copy = copies.get(source) ?? find(source)
    copies.set(source, copy)
    return copy
  }
  return {
    async place({ path, offset }): Promise<FloatPlace | undefined> {
      const copy = path !== undefined && files.has(path) ? await found(path) : undefined
      const place = copy?.places.get(offset)
      if (!copy || !place) return undefined
      const prepare = async (): Promise<void> => {
        await ensure(checkpoint, copy, free)
        const now = new Date()
        await utimes(copy.path, now, now).catch(() => undefined)
      }
      return { path: copy.path, offset: place.offset, length: place.length, prepare }
    },
  }
}

/** A copy in the cache. */
export interface StoredCopy {
  readonly path: string
  /** File that it is the copy of; undefined for what a killed writer left. */
  readonly source?: string
  readonly bytes: number
  /** When a program last asked for it, in milliseconds since 1970. */
  readonly used: number
}

/** The file that the copy `name` in `folder` says it is made from. */
const sourceOf = async (folder: string, name: string): Promise<string | undefined> => {
  const file = await diskFiles(folder).open(name)
  try {
    return (await readHeader(file, join(folder, name))).metadata.source
  } catch {
    return undefined
  } finally {
    await file.close()
  }
}

/** The copies in `folder`, largest first, with what killed writers left. */
export const listFloatCopies = async (folder: string): Promise<StoredCopy[]> => {
  const copies: StoredCopy[] = []
  for (const name of await readdir(folder).catch(() => [])) {
    const whole = /^[0-9a-f]{64}\.safetensors$/.test(name)
    if (!whole && finalOf(name) === undefined) continue
    const path = join(folder, name)
    const status = await stat(path).catch(() => undefined)
    if (!status) continue
    const source = whole ? await sourceOf(folder, name) : undefined
    copies.push({ path, source, bytes: status.size, used: status.mtimeMs })
  }
  return copies.sort((a, b) => b.bytes - a.bytes)
}

/**
 * Removes the copies in `folder`, with what killed writers left; waits for those that are being
 * written. Gives what was removed. Programs that have mapped a copy keep it until they end.
 */
export const clearFloatCopies = async (folder: string): Promise<StoredCopy[]> => {
  const copies = await listFloatCopies(folder)
  const finals = copies.map(({ path }) => join(dirname(path), finalOf(basename(path)) ?? basename(path)))
  for (const path of new Set(finals))
    await withLock(`${path}.lock`, async () => {
      await sweep(path)
      await rm(path, { force: true })
    })
  return copies
}
