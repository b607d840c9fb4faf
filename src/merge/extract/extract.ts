/**
 * @file What a fine-tuning changed, as a LoRA adapter: for every linear module the difference D = W' - W of its weights,
 * [out, in], is replaced by the nearest matrix of a low rank, B A with B: [out, r] and A: [r, in], which is given by the
 * leading singular vectors of D (Eckart and Young 1936). One matrix is in memory at a time, and the adapter.
 */
import type { Checkpoint } from '../../checkpoint/index.js'
import { UsageError } from '../../errors.js'
import { type AdaptedModel, lora } from '../../adapt/index.js'
import { baseTensor, transposed } from '../../models/stored.js'
import { type Model, openModel, type Site, targetSites, type Targets } from '../../models/index.js'
import type { OnProgress } from '../../progress.js'
import { type Value, valueOf } from '../../tensor/index.js'
import { checkSame, differenceOf } from './difference.js'
import { checkChoice, nearestLowRank, type RankChoice } from './low-rank.js'
import { type ExtractedTensor, type Factors, type Findings, reported } from './report.js'
import { isSaved, savedModules } from './saved.js'

/** Options of `extract`. */
export interface ExtractOptions extends Pick<Targets, 'targets' | 'exclude'>, RankChoice {
  /** Modules that are saved whole, as names or suffixes; `changed`, alone or among them: whatever differs and has no low rank. */
  readonly modulesToSave?: readonly string[] | 'changed'
  /** Hears each tensor. */
  readonly onProgress?: OnProgress
  /** Aborts between two tensors. */
  readonly signal?: AbortSignal
}

/** Adapter that was extracted, and the error that it leaves. */
export interface Extraction {
  /** The base with the adapter; `save` writes PEFT's folder. */
  readonly model: AdaptedModel
  readonly tensors: readonly ExtractedTensor[]
  /** The tensors that are the same in both. */
  readonly unchanged: number
  readonly notes: readonly string[]
}

const find = async (
  base: Model,
  tuned: Model,
  sites: readonly Site[],
  options: ExtractOptions,
): Promise<Findings> => {
  const planned = new Map(sites.map((site) => [`${site.name}.weight`, site]))
  const table = base.architecture
    .table(base.config)
    .filter(({ tied, kind }) => tied === undefined && kind !== 'buffer')
  const factors: Factors[] = []
  const rest: { name: string; shape: readonly number[]; change: number }[] = []
  const changes = new Map<string, number>()
  let done = 0
  for (const { name, shape } of table) {
    options.signal?.throwIfAborted()
    const { difference, change } = await differenceOf(base, tuned, name)
    const site = planned.get(name)
    if (change > 0 && site) {
      const D = site.transposed ? transposed(difference) : difference
      const data = D.data as Float32Array
      factors.push({ site, ...(await nearestLowRank({ rows: site.out, cols: site.in, data }, options)) })
    } else if (change > 0) rest.push({ name, shape, change })
    if (change > 0) changes.set(name, change)
    options.onProgress?.({
      status: 'progress',
      name: 'extract',
      done: ++done,
      total: table.length,
      unit: 'tensors',
    })
  }
  return { factors, rest, changes, unchanged: table.length - changes.size }
}

/** Modules that are saved whole need no low rank. */
const remaining = (findings: Findings, modulesToSave: readonly string[]): readonly Factors[] =>
  findings.factors.filter(({ site: { name } }) => !isSaved(name, modulesToSave))

/** Throws UsageError for modules to save that no adapter could have, before anything is taken apart. */
const checkSaved = async (
  base: Model,
  sites: readonly Site[],
  { modulesToSave = [] }: ExtractOptions,
): Promise<void> => {
  const named = [modulesToSave].flat().filter((name) => name !== 'changed')
  const targets = sites.map(({ name }) => name).filter((name) => !isSaved(name, named))
  await lora.count(base, { modulesToSave: named, targets: targets.length ? targets : undefined, rank: 1 })
}

const escaped = (name: string): string => name.replaceAll('.', '\\.')

