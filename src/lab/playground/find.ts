/** @file Which checkpoints and adapters lie under the configured folders. */
import { readdir, realpath, stat } from 'node:fs/promises'
import { basename, join, resolve, sep } from 'node:path'
import { parseReadOnly } from '../../checkpoint/index.js'
import { architectureFor } from '../../models/index.js'
import { readContained } from '../../runs/index.js'
import type { CheckpointEntry } from '../api.js'

/** A configured folder and the name that ids begin with. */
export interface Root {
  name: string
  folder: string
}

/** A folder under a root. */
interface Place {
  readonly root: Root
  /** Its path below the root's folder; empty for that itself. */
  readonly path: string
}

const idOf = ({ root, path }: Place): string => [root.name, ...path.split(sep).filter(Boolean)].join('/')

/** Folders below a root that are looked into, and how many are listed. */
const depth = 4
const listed = 500
const foldersLooked = 20_000

/** Roots with names of their own: the folder's, with a number where two are alike. */
export const rootsOf = (folders: readonly string[]): Root[] => {
  const names = new Set<string>()
  return [...new Set(folders.map((folder) => resolve(folder)))].map((folder) => {
    const base = basename(folder) || 'root'
    let name = base
    for (let n = 2; names.has(name); n++) name = `${base}-${n}`
    names.add(name)
    return { name, folder }
  })
}

/** Bytes of a configuration at most. */
const configLimit = 1 << 22

/** The JSON object in the file `name` of a checkpoint's folder; undefined where there is none that may be read. */
const readConfig = async (place: Place, name: string): Promise<Record<string, unknown> | undefined> => {
  try {
    // Snapshots of a hub's cache are links to files beside them: what counts is the root.
    const text = await readContained(place.root.folder, join(place.path, name), configLimit)
    const config: unknown = text === undefined ? undefined : parseReadOnly(text, name)
    return typeof config === 'object' && config !== null ? (config as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}

const text = (value: unknown): string | null => (typeof value === 'string' ? value : null)

const generates = (config: Record<string, unknown>): boolean => {
  try {
    const architecture = architectureFor(config)
    const task = architecture.task(architecture.readConfig(config))
    return task === 'causal' || task === 'sequence'
  } catch {
    return false
  }
}

/** The checkpoint or adapter in a folder; undefined where there is none. */
const entryOf = async (place: Place, files: readonly string[]): Promise<CheckpointEntry | undefined> => {
  const folder = join(place.root.folder, place.path)
  const weights = files.filter((file) => file.endsWith('.safetensors'))
  if (weights.length === 0) return undefined
  const adapter = files.includes('adapter_config.json')
  if (!adapter && !files.includes('config.json')) return undefined
  const config = await readConfig(place, adapter ? 'adapter_config.json' : 'config.json')
  if (!config) return undefined
  const sizes = await Promise.all(
    weights.map((file) =>
      stat(join(folder, file)).then(
        ({ size }) => size,
        () => 0,
      ),
    ),
  )
  const base = text(config.base_model_name_or_path)
  return {
    id: idOf(place),
    name: basename(folder),
    kind: adapter ? 'adapter' : 'model',
    type: text(adapter ? config.peft_type : config.model_type),
    bytes: sizes.reduce((sum, size) => sum + size, 0),
    base: adapter && base !== null ? { name: base, id: null } : null,
    generates: !adapter && files.includes('tokenizer.json') && generates(config),
  }
}

/** Every checkpoint under `roots`. Links to folders are not followed. */
export const findCheckpoints = async (roots: readonly Root[]): Promise<CheckpointEntry[]> => {
  const checkpoints: CheckpointEntry[] = []
  let looked = 0
  const look = async (place: Place, left: number): Promise<void> => {
    if (checkpoints.length >= listed || looked++ > foldersLooked) return
    const folder = join(place.root.folder, place.path)
    const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
    const files = entries.filter((entry) => !entry.isDirectory()).map(({ name }) => name)
    const entry = await entryOf(place, files)
    if (entry) checkpoints.push(entry)
    if (left === 0) return
    for (const { name } of entries.filter((e) => e.isDirectory() && !e.name.startsWith('.')))
      await look({ root: place.root, path: join(place.path, name) }, left - 1)
  }
  for (const root of roots) await look({ root, path: '' }, depth)
  return withBases(checkpoints, roots)
}

/** Which listed checkpoint an adapter's base is: the folder that it names, or the last parts of that name. */
const withBases = (checkpoints: CheckpointEntry[], roots: readonly Root[]): CheckpointEntry[] => {
  const models = checkpoints.filter(({ kind }) => kind === 'model')
  const named = (base: string): string | null => {
    const exact = models.find(({ id }) => folderOf(id, roots) === resolve(base))
    const tail = base
      .split(sep)
      .filter((part) => part !== '' && part !== '..' && part !== '.')
      .join('/')
    return (exact ?? models.find(({ id }) => id === tail || id.endsWith(`/${tail}`)))?.id ?? null
  }
  return checkpoints.map((entry) =>
    entry.base ? { ...entry, base: { name: entry.base.name, id: named(entry.base.name) } } : entry,
  )
}

const folderOf = (id: string, roots: readonly Root[]): string | undefined => {
  const [name, ...rest] = id.split('/')
  const root = roots.find((r) => r.name === name)
  return root && join(root.folder, ...rest)
}

/**
 * Whether everything directly in `folder` is a regular file or a folder under one of `roots`: a link may lead elsewhere,
 * and a pipe keeps whoever opens it waiting.
 */
export const contained = async (folder: string, roots: readonly Root[]): Promise<boolean> => {
  const bases = await Promise.all(roots.map((root) => realpath(root.folder).catch(() => root.folder)))
  for (const name of await readdir(folder)) {
    const real = await realpath(join(folder, name)).catch(() => undefined)
    if (real === undefined || !bases.some((base) => real.startsWith(base + sep))) return false
    const state = await stat(real)
    if (!state.isFile() && !state.isDirectory()) return false
  }
  return true
}
