/** @file mergekit's recipes: their schema, and the value that a parameter has for one tensor. */
import { z } from 'zod'
import { nearest } from '../../../errors.js'
import type { MergeMethod } from '../method.js'
import { inOneSpelling } from './spellings.js'

/** A number for all layers, or several to be interpolated over depth. */
export type Gradient = number | boolean | readonly (number | boolean)[]

/** A value for the tensors whose name contains `filter`; for all without one, or with '*'. */
export interface Conditional {
  readonly filter?: string
  readonly value: Gradient
}

/** Value of a parameter in a recipe: of conditional values the first that fits. */
export type Setting = Gradient | Conditional | readonly Conditional[]
/** Parameters by name, as a recipe gives them. */
export type Settings = Readonly<Record<string, Setting | undefined>>

/** Model of a recipe, with parameters of its own. */
export interface RecipeModel {
  /** `path[@revision][+adapter]`, or the name of an earlier step. */
  readonly model: string
  readonly parameters?: Settings
}

/** Source of a slice: layers of a model. */
export interface RecipeSource extends RecipeModel {
  /** First layer, and the layer after the last. */
  readonly layer_range: readonly [number, number]
}

/** Slice of a recipe: the sources that are merged into its layers. */
export interface RecipeSlice {
  readonly sources: readonly RecipeSource[]
  readonly base_model?: string
  /** Weight of the residual stream: without effect, here as in mergekit. */
  readonly residual_weight?: number
  readonly parameters?: Settings
}

/** The element types that a recipe may ask for. */
export type RecipeDType = 'float32' | 'float16' | 'bfloat16'

/** A part of an architecture that has a recipe of its own: exactly one of `models` and `slices` is there. */
export interface RecipeModule {
  readonly models?: readonly RecipeModel[]
  readonly slices?: readonly RecipeSlice[]
  readonly parameters?: Settings
}

/** Source of a token's numbers: a model's for the same token, for another of its tokens, or zeros. */
export type TokenSource =
  | string
  | {
      readonly kind: 'model_token'
      readonly model: string
      readonly token?: string
      readonly token_id?: number
    }
  | { readonly kind: 'zero' }

/** Entry of one token in a recipe. One that the vocabulary lacks is added to it. */
export interface RecipeToken {
  /** Source for the models that lack the token. Default: the base's numbers, or those of the models that have it, averaged. */
  readonly source?: TokenSource
  /** Whether `source` counts for every model, whatever it has itself. Default false. */
  readonly force?: boolean
}

/** Vocabulary of the result. */
export interface RecipeTokenizer {
  /** `union` (the default), `base`, or one of the models. */
  readonly source?: string
  readonly tokens?: Readonly<Record<string, RecipeToken>>
  /** The embeddings get rows up to the next multiple, each the average of all. */
  readonly pad_to_multiple_of?: number | null
}

/** One document of a recipe, in mergekit's words. Exactly one of `models`, `slices` and `modules` is there. */
export interface Recipe {
  /** Name by which later documents call its result. */
  readonly name?: string
  readonly merge_method: string
  readonly base_model?: string
  readonly models?: readonly RecipeModel[]
  readonly slices?: readonly RecipeSlice[]
  /** Recipes of the architecture's parts, by their names: `default` where there is but one. */
  readonly modules?: Readonly<Record<string, RecipeModule>>
  readonly parameters?: Settings
  /** Element type of the result, unless `out_dtype` says otherwise. Weft computes in float32 whatever it is. */
  readonly dtype?: RecipeDType
  readonly out_dtype?: RecipeDType
  /**
   * Vocabulary of the result: `union`, `base` or one of the models. The others' embeddings are reordered into it.
   * Without it the models must have one vocabulary, and the base's (or the first model's) tokenizer is copied.
   */
  readonly tokenizer_source?: string
  /** The same and more, as newer recipes write it. */
  readonly tokenizer?: RecipeTokenizer
  /** `auto` (what most of the models have), the name of a known format, or a Jinja template. */
  readonly chat_template?: string
}

const scalar = z.union([z.number(), z.boolean()])
const gradient = z.union([scalar, z.array(scalar).min(1)])
const conditional = z.strictObject({ filter: z.string().optional(), value: gradient })
const setting = z.union([scalar, z.array(scalar).min(1), z.array(conditional).min(1), conditional]).optional()

/** Whose numbers a token has. */
const tokenSource = z.union(
  [
    z.string().min(1),
    z
      .strictObject({
        kind: z.literal('model_token'),
        model: z.string().min(1),
        token: z.string().optional(),
        token_id: z.number().int().nonnegative().optional(),
      })
      .refine(({ token, token_id: id }) => (token === undefined) !== (id === undefined), {
        error: 'expected exactly one of token and token_id',
      }),
    z.strictObject({ kind: z.literal('zero') }),
  ],
  { error: 'expected a model, {kind: model_token, model, token or token_id} or {kind: zero}' },
)

const tokenizer = z.strictObject({
  source: z.string().min(1).optional(),
  tokens: z
    .record(
      z.string().min(1),
      z
        .strictObject({ source: tokenSource.optional(), force: z.boolean().optional() })
        .refine(({ source, force }) => source !== undefined || !force, {
          error: 'expected a source of what is forced',
        }),
    )
    .optional(),
  pad_to_multiple_of: z.number().int().positive().nullish(),
})

