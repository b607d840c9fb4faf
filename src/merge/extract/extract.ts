/**
 * @file What a fine-tuning changed, as a LoRA adapter: for every linear module the difference D = W' - W of its weights,
 * [out, in], is replaced by the nearest matrix of a low rank, B A with B: [out, r] and A: [r, in], which is given by the
 * leading singular vectors of D (Eckart and Young 1936). One matrix is in memory at a time, and the adapter.
 */
import type { Checkpoint } from '../../checkpoint/index.js'
import { CheckpointError, UsageError } from '../../errors.js'
import { type AdaptedModel, lora } from '../../adapt/index.js'
import { baseTensor, transposed } from '../../models/stored.js'
import {
  type Model,
  openModel,
  type Site,
  targetSites,
  type Targets,
  type WeightSpec,
} from '../../models/index.js'
import type { OnProgress } from '../../progress.js'
import { sameShape, type Value, valueOf } from '../../tensor/index.js'
import { type LowRank, nearestLowRank, type RankChoice } from './low-rank.js'
import { tensorInWords } from '../core/recipe/vocabulary.js'

/** Options of `extract`. */
export interface ExtractOptions extends Pick<Targets, 'targets' | 'exclude'>, RankChoice {
  /** Modules that are saved whole, as names or suffixes; `changed`, alone or among them: whatever differs and has no low rank. */
  readonly modulesToSave?: readonly string[] | 'changed'
  /** Hears each tensor. */
  readonly onProgress?: OnProgress
  /** Aborts between two tensors. */
  readonly signal?: AbortSignal
}

