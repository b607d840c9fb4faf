/** @file Merging: from a recipe to a folder, or to an explanation of what would be written. */
import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join, resolve, sep } from 'node:path'
import {
  Checkpoint,
  copyCompanions,
  exists,
  formatJson,
  type JsonObject,
  type RandomAccess,
  shardName,
  shardsOf,
} from '../../../checkpoint/index.js'
import { UsageError } from '../../../errors.js'
import type { OnProgress } from '../../../progress.js'
import { formatRecipe, modelCard } from './model-card.js'
import type { Companions } from './companions.js'
import { type MergePlan, planMerge } from './plan.js'
import type { Recipe } from './recipe.js'
import { closeAll, foreignTokenizer, openSources } from './sources.js'
import { bytesOf, checkInputs, memoryOf, totalBytes, writeShards } from '../../../stream/shards.js'
import { holdsUnfinished, Staging, type Workplace } from '../../../stream/staging.js'
import type { MergeMethod } from '../method.js'
import { type PlannedTensor, seedOf, sourcesOf, streamOf } from '../planned.js'

/** Where a merge is kept until it is whole. */
const workplace: Workplace = { hidden: '.merging', work: 'merge' }
/** Where the results of earlier documents are kept until the last is done. */
const stepFolder = '.steps'

/** Whether the folder `out` holds a merge that was interrupted. */
export const isInterrupted = async (out: string): Promise<boolean> =>
  (await holdsUnfinished(out, workplace)) || exists(join(out, stepFolder))

/** The methods that recipes may name. */
export interface KnownMethods {
  readonly methods: readonly MergeMethod[]
}

export interface ExplainOptions {
  /** Where relative paths of the recipe begin. Default: the working directory. */
  readonly folder?: string
  /** Merge what fits by name and shape, whatever the architectures. */
  readonly allowCrimes?: boolean
  /** How many threads compute; 1: only the caller's. Default: as many as there are cores, at most 8; 1 for small models. */
  readonly threads?: number
  /** Refuse a model whose index is out of step with its shards. Default: a warning. */
  readonly strict?: boolean
  /** Told what is amiss with a model. Default: console.warn. */
  readonly onWarning?: (message: string) => void
  readonly signal?: AbortSignal
  readonly onProgress?: OnProgress
}

export interface MergeOptions extends ExplainOptions {
  /** Of the methods that draw at random. Default 0. */
  readonly seed?: number
  /** A shard holds at most this many bytes. Default 5e9. */
  readonly maxShardBytes?: number
  /** Go on with the merge that was interrupted in the folder. */
  readonly resume?: boolean
  /** Replace the weights that the folder holds. */
  readonly overwrite?: boolean
  /** Copy tokenizer, chat template and generation settings. Default true. */
  readonly copyTokenizer?: boolean
  /** The recipe's text, to be kept as it is in mergekit_config.yml. Default: the recipe written out. */
  readonly source?: string
}

/** Report of what was written. */
export interface MergeReport {
  readonly folder: string
  readonly method: string
  readonly tensors: number
  readonly bytes: number
  readonly notes: readonly string[]
}

/** Stands for the recipe, the options that matter and the inputs as they are now. What lies in `out` is made anew. */
const fingerprint = async (
  recipe: Recipe,
  plan: MergePlan,
  out: string,
  { seed = 0, maxShardBytes = 5e9 }: MergeOptions,
): Promise<string> => {
  const inside = resolve(out) + sep
  const read = plan.tensors.flatMap(sourcesOf).flatMap(({ info }) => info.path ?? [])
  const paths = [...new Set([...plan.inputs, ...read])].filter((path) => !resolve(path).startsWith(inside))
  const files = await Promise.all(
    paths.sort().map(async (path) => {
      const { size, mtimeMs } = await stat(path)
      return [path, size, mtimeMs]
    }),
  )
  const tensors = plan.tensors.map(({ name, dtype, shape }) => [name, dtype, shape])
  const text = JSON.stringify([recipe, seed, maxShardBytes, files, tensors])
  return createHash('sha256').update(text).digest('hex')
}