const layer = z.number().int().nonnegative()
const layerRange = z
  .tuple([layer, layer])
  .refine(([start, end]) => end > start, { error: 'expected [first, end) with first < end' })

const dtype = z.enum(['float32', 'float16', 'bfloat16']).optional()

/** Models, slices and modules, whose parameters are `settings`. */
const inputsSchema = (settings: z.ZodType<Settings | undefined>) => {
  const model = { model: z.string().min(1), parameters: settings }
  const slice = z.strictObject({
    sources: z.array(z.strictObject({ ...model, layer_range: layerRange })).min(1),
    base_model: z.string().optional(),
    /** Accepted as mergekit does, which makes no use of it. */
    residual_weight: z.number().optional(),
    parameters: settings,
  })
  const parts = {
    models: z.array(z.strictObject(model)).min(1).optional(),
    slices: z.array(slice).min(1).optional(),
  }
  const module = z
    .strictObject({ ...parts, parameters: settings })
    .refine(({ models, slices }) => (models === undefined) !== (slices === undefined), {
      error: 'expected exactly one of models and slices',
    })
  return { ...parts, modules: z.record(z.string().min(1), module).optional() }
}

/** Parameters of earlier versions of mergekit, which today's ignores. */
const retired: readonly string[] = ['embed_slerp']

/** The keys of a document. Every method's parameters are known: recipes often keep some of another method. */
const documentShape = (methods: readonly MergeMethod[]) => {
  const known = methods.flatMap(({ perModel, global }) => [...Object.keys(perModel), ...Object.keys(global)])
  const entries = [...known, ...retired].map((name) => [name, setting] as const)
  const settings = z.strictObject(Object.fromEntries(entries)).optional()
  return {
    name: z
      .string()
      .regex(/^[\w.-]+$/, { error: 'expected letters, digits, dots, dashes and underscores' })
      .optional(),
    merge_method: z.enum(methods.map(({ name }) => name)),
    base_model: z.string().optional(),
    ...inputsSchema(settings),
    parameters: settings,
    dtype,
    out_dtype: dtype,
    tokenizer_source: z.string().optional(),
    tokenizer: tokenizer.optional(),
    chat_template: z.string().min(1).optional(),
  }
}

/**
 * The schema of a recipe's document, whose method is one of `methods`. It takes every spelling that mergekit takes; keys
 * at the top that it does not know are kept, and the merge's notes say that they have no effect.
 */
export const recipeSchemaOf = (methods: readonly MergeMethod[]): z.ZodType<Recipe> => {
  const document = z
    .looseObject(documentShape(methods))
    .refine(({ models, slices, modules }) => [models, slices, modules].filter(Boolean).length === 1, {
      error: 'expected exactly one of models, slices and modules',
    })
    .refine(({ tokenizer, tokenizer_source: source }) => tokenizer === undefined || source === undefined, {
      error: 'expected at most one of tokenizer and tokenizer_source',
    })
  return z.preprocess(inOneSpelling, document) as unknown as z.ZodType<Recipe>
}

/** What has no effect in `recipe`: keys at its top that say nothing to a merge, and what mergekit reads without use. */
export const idleIn = (recipe: Recipe): string[] => {
  const known = Object.keys(documentShape([]))
  const strangers = Object.keys(recipe).filter((key) => !known.includes(key))
  const slices = [recipe, ...Object.values(recipe.modules ?? {})].flatMap((part) => part.slices ?? [])
  return [
    ...strangers.map(
      (key) => `${key}: no key of a recipe, it has no effect. Nearest: ${nearest(key, known, 1).join('')}`,
    ),
    ...(slices.some(({ residual_weight: weight }) => weight !== undefined)
      ? ['residual_weight of a slice has no effect, here as in mergekit']
      : []),
  ]
}

/** What a recipe says of the vocabulary, in one spelling; undefined where it says nothing. */
export const tokenizerOf = ({
  tokenizer: asked,
  tokenizer_source: source,
}: Recipe): (RecipeTokenizer & { readonly source: string }) | undefined =>
  asked ? { ...asked, source: asked.source ?? 'union' } : source === undefined ? undefined : { source }

/** Linear interpolation of a gradient at depth `t`; a list with anything but numbers in it has steps instead. */
const at = (values: readonly (number | boolean)[], t: number): number | boolean => {
  const scaled = t * (values.length - 1)
  const lower = Math.floor(scaled)
  if (!values.every((v) => typeof v === 'number')) return values[lower]
  const numbers = values as readonly number[]
  const upper = Math.min(values.length - 1, lower + 1)
  return (1 - (scaled - lower)) * numbers[lower] + (scaled - lower) * numbers[upper]
}

const isConditional = (s: Setting | number | boolean): s is Conditional =>
  typeof s === 'object' && !Array.isArray(s)

/** The value of `setting` for the tensor `name` at depth `t` in [0, 1]; undefined where no filter fits. */
export const evaluate = (setting: Setting, name: string, t: number): number | boolean | undefined => {
  const list = (Array.isArray(setting) ? setting : [setting]) as readonly (Conditional | number | boolean)[]
  if (!isConditional(list[0])) return at(list as readonly (number | boolean)[], t)
  const fits = (list as readonly Conditional[]).find(
    ({ filter }) => filter === undefined || filter === '*' || name.includes(filter),
  )
  return fits && at(([] as (number | boolean)[]).concat(fits.value), t)
}