/** Fate of a tensor in which the two differ. */
export interface ExtractedTensor {
  readonly name: string
  readonly shape: readonly number[]
  /** `low-rank`: in the adapter; `saved`: whole; `left`: its change is in no adapter. */
  readonly kept: 'low-rank' | 'saved' | 'left'
  readonly rank?: number
  /** ||D|| over the larger of ||W|| and ||W'||, Frobenius norms: how much the tuning changed. */
  readonly change: number
  /** ||D - B A|| / ||D||: the share of the change that is not kept; 0 where it is saved, 1 where it is left. */
  readonly error: number
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

/** The tensors of both by name. Throws CheckpointError naming the first that is not there, or of another shape. */
const checkSame = (base: Model, tuned: Model): void => {
  const types = [base, tuned].map(({ checkpoint }) => String(checkpoint.config.model_type))
  if (types[0] !== types[1])
    throw new CheckpointError(
      'ArchitectureMismatch',
      `${base.checkpoint.folder} is of type ${types[0]}, ${tuned.checkpoint.folder} of type ${types[1]}.`,
    )
  const [ours, theirs] = [base, tuned].map(
    ({ architecture, config }) => new Map(architecture.table(config).map((spec) => [spec.name, spec])),
  )
  for (const name of new Set([...ours.keys(), ...theirs.keys()])) {
    const a = ours.get(name)
    const b = theirs.get(name)
    if (a && b && sameShape(a.shape, b.shape) && (a.tied === undefined) === (b.tied === undefined)) continue
    const place = ({ checkpoint }: Model, spec?: WeightSpec): string =>
      spec ? placed(checkpoint, spec) : `${checkpoint.folder}, which has no ${name}`
    throw new CheckpointError(
      a && b && sameShape(a.shape, b.shape) ? 'TiedAndUntied' : 'ShapeMismatch',
      `${place(base, a)} does not fit ${place(tuned, b)}.`,
      { hint: 'An adapter stands on a base of the same architecture and sizes.' },
    )
  }
}

const placed = (checkpoint: Checkpoint, { name, shape, tied }: WeightSpec): string => {
  const file = checkpoint.has(name) ? checkpoint.info(name).file : 'config.json'
  return `${tensorInWords(checkpoint, { name, shape, file })}${tied === undefined ? '' : ` (tied to ${tied})`}`
}

/** W' - W, and how large it is. */
const differenceOf = async (
  base: Model,
  tuned: Model,
  name: string,
): Promise<{ difference: Value; change: number }> => {
  const { data: a, shape } = await baseTensor(base, name)
  const { data: b } = await baseTensor(tuned, name)
  const old = a as Float32Array
  const fresh = b as Float32Array
  const out = new Float32Array(old.length)
  let before = 0
  let after = 0
  let changed = 0
  for (let i = 0; i < out.length; i++) {
    const ours = old[i]
    const theirs = fresh[i]
    const d = theirs - ours
    if (!Number.isFinite(d)) throw notFinite(base, tuned, name, i, ours)
    out[i] = d
    before += ours * ours
    after += theirs * theirs
    changed += d * d
  }
  return {
    difference: valueOf(out, shape),
    change: changed === 0 ? 0 : Math.sqrt(changed / Math.max(before, after)),
  }
}

const notFinite = (base: Model, tuned: Model, name: string, at: number, ours: number): CheckpointError => {
  const { checkpoint, architecture, config } = Number.isFinite(ours) ? tuned : base
  const spec = architecture.table(config).find((s) => s.name === name)!
  return new CheckpointError(
    'NotFinite',
    `${placed(checkpoint, spec)} holds NaN or an infinity at element ${at}.`,
  )
}

const moduleOf = (name: string): string => name.slice(0, name.lastIndexOf('.'))

/** The low rank of one site's difference, as the adapter has it. */
interface Factors extends LowRank {
  readonly site: Site
}

/** What is known of the tensors after all of them were read. */
interface Findings {
  readonly factors: readonly Factors[]
  /** Differences that no low rank holds: norms, biases, embeddings, modules that are no targets. */
  readonly rest: readonly {
    readonly name: string
    readonly shape: readonly number[]
    readonly change: number
  }[]
  readonly changes: ReadonlyMap<string, number>
  readonly unchanged: number
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

/** Which modules and biases the adapter saves whole. */
const savedModules = (
  { rest }: Findings,
  modulesToSave: ExtractOptions['modulesToSave'] = [],
): { modulesToSave: readonly string[]; bias: 'none' | 'all' } => {
  const wanted = [modulesToSave].flat()
  if (!wanted.includes('changed')) return { modulesToSave: wanted, bias: 'none' }
  const whole = rest.filter(({ name }) => !name.endsWith('.bias')).map(({ name }) => moduleOf(name))
  const isSaved = new Set(whole)
  const biases = rest.some(({ name }) => name.endsWith('.bias') && !isSaved.has(moduleOf(name)))
  const named = wanted.filter((name) => name !== 'changed')
  return { modulesToSave: [...new Set([...whole, ...named])], bias: biases ? 'all' : 'none' }
}

/** Whether a module, or one that it lies in, ends as one of these, as PEFT finds modules to save. */
const isSaved = (name: string, modulesToSave: readonly string[]): boolean => {
  const parts = name.split('.')
  return parts.some((_, i) => {
    const module = parts.slice(0, i + 1).join('.')
    return modulesToSave.some((end) => module.endsWith(end))
  })
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
  const saved = savedModules(findings, options.modulesToSave)
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

const reported = (
  { rest, factors: all, changes }: Findings,
  factors: readonly Factors[],
  whole: ReadonlySet<string>,
): ExtractedTensor[] => {
  const low = new Set(factors)
  const tensors = [
    ...all.map((extractedModule): ExtractedTensor => {
      const { name, in: width, out, transposed: turned } = extractedModule.site
      const tensor = `${name}.weight`
      const shape = turned ? [width, out] : [out, width]
      const change = changes.get(tensor)!
      if (!low.has(extractedModule)) return { name: tensor, shape, kept: 'saved', change, error: 0 }
      return {
        name: tensor,
        shape,
        kept: 'low-rank',
        rank: extractedModule.rank,
        change,
        error: extractedModule.error,
      }
    }),
    ...rest.map(({ name, shape, change }): ExtractedTensor => {
      const kept = whole.has(name) ? 'saved' : 'left'
      return { name, shape, kept, change, error: kept === 'saved' ? 0 : 1 }
    }),
  ]
  return tensors.sort((a, b) => (a.name < b.name ? -1 : 1))
}

const checkChoice = ({ rank, energy }: RankChoice): void => {
  if (rank === undefined && energy === undefined)
    throw new UsageError('NoRank', 'neither a rank nor an energy', {
      hint: 'Say how much is kept: rank (--rank 16), or the share of the squared singular values (--energy 0.99).',
    })
  if (rank !== undefined && !(Number.isInteger(rank) && rank > 0))
    throw new UsageError('BadValue', `rank: expected an integer from 1 on, found ${rank}`)
  if (energy !== undefined && !(energy > 0 && energy <= 1))
    throw new UsageError('BadValue', `energy: expected a share in (0, 1], found ${energy}`)
}
