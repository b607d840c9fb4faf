/** @file The checkpoints that a recipe names, opened: a folder, a hub id in the cache, an earlier step, a base with an adapter. */
import { createHash } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { type Checkpoint, open, readAdapter, resolveModel } from '../../../checkpoint/index.js'
import type { Companions } from './companions.js'
import { type Recipe, tokenizerOf } from './recipe.js'

export interface SourceOptions {
  /** Where relative paths begin. Default: the working directory. */
  readonly folder?: string
  /** Folders of earlier steps by their names; or what stands for them while a merge is only planned. */
  readonly steps?: ReadonlyMap<string, string | Checkpoint>
  /** Where bases with adapters folded in are kept while the merge runs. */
  readonly work: string
  /** Refuse a model whose index is out of step with its shards. */
  readonly strict?: boolean
  /** Told what is amiss with a model. Default: console.warn. */
  readonly onWarning?: (message: string) => void
}

/** Every model that a recipe names for its weights, each once, the base first. */
export const namedModels = ({ base_model: base, models, slices, modules = {} }: Recipe): string[] => [
  ...new Set([
    ...(base === undefined ? [] : [base]),
    ...[{ models, slices }, ...Object.values(modules)].flatMap(
      ({ models: whole = [], slices: parts = [] }) => [
        ...whole.map(({ model }) => model),
        ...parts.flatMap(({ sources, base_model: sliceBase }) => [
          ...sources.map(({ model }) => model),
          ...(sliceBase === undefined ? [] : [sliceBase]),
        ]),
      ],
    ),
  ]),
]

const located = async (path: string, { folder, steps }: SourceOptions): Promise<string> => {
  const step = steps?.get(path)
  if (typeof step === 'string') return step
  const there = folder === undefined ? path : resolve(folder, path)
  return resolveModel(there).catch(() => resolveModel(path))
}

/**
 * What lies in the folder that `recipe` takes its tokenizer from, where that is none of its models; undefined where it is,
 * or where there is no such folder.
 */
export const foreignTokenizer = async (
  recipe: Recipe,
  options: SourceOptions,
): Promise<Companions | undefined> => {
  const source = tokenizerOf(recipe)?.source
  if (source === undefined || ['union', 'base', ...namedModels(recipe)].includes(source)) return undefined
  const folder = await located(source, options).catch(() => undefined)
  return folder === undefined ? undefined : { folder, leave: [], files: {} }
}

/** Whether there is such a step, folder or cached model. */
const exists = async (path: string, options: SourceOptions): Promise<boolean> =>
  options.steps?.has(path) === true ||
  located(path, options).then(
    () => true,
    () => false,
  )

/** `base+adapter` as its two parts. A + may also belong to a path: the first that leaves a model before it counts. */
const partsOf = async (name: string, options: SourceOptions): Promise<[base: string, adapter?: string]> => {
  const places = [...name.matchAll(/\+/g)].map(({ index }) => index)
  if (places.length === 0 || (await exists(name, options))) return [name]
  const split = (at: number): [string, string] => [name.slice(0, at), name.slice(at + 1)]
  for (const at of places) if (await exists(name.slice(0, at), options)) return split(at)
  return split(places[0])
}

const origins = new WeakMap<Checkpoint, readonly string[]>()

/** The files that a folded checkpoint was made of; none for one that was opened as it is. */
export const originsOf = (checkpoint: Checkpoint): readonly string[] => origins.get(checkpoint) ?? []

const pathsOf = (checkpoint: Checkpoint): string[] => [
  ...new Set(checkpoint.names().flatMap((name) => checkpoint.info(name).path ?? [])),
]

const opened = async (path: string, options: SourceOptions): Promise<Checkpoint> => {
  const { strict, onWarning } = options
  return open(await located(path, options), { strict, onWarning })
}

/** Opens `base` with the adapter in `adapter` folded into it. What an earlier step makes is no adapter's own base. */
const openFolded = async (base: string, adapter: string, options: SourceOptions): Promise<Checkpoint> => {
  const { fold, loadAdapter } = await import('../../../adapt/index.js')
  const name = `${base}+${adapter}`
  const hash = createHash('sha256').update(name).digest('hex').slice(0, 8)
  const folder = join(options.work, `${basename(base)}+${basename(adapter)}-${hash}`)
  const step = options.steps?.get(base)
  await rm(folder, { recursive: true, force: true })
  const checkpoint = typeof step === 'object' ? step : await opened(base, options)
  try {
    const path = await located(adapter, options)
    const { onWarning } = options
    const loaded = await loadAdapter(checkpoint, path, { force: step !== undefined, onWarning })
    await fold(loaded, folder, { onWarning })
    await using read = (await readAdapter(path)).tensors
    const folded = await open(folder)
    origins.set(folded, [...pathsOf(checkpoint), ...pathsOf(read)])
    return folded
  } finally {
    if (checkpoint !== step) await checkpoint.close()
  }
}

/** Opens one model: `path[@revision]`, the name of a step, or `base+adapter`, folded. */
export const openSource = async (name: string, options: SourceOptions): Promise<Checkpoint> => {
  const step = options.steps?.get(name)
  if (typeof step === 'object') return step
  const [base, adapter] = await partsOf(name, options)
  return adapter === undefined ? opened(base, options) : openFolded(base, adapter, options)
}

/** Opens the models that `recipe` names. Close them with `closeAll`. */
export const openSources = async (
  recipe: Recipe,
  options: SourceOptions,
): Promise<Map<string, Checkpoint>> => {
  const sources = new Map<string, Checkpoint>()
  try {
    for (const name of namedModels(recipe)) sources.set(name, await openSource(name, options))
    return sources
  } catch (error) {
    await closeAll(sources)
    throw error
  }
}

/** Closes every checkpoint of `opened`. */
export const closeAll = async (opened: ReadonlyMap<string, Checkpoint>): Promise<void> => {
  await Promise.all([...opened.values()].map((checkpoint) => checkpoint.close()))
}
