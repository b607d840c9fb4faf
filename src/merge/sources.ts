/** @file The checkpoints that a recipe names, opened: a folder, a hub id in the cache, an earlier step, a base with an adapter. */
import { rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { type Checkpoint, open, resolveModel } from '../checkpoint/index.js'
import type { Recipe } from './recipe.js'

export interface SourceOptions {
  /** Where relative paths begin. Default: the working directory. */
  readonly folder?: string
  /** Folders of earlier steps by their names; or what stands for them while a merge is only planned. */
  readonly steps?: ReadonlyMap<string, string | Checkpoint>
  /** Where bases with adapters folded in are kept while the merge runs. */
  readonly work: string
}

/** Every model that a recipe names for its weights, each once, the base first. */
export const namedModels = ({ base_model: base, models, slices, modules = {} }: Recipe): string[] => [
  ...new Set([
    ...(base === undefined ? [] : [base]),
    ...[{ models, slices }, ...Object.values(modules)].flatMap(
      ({ models: whole = [], slices: parts = [] }) => [
        ...whole.map(({ model }) => model),
        ...parts.flatMap(({ sources, base_model: own }) => [
          ...sources.map(({ model }) => model),
          ...(own === undefined ? [] : [own]),
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

/** Opens `base` with the adapter in `adapter` folded into it. */
const openFolded = async (base: string, adapter: string, options: SourceOptions): Promise<Checkpoint> => {
  const { fold, loadAdapter } = await import('../adapt/index.js')
  const folder = join(options.work, `${base}+${adapter}`.replace(/[^\w.-]+/g, '_'))
  await rm(folder, { recursive: true, force: true })
  await using checkpoint = await open(await located(base, options))
  await fold(await loadAdapter(checkpoint, await located(adapter, options)), folder)
  return open(folder)
}

/** Opens the models that `recipe` names. Close them with `closeAll`. */
export const openSources = async (
  recipe: Recipe,
  options: SourceOptions,
): Promise<Map<string, Checkpoint>> => {
  const opened = new Map<string, Checkpoint>()
  try {
    for (const name of namedModels(recipe)) {
      const [base, adapter] = name.split('+')
      const step = options.steps?.get(name)
      if (typeof step === 'object') opened.set(name, step)
      else if (adapter === undefined) opened.set(name, await open(await located(base, options)))
      else opened.set(name, await openFolded(base, adapter, options))
    }
    return opened
  } catch (error) {
    await closeAll(opened)
    throw error
  }
}

export const closeAll = async (opened: ReadonlyMap<string, Checkpoint>): Promise<void> => {
  await Promise.all([...opened.values()].map((checkpoint) => checkpoint.close()))
}