const indexOf = (shards: readonly (readonly PlannedTensor[])[]): JsonObject => ({
  metadata: { total_size: totalBytes(shards.flat()) },
  weight_map: Object.fromEntries(
    shards.flatMap((shard, i) => shard.map(({ name }) => [name, shardName(i, shards.length)])),
  ),
})

const json = (object: JsonObject): string => `${formatJson(object)}\n`

/** Whether `out` holds the finished merge of this recipe already: an interruption came after the last step. */
const isFinished = async (out: string, source: string): Promise<boolean> => {
  const there = (file: string): Promise<string | undefined> =>
    readFile(join(out, file), 'utf8').catch(() => undefined)
  return (
    !(await holdsUnfinished(out, workplace)) &&
    (await there('mergekit_config.yml')) === source &&
    (await there('config.json')) !== undefined
  )
}

/** The folder's name; where a hidden one is being filled, that of the folder it is for. */
const titleOf = (out: string): string => {
  const path = resolve(out)
  return basename(basename(path).startsWith('.') ? dirname(path) : path)
}

const writePlan = async (
  recipe: Recipe,
  plan: MergePlan,
  staging: Staging,
  options: MergeOptions & { readonly source: string },
): Promise<void> => {
  const { out } = staging
  await staging.begin(await fingerprint(recipe, plan, out, options))
  const shards = shardsOf(plan.tensors, options.maxShardBytes ?? 5e9)
  const { seed, threads, signal, onProgress } = options
  const split = shards.map((tensors) => streamOf(tensors, plan.method).tensors)
  const stream = { method: plan.method.blockMethod, tensors: split.flat() }
  await writeShards(stream, staging, split, {
    name: workplace.work,
    seed: seedOf(seed ?? 0),
    threads,
    signal,
    onProgress,
  })
  const { folder, leave, files } = plan.companions
  if (options.copyTokenizer !== false && folder !== undefined) await copyCompanions(folder, out, leave)
  await staging.publish(shards.length, {
    ...files,
    ...(shards.length > 1 ? { 'model.safetensors.index.json': json(indexOf(shards)) } : {}),
    'README.md': modelCard(titleOf(out), recipe, options.source),
    'mergekit_config.yml': options.source,
    'config.json': json(plan.config),
  })
}

const mergeOne = async (
  recipe: Recipe,
  out: string,
  steps: ReadonlyMap<string, string>,
  options: MergeOptions & KnownMethods,
): Promise<MergeReport> => {
  const source = options.source ?? formatRecipe(recipe)
  const finished = options.resume === true && (await isFinished(out, source))
  const staging = await Staging.enter(out, workplace, options)
  const { folder, strict, onWarning } = options
  const sources = { folder, steps, work: join(staging.folder, 'folded'), strict, onWarning }
  const opened = await openSources(recipe, sources)
  try {
    const tokenizer = await foreignTokenizer(recipe, sources)
    const plan = await planMerge(recipe, opened, { ...options, tokenizer })
    if (!finished) await writePlan(recipe, plan, staging, { ...options, source })
    const { method, tensors, notes } = plan
    return { folder: out, method: method.name, tensors: tensors.length, bytes: totalBytes(tensors), notes }
  } catch (error) {
    await staging.leave()
    throw error
  } finally {
    await closeAll(opened)
  }
}

/** All but the last have names, which no other has. Throws UsageError. */
const checkSteps = (recipes: readonly Recipe[]): void => {
  const names = recipes.map(({ name }) => name)
  names.slice(0, -1).forEach((name, i) => {
    if (name === undefined)
      throw new UsageError(
        'NoName',
        `document ${i + 1} of the recipe has no name, so no later one can use it`,
      )
    if (names.indexOf(name) !== i) throw new UsageError('NameTaken', `two documents are named ${name}`)
  })
}

/**
 * Writes the model that `recipe` describes to the folder `out`: weights, config, tokenizer, model card, recipe. Of
 * several documents, each may name earlier ones as models, and the last one's model is written. Memory does not grow
 * with the model; arithmetic is float32. Nothing stands under a final name before all of it is written; what was
 * killed goes on from its finished shards with `resume`, and gives the same bytes.
 * Throws UsageError for a recipe that does not fit its method, and CheckpointError for models that do not fit together.
 */
