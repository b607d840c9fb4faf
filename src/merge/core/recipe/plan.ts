/** @file What a merge will do to every tensor, found from headers and the recipe before anything is computed. */
import type { Checkpoint, JsonObject, SafetensorsDType } from '../../../checkpoint/index.js'
import { CheckpointError, UsageError } from '../../../errors.js'
import { stackedConfig } from '../../../models/index.js'
import { sizeOf } from '../../../tensor/index.js'
import {
  align,
  type Aligned,
  checkArchitectures,
  type OutputLayer,
  type Slice,
  slicesOf,
  type SourceTensor,
} from './align.js'

import { type Companions, companionsOf } from './companions.js'
import { type MergeMethod, methodNamed, type ParameterValues } from '../method.js'
import type { PlannedTensor } from '../planned.js'
import { type RecipePart, recipeParts } from './modules.js'
import { evaluate, idleIn, type Recipe, type RecipeDType, type Settings } from './recipe.js'
import { namedModels, originsOf } from './sources.js'
import { underTableNames } from './table-names.js'
import { withChatTemplate } from './tokenizer/files.js'
import { type Member, planVocabulary } from './tokenizer/plan.js'

export interface MergePlan {
  readonly method: MergeMethod
  readonly tensors: readonly PlannedTensor[]
  readonly config: JsonObject
  /** The base, or the first model: what the output's config.json is made from. */
  readonly donor: Checkpoint
  /** Tokenizer, chat template and settings that the output gets. */
  readonly companions: Companions
  /** Files, beside those of the tensors, that the output depends on. */
  readonly inputs: readonly string[]
  /** What a user should know: parameters without effect, a difference from mergekit. */
  readonly notes: readonly string[]
}

const stored: Record<RecipeDType, SafetensorsDType> = { float32: 'F32', float16: 'F16', bfloat16: 'BF16' }
const floats: readonly SafetensorsDType[] = ['F32', 'F16', 'BF16', 'F64', 'F8_E4M3', 'F8_E5M2']

/** The value of a parameter: of a source's settings, its slice's, the recipe's, the first that says something. */
const settingOf = (
  key: string,
  name: string,
  depth: number,
  scopes: readonly (Settings | undefined)[],
): number | boolean | undefined => {
  for (const scope of scopes) {
    const setting = scope?.[key]
    const value = setting === undefined ? undefined : evaluate(setting, name, depth)
    if (value !== undefined) return value
  }
  return undefined
}

const parse = (schema: MergeMethod['global'][string], value: unknown, what: string): unknown => {
  const outcome = schema.safeParse(value)
  if (outcome.success) return outcome.data
  if (value === undefined)
    throw new UsageError('MissingParameter', `${what} is required, and the recipe nowhere gives it`)
  throw new UsageError(
    'BadValue',
    `${what}: ${outcome.error.issues[0].message}, found ${JSON.stringify(value)}`,
  )
}

const parametersOf = (
  method: MergeMethod,
  { name, depth, slice }: Aligned,
  models: readonly SourceTensor[],
  recipe: Recipe,
): ParameterValues => {
  const common = [slice.parameters, slice.module, recipe.parameters]
  const perModel = Object.entries(method.perModel).map(([key, schema]) => [
    key,
    models.map(({ model, info, parameters }) =>
      parse(
        schema,
        settingOf(key, info.name, depth, [parameters, ...common]),
        `${method.name}: ${key} of ${model} for ${name}`,
      ),
    ),
  ])
  const global = Object.entries(method.global).map(([key, schema]) => [
    key,
    parse(schema, settingOf(key, name, depth, common), `${method.name}: ${key} for ${name}`),
  ])
  return Object.fromEntries([...perModel, ...global]) as ParameterValues
}

const checkCount = ({ name, counts: [least, most], base }: MergeMethod, count: number): void => {
  if (count >= least && count <= most) return
  const wanted = least === most ? `exactly ${least}` : `at least ${least}`
  throw new UsageError(
    'WrongModelCount',
    `${name} takes ${wanted} model${least === 1 ? '' : 's'}${base === 'none' ? '' : ' beside the base'}; the recipe gives ${count}`,
  )
}

/** The base's tensor and the others'. */
const parts = (
  method: MergeMethod,
  { sources, slice }: Aligned,
): { base?: SourceTensor; models: readonly SourceTensor[] } => {
  if (method.base === 'none') return { models: sources }
  const base = sources.find(({ model }) => model === slice.base)
  if (!base && method.base === 'required')
    throw new UsageError(
      slice.base === undefined ? 'NoBase' : 'BaseNotInSlice',
      slice.base === undefined
        ? `${method.name} needs a base model`
        : `${method.name}: a slice lacks the base model ${slice.base} among its sources`,
      { hint: 'Name it in the recipe: base_model: PATH' },
    )
  return { base, models: sources.filter((source) => source !== base) }
}

const planTensor = (method: MergeMethod, aligned: Aligned, recipe: Recipe): PlannedTensor => {
  const { name, sources } = aligned
  const { shape } = sources[0].info
  const dtype = sources[0].stored ?? sources[0].info.dtype
  if (!floats.includes(dtype))
    return { name, shape, dtype, action: 'copy', models: [sources[0]], parameters: {} }
  const wanted = recipe.out_dtype ?? recipe.dtype
  const plan = { name, shape, dtype: wanted ? stored[wanted] : dtype }
  // A slice of one source has nothing to be merged with.
  if (method.base !== 'none' && sources.length === 1)
    return { ...plan, action: 'copy', models: sources, parameters: {} }
  const { base, models } = parts(method, aligned)
  checkCount(method, models.length)
  return { ...plan, action: 'merge', base, models, parameters: parametersOf(method, aligned, models, recipe) }
}

