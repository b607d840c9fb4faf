/** @file Which checkpoints and adapters lie under the configured folders. */
import { readdir, readFile, realpath, stat } from 'node:fs/promises'
import { basename, join, resolve, sep } from 'node:path'
import { parseReadOnly } from '../../checkpoint/index.js'
import { architectureFor } from '../../models/index.js'
import type { CheckpointEntry } from '../api.js'

/** A configured folder and the name that ids begin with. */
export interface Root {
  name: string
  folder: string
}

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

const readConfig = async (path: string): Promise<Record<string, unknown> | undefined> => {
  try {
    const { size } = await stat(path)
    if (size > 1 << 22) return undefined
    const config: unknown = parseReadOnly(await readFile(path, 'utf8'), path)
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

/** The checkpoint or adapter in `folder`; undefined where there is none. */
const entryOf = async (
  id: string,
  folder: string,
  files: readonly string[],
): Promise<CheckpointEntry | undefined> => {
  const weights = files.filter((file) => file.endsWith('.safetensors'))
  if (weights.length === 0) return undefined
  const adapter = files.includes('adapter_config.json')
  if (!adapter && !files.includes('config.json')) return undefined
  const config = await readConfig(join(folder, adapter ? 'adapter_config.json' : 'config.json'))
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
    id,
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
  const found: CheckpointEntry[] = []
  let looked = 0
  const look = async (id: string, folder: string, left: number): Promise<void> => {
    if (found.length >= listed || looked++ > foldersLooked) return
    const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
    const files = entries.filter((entry) => !entry.isDirectory()).map(({ name }) => name)
    const entry = await entryOf(id, folder, files)
    if (entry) found.push(entry)
    if (left === 0) return
    for (const { name } of entries.filter((e) => e.isDirectory() && !e.name.startsWith('.')))
      await look(`${id}/${name}`, join(folder, name), left - 1)
  }
  for (const { name, folder } of roots) await look(name, folder, depth)
  return withBases(found, roots)
}

/** Which listed checkpoint an adapter's base is: the folder that it names, or the last parts of that name. */
const withBases = (found: CheckpointEntry[], roots: readonly Root[]): CheckpointEntry[] => {
  const models = found.filter(({ kind }) => kind === 'model')
  const named = (base: string): string | null => {
    const exact = models.find(({ id }) => folderOf(id, roots) === resolve(base))
    const tail = base
      .split(sep)
      .filter((part) => part !== '' && part !== '..' && part !== '.')
      .join('/')
    return (exact ?? models.find(({ id }) => id === tail || id.endsWith(`/${tail}`)))?.id ?? null
  }
  return found.map((entry) =>
    entry.base ? { ...entry, base: { name: entry.base.name, id: named(entry.base.name) } } : entry,
  )
}

const folderOf = (id: string, roots: readonly Root[]): string | undefined => {
  const [name, ...rest] = id.split('/')
  const root = roots.find((r) => r.name === name)
  return root && join(root.folder, ...rest)
}

/** Whether every file directly in `folder` lies under one of `roots`: a link may lead a file elsewhere. */
export const contained = async (folder: string, roots: readonly Root[]): Promise<boolean> => {
  const bases = await Promise.all(roots.map((root) => realpath(root.folder).catch(() => root.folder)))
  for (const name of await readdir(folder)) {
    const real = await realpath(join(folder, name)).catch(() => undefined)
    if (real === undefined || !bases.some((base) => real.startsWith(base + sep))) return false
  }
  return true
}