export const mergeRecipe = async (
  recipe: Recipe | readonly Recipe[],
  out: string,
  options: MergeOptions & KnownMethods,
): Promise<MergeReport> => {
  const recipes = [recipe].flat() as Recipe[]
  checkSteps(recipes)
  const stepsFolder = join(out, stepFolder)
  const steps = new Map<string, string>()
  if (options.overwrite && !options.resume) await rm(stepsFolder, { recursive: true, force: true })
  for (const step of recipes.slice(0, -1)) {
    const folder = join(stepsFolder, step.name!)
    await mergeOne(step, folder, steps, { ...options, source: undefined })
    steps.set(step.name!, folder)
  }
  const source = options.source ?? recipes.map(formatRecipe).join('---\n')
  const report = await mergeOne(recipes.at(-1)!, out, steps, { ...options, source })
  await rm(stepsFolder, { recursive: true, force: true })
  return report
}

/** A merge, explained. */
export interface Explanation {
  /** The document's name, where it has one. */
  readonly name?: string
  readonly method: string
  readonly notes: readonly string[]
  readonly bytes: number
  /** Memory that the merge would take at its peak, in bytes, about. */
  readonly memory: number
  readonly tensors: readonly {
    readonly name: string
    readonly dtype: string
    readonly shape: readonly number[]
    readonly action: 'merge' | 'copy'
    readonly base?: string
    /** Models, with the name that the tensor has in each. */
    readonly models: readonly { readonly model: string; readonly tensor: string }[]
    readonly parameters: Readonly<Record<string, unknown>>
  }[]
}

const explained = ({ name }: Recipe, { method, notes, tensors }: MergePlan, memory: number): Explanation => ({
  name,
  method: method.name,
  notes,
  bytes: totalBytes(tensors),
  memory,
  tensors: tensors.map((t) => ({
    name: t.name,
    dtype: t.dtype,
    shape: t.shape,
    action: t.action,
    base: t.base?.model,
    models: t.models.map(({ model, info }) => ({ model, tensor: info.name })),
    parameters: t.parameters,
  })),
})

/** What a step will write, for later steps to be planned on: names and shapes, no numbers. */
const standIn = (name: string, { tensors, config }: MergePlan): Checkpoint => {
  const file = 'model.safetensors'
  const zeros: RandomAccess = {
    size: totalBytes(tensors),
    read: async (into) => void into.fill(0),
    close: async () => {},
  }
  const infos = tensors.map((t) => [t.name, { ...t, file, offset: 0, length: bytesOf(t) }] as const)
  return new Checkpoint({
    folder: name,
    config,
    metadata: {},
    tensors: new Map(infos),
    files: new Map([[file, zeros]]),
  })
}

/**
 * Says what `mergeRecipe` would do to every tensor, and refuses what it would refuse: every input is read once, for
 * numbers that are not finite. Writes nothing (an adapter is folded into its base in a temporary folder).
 */
export const explainMerge = async (
  recipe: Recipe | readonly Recipe[],
  options: ExplainOptions & KnownMethods,
): Promise<Explanation[]> => {
  const recipes = [recipe].flat() as Recipe[]
  checkSteps(recipes)
  const work = await mkdtemp(join(tmpdir(), 'weft-merge-'))
  const steps = new Map<string, Checkpoint>()
  const companions = new Map<string, Companions>()
  try {
    const explanations: Explanation[] = []
    for (const step of recipes) {
      const { folder, strict, onWarning } = options
      const sources = { folder, steps, work, strict, onWarning }
      const opened = await openSources(step, sources)
      try {
        const tokenizer = await foreignTokenizer(step, sources)
        const plan = await planMerge(step, opened, { ...options, companions, tokenizer })
        const stream = streamOf(plan.tensors, plan.method)
        const { threads, signal, onProgress } = options
        await checkInputs(stream, { name: workplace.work, threads, signal, onProgress })
        if (step.name !== undefined) {
          steps.set(step.name, standIn(step.name, plan))
          companions.set(step.name, plan.companions)
        }
        explanations.push(explained(step, plan, memoryOf(stream, options)))
      } finally {
        await closeAll(opened)
      }
    }
    return explanations
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}