/** What of a module a plan knows: the module, its slices, the layers that it gets. */
interface PlannedPart extends RecipePart {
  readonly slices: readonly Slice[]
  readonly tensors: readonly Aligned[]
  readonly layers: readonly OutputLayer[]
}

const outputConfig = (donor: Checkpoint, recipe: Recipe, parts: readonly PlannedPart[]): JsonObject => {
  let config: JsonObject = { ...donor.config }
  const dtype = recipe.out_dtype ?? recipe.dtype
  if (dtype) config['torch_dtype' in config ? 'torch_dtype' : 'dtype'] = dtype
  for (const { part, recipe: partRecipe, layers } of parts) {
    if (!partRecipe.slices) continue
    const key = part.layerKeys.find((k) => k in config)
    if (key === undefined)
      throw new CheckpointError(
        'NoLayerCount',
        `${donor.folder}/config.json: none of ${part.layerKeys.join(', ')}`,
      )
    const origins = layers.map(({ checkpoint, layer, count }) => ({
      config: checkpoint.config,
      folder: checkpoint.folder,
      layer,
      count,
    }))
    config = stackedConfig(config, origins, key)
  }
  return config
}

const notesOf = (recipe: Recipe, method: MergeMethod, slices: readonly Slice[]): string[] => {
  const parameterSets = [
    recipe.parameters,
    ...slices.flatMap((slice) => [
      slice.parameters,
      slice.module,
      ...slice.sources.map(({ parameters }) => parameters),
    ]),
  ].flatMap((settings) => Object.keys(settings ?? {}))
  const idle = [...new Set(parameterSets)].filter(
    (key) => !(key in method.perModel) && !(key in method.global),
  )
  const half = recipe.dtype !== undefined && recipe.dtype !== 'float32'
  return [
    ...idleIn(recipe),
    ...idle.map((key) => `${method.name} has no parameter ${key}: it has no effect`),
    ...(half
      ? [`computed in float32 and rounded once to ${recipe.dtype}; mergekit rounds its inputs first`]
      : []),
  ]
}

/** The method's remarks, each once, with the tensors that it is about. */
const remarksOf = (method: MergeMethod, tensors: readonly PlannedTensor[]): string[] => {
  const about = new Map<string, string[]>()
  for (const { name, shape, action, parameters } of tensors) {
    const remark = action === 'merge' ? method.remark?.(sizeOf(shape), parameters) : undefined
    if (remark !== undefined) about.set(remark, [...(about.get(remark) ?? []), name])
  }
  return [...about].map(
    ([remark, names]) => `${names.length} of ${tensors.length} tensors (${names[0]}, ...): ${remark}`,
  )
}

export interface PlanOptions {
  /** The methods that recipes may name. */
  readonly methods: readonly MergeMethod[]
  readonly allowCrimes?: boolean
  /** What lies beside models that are only planned themselves, by their names. */
  readonly companions?: ReadonlyMap<string, Companions>
  /** What lies in the folder of the recipe's tokenizer, where that is of none of its models. */
  readonly tokenizer?: Companions
}

const membersOf = async (
  opened: ReadonlyMap<string, Checkpoint>,
  beside: PlanOptions['companions'],
): Promise<Map<string, Member>> => {
  const members = new Map<string, Member>()
  for (const [model, checkpoint] of opened)
    members.set(model, { checkpoint, companions: beside?.get(model) ?? (await companionsOf(checkpoint)) })
  return members
}

/**
 * Plans the merge that `recipe` describes, of the models in `opened`. Reads headers and tokenizers only. Throws UsageError
 * for parameters, counts, modules and tokens that do not fit, CheckpointError for models that do not fit each other.
 */
export const planMerge = async (
  recipe: Recipe,
  opened: ReadonlyMap<string, Checkpoint>,
  { methods, allowCrimes, companions: beside, tokenizer }: PlanOptions,
): Promise<MergePlan> => {
  const method = methodNamed(recipe.merge_method, methods)
  const { views, untied, notes: idle } = underTableNames(opened)
  const donorName = recipe.base_model ?? namedModels(recipe)[0]
  const donor = views.get(donorName)!
  const members = await membersOf(views, beside)
  const known = recipeParts(recipe, donor.config)
  const sliced = known.map((part) => ({
    ...part,
    slices: slicesOf(part.recipe, recipe.base_model, method, views),
  }))
  if (!allowCrimes) checkArchitectures(sliced.flatMap(({ slices }) => slices))
  const vocabulary = await planVocabulary(recipe, members, { allowCrimes, tokenizer })
  const { reorder } = vocabulary
  const parts = sliced.map((part): PlannedPart => {
    const { holds: within } = part.part
    return { ...part, ...align(part.slices, { within, reorder }) }
  })
  const planned = parts.flatMap(({ tensors }) =>
    tensors.map((aligned) => planTensor(method, aligned, recipe)),
  )
  const all = [...members.values()].map(({ companions }) => companions)
  const { companions, notes } = await withChatTemplate(vocabulary.companions, recipe.chat_template, all)
  const slices = parts.flatMap((part) => part.slices)
  return {
    method,
    tensors: planned,
    config: untied(
      vocabulary.configured(outputConfig(donor, recipe, parts)),
      donorName,
      parts.flatMap(({ tensors }) => tensors),
    ),
    donor,
    companions,
    inputs: [...vocabulary.inputs, ...[...opened.values()].flatMap(originsOf)],
    notes: [
      ...notesOf(recipe, method, slices),
      ...remarksOf(method, planned),
      ...idle,
      ...vocabulary.notes,
      ...notes,
    ],
  }
}