/** The adapter of `factors` on `base`, with the tuned model's values where modules are saved whole. */
const adapted = async (
  base: Model,
  tuned: Model,
  factors: readonly Factors[],
  saved: ReturnType<typeof savedModules>,
): Promise<AdaptedModel> => {
  const ranks = Object.fromEntries(factors.map(({ site, rank }) => [escaped(site.name), rank]))
  const [usual] = mostCommon(factors.map(({ rank }) => rank))
  const others = Object.fromEntries(Object.entries(ranks).filter(([, rank]) => rank !== usual))
  const model = await lora(base, {
    ...saved,
    targets: factors.map(({ site }) => site.name),
    rank: usual,
    alpha: usual,
    rankPattern: others,
    alphaPattern: others,
  })
  const values = new Map<string, Value>()
  for (const { site, rank, A, B } of factors) {
    const key = site.kind === 'embedding' ? 'lora_embedding_' : 'lora_'
    const end = site.kind === 'embedding' ? '' : '.weight'
    values.set(`${site.name}.${key}A${end}`, valueOf(A, [rank, site.in]))
    values.set(`${site.name}.${key}B${end}`, valueOf(B, [site.out, rank]))
  }
  const parameters: Record<string, Value> = {}
  for (const name of Object.keys(model.parameters))
    parameters[name] = values.get(name) ?? (await baseTensor(tuned, name))
  return model.with(parameters)
}

const mostCommon = (values: readonly number[]): [number, number] => {
  const counts = new Map<number, number>()
  for (const x of values) counts.set(x, (counts.get(x) ?? 0) + 1)
  return [...counts].reduce((best, entry) => (entry[1] > best[1] ? entry : best))
}

const sitesFor = (base: Model, { targets = 'all-linear', exclude }: ExtractOptions): Site[] =>
  targetSites('extract', base, ['linear', 'embedding'], { targets, exclude })

/** Modules that `extract` would look at, and the size of their adapter at `rank`. Reads headers only. */
export const planExtraction = async (
  base: Checkpoint,
  tuned: Checkpoint,
  options: ExtractOptions,
): Promise<{ modules: number; parameters?: number }> => {
  checkChoice(options)
  const models = await Promise.all([openModel(base), openModel(tuned)])
  checkSame(...models)
  const sites = sitesFor(models[0], options)
  await checkSaved(models[0], sites, options)
  const { rank } = options
  if (rank === undefined) return { modules: sites.length }
  const sizes = sites.map((site) => Math.min(rank, site.in, site.out) * (site.in + site.out))
  return { modules: sites.length, parameters: sizes.reduce((sum, size) => sum + size, 0) }
}

/**
 * The low-rank difference of `tuned` and `base`, two checkpoints of one architecture, as a LoRA adapter on `base`: of
 * `rank`, or at each module of the lowest rank that holds the share `energy` of the squared singular values. Targets:
 * every linear module but the output head. Other tensors that differ are reported, and saved whole on request.
 * Throws UsageError where the two are the same or a target matches nothing, CheckpointError for other architectures and
 * shapes, and numbers that are not finite.
 */
export const extract = async (
  base: Checkpoint,
  tuned: Checkpoint,
  options: ExtractOptions,
): Promise<Extraction> => {
  checkChoice(options)
  const [ours, theirs] = await Promise.all([openModel(base), openModel(tuned)])
  checkSame(ours, theirs)
  const sites = sitesFor(ours, options)
  await checkSaved(ours, sites, options)
  const findings = await find(ours, theirs, sites, options)
  const saved = savedModules(
    findings.rest.map(({ name }) => name),
    options.modulesToSave,
  )
  const factors = remaining(findings, saved.modulesToSave)
  if (factors.length === 0)
    throw new UsageError(
      'NothingToExtract',
      `${tuned.folder} does not differ from ${base.folder} in any module that the targets name`,
      {
        hint: findings.rest.length
          ? `It does in: ${findings.rest
              .slice(0, 5)
              .map(({ name }) => name)
              .join(', ')}.`
          : 'The two are the same.',
      },
    )
  const model = await adapted(ours, theirs, factors, saved)
  const whole = new Set(model.plan.whole)
  const tensors = reported(findings, factors, whole)
  const left = tensors.filter(({ kept }) => kept === 'left')
  return {
    model,
    tensors,
    unchanged: findings.unchanged,
    notes: left.length
      ? [
          `${left.length} tensors differ that the adapter does not hold (${left[0].name}, ...): save them with modulesToSave`,
        ]
      : [],
  }
}
