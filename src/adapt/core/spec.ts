/** @file What a method that stands beside modules has to say, and what comes of it: types, and the options of all. */
import { z } from 'zod'
import type { Adapter, Checkpoint, JsonObject } from '../../checkpoint/index.js'
import type {
  AttentionParts,
  Model,
  ModelInputs,
  ModelOutputs,
  Parameters,
  Positions,
  VirtualTokens,
  Weights,
} from '../../models/index.js'
import type { Paper } from '../../papers/card.js'
import type { OnProgress } from '../../progress.js'
import type { Batch, SelfTrained, Training } from '../../train/index.js'
import type { EmbeddingOptions, RandomStreams, Shape, Tensor, Value } from '../../tensor/index.js'
import type { Kept } from '../../units/index.js'
import type { Initial, SharedInitial } from './initial.js'
import type { PeftTable } from './peft-table.js'
import type { TokenRows } from './token-rows.js'
import type { Site } from '../../models/sites.js'
import type { Targets } from '../../models/targets.js'

/** Options that every such method has. */
export interface CommonOptions extends Targets {
  /** Ends of the names of modules that are trained whole and saved with the adapter: 'norm' is every norm. Default: a classifier's head. */
  readonly modulesToSave?: readonly string[]
  /** Biases that train: none, all, or those of the adapted modules. Default 'none'. */
  readonly bias?: 'none' | 'all' | 'adapted'
  /** Seed of the parameters before training. Default 0. */
  readonly seed?: number | string
}

/** Modules as targets name them. */
export const moduleNames: z.ZodUnion<[z.ZodString, z.ZodArray<z.ZodString>]> = z.union([
  z.string(),
  z.array(z.string()).min(1),
])

/** The schema of `CommonOptions`, for a method to extend. */
export const commonOptions: z.ZodObject = z.strictObject({
  targets: moduleNames
    .optional()
    .describe("modules to adapt: names or suffixes, one regular expression, or 'all-linear'"),
  exclude: moduleNames.optional().describe('modules to leave out, written as targets are'),
  layers: z.array(z.number().int().nonnegative()).optional().describe('only in layers of these numbers'),
  layersPattern: moduleNames.optional().describe("names before a layer's number (default: any)"),
  modulesToSave: z
    .array(z.string())
    .optional()
    .describe('modules to train whole and save with the adapter, by the ends of their names'),
  bias: z.enum(['none', 'all', 'adapted']).default('none').describe('which biases train'),
  seed: z.union([z.number().int(), z.string()]).default(0).describe('of the parameters before training'),
})

/** A parameter that a method has at a site. */
export interface ParameterSpec {
  /** Name behind the module's, in the file and in the model's parameters: 'lora_A.weight'. */
  readonly key: string
  readonly shape: Shape
  readonly initial: Initial
  /** Axes that run along the module's inputs or outputs: folding in blocks cuts them. */
  readonly axes?: readonly ('in' | 'out' | undefined)[]
  /** Tensor of the module whose place it takes (a bias need not have been there). */
  readonly replaces?: 'weight' | 'bias'
  /** No gradient moves it; the method's own training may replace it: a mask, indices. It is saved with the rest. */
  readonly still?: true
}

/** A parameter that all sites share. */
export interface SharedSpec extends Pick<ParameterSpec, 'shape'> {
  /** Name in the model's parameters. */
  readonly key: string
  /** Name in the file. Default: the key behind 'base_model.'. */
  readonly file?: string
  readonly initial: SharedInitial
  /** True where it is saved, and never trains. */
  readonly frozen: boolean
}

/** Questions that a method may ask at a site. */
export interface SiteContext {
  readonly site: Site
  /** The frozen weight, [out, in]. */
  weight(): Tensor
  bias(): Tensor | undefined
  /** The linear module's output for another input, without the adapter. x: [..., in] -> [..., out]. */
  base(x: Tensor): Tensor
  /** The last input of the linear module of this name (of several names: the first that there is): [..., in]. Throws WeftError where none entered. */
  entered(...names: readonly string[]): Tensor
  /** The batch's input of this name: one of the method's own, as task ids. */
  input(name: string): Tensor | undefined
  /** Options of the lookup of an embedding's rows, by which a method looks up its own. */
  readonly lookup?: EmbeddingOptions
  /** Random bytes in training; absent in evaluation. */
  readonly random?: RandomStreams
  /** x: [...] with dropout in training, as it is in evaluation. */
  dropout(x: Tensor, p: number): Tensor
}

/** Values of a method's parameters at one site. */
export type Named<T> = Readonly<Record<string, T>>

/** Questions that a method may ask around the whole model. */
export interface ForwardContext<O> {
  readonly base: Model
  readonly options: O
  /** The adapted model's answers. */
  readonly weights: Weights
}

/** A method. `O`: its options; `S`: what they come to at one site. */
export interface AdapterSpec<O extends CommonOptions, S> {
  readonly paper: Paper
  /** Name of the method in adapter_config.json. */
  readonly peftType: string
  /** Schema of the options; it extends `commonOptions`. */
  readonly options: z.ZodObject
  /** Option that makes it larger, for comparisons at an equal number of parameters. */
  readonly size?: SizeOption
  /** Kinds of modules that it may stand at; none for a method that stands at no module. */
  readonly kinds: readonly Site['kind'][]
  /** Targets where none are given. Default: the architecture's. */
  defaultTargets?(base: Model, options: O): string | readonly string[]
  /** The options of a new adapter, with what they leave open decided by a look at the base; a saved one has all in its config. */
  resolve?(base: Model, options: O): Promise<O>
  /** The base as it computes with it where that is another: rounded to few bits. Default: as it is. */
  rewrite?(base: Model, options: O): Promise<Model | undefined>
  /** Throws UsageError for options of a new adapter that make no sense at the site, though they would compute: a rank above the matrix. */
  fits?(options: O, site: Site): void
  /** Throws UsageError for options that do not fit the site. sites: all of the adapter's, for methods whose sites share. */
  settings(options: O, site: Site, sites: readonly Site[]): S
  parameters(site: Site, settings: S): Named<ParameterSpec>
  /** Parameters that all sites share; each site sees them beside its own. */
  shared?(options: O, sites: readonly Site[], base: Model): Named<SharedSpec>
  /** y: what the module gives, [..., out]; x: [..., in]. Absent where parameters only replace tensors. */
  linear?(y: Tensor, x: Tensor, p: Named<Tensor>, settings: S, context: SiteContext): Tensor
  /** y: [..., width]; ids: [...]. */
  embedding?(y: Tensor, ids: Tensor, p: Named<Tensor>, settings: S, context: SiteContext): Tensor
  /** Attention at an attention site: `run` is the base's, of parts that may be others. -> [batch, heads, time, size]. */
  attend?(
    parts: AttentionParts,
    run: (parts: AttentionParts) => Tensor,
    p: Named<Tensor>,
    settings: S,
    context: SiteContext,
  ): Tensor
  /** An attention module or a block with what stands before, after or around it; `run` is the base's. x: [batch, time, width]. */
  module?(
    x: Tensor,
    at: Positions,
    run: (x: Tensor, at: Positions) => Tensor,
    p: Named<Tensor>,
    settings: S,
    context: SiteContext,
  ): Tensor
  /** Around the whole model; `run` is the base's with the answers above. p: what sites share. */
  forward?(
    inputs: ModelInputs,
    run: (inputs: ModelInputs) => ModelOutputs,
    p: Named<Tensor>,
    context: ForwardContext<O>,
  ): ModelOutputs
  /** Virtual tokens that `forward` puts before every sequence. */
  virtual?(options: O): VirtualTokens
  /** True where it changes the model before it is trained, as virtual tokens do. */
  readonly startsChanged?: true
  /**
   * The weight that does the same without the adapter; absent where there is none. W: [out, in], or a block of it along
   * an axis of `blocks`.
   */
  fold?(W: Tensor, p: Named<Tensor>, settings: S): Tensor
  /** The bias that goes with it, where the module has one. Default: as it was. b: [out]. */
  foldBias?(b: Tensor, p: Named<Tensor>, settings: S): Tensor
  /** Why what the method has at a site cannot be folded: a sentence. Default: it can. */
  obstacle?(site: Site, settings: S): string | undefined
  /** Single tokens that train, by the ends of the names of embeddings. */
  tokens?(options: O): Readonly<Record<string, readonly number[]>>
  /** Units that the folded checkpoint is to be without, where training left some out. */
  cut?(plan: Plan, parameters: Parameters<Value>): Promise<Kept>
  /** A sentence about what folding loses, though the outputs stay. */
  loses?(plan: Plan, parameters: Parameters<Value>): Promise<string | undefined>
  /** Along which axes a weight may be folded block by block. Default: none. */
  blocks?(settings: S): readonly ('in' | 'out')[]
  /** The same update as LoRA's, where it is one of low rank: what an export to LoRA writes. */
  asLora?(p: Named<Tensor>, settings: S): LoraFactors
  /** Throws UsageError for a batch that it cannot take, as one that names what there is not. Of host values, before a step. */
  check?(batch: Batch, options: O): void
  /** Wishes of its training beside gradients. `still` parameters need no word here. */
  training?(plan: Plan, options: O): Training
  /**
   * The adapter as it is saved and served, where its training has more: a reparametrisation, directions that were pruned.
   * Options and parameters that are not among them stay.
   */
  export?(plan: Plan, parameters: Parameters<Value>, options: O): Promise<Exported<O>>
  /** A saved adapter in terms of modules that the base has, where PEFT's are others. Throws CheckpointError for what it cannot do. */
  read?(base: Model, adapter: Adapter): Promise<Adapter>
  /**
   * A saved adapter as it stands here, where PEFT would change the base to load it: the start of PiSSA. Options and
   * parameters that are not among them stay.
   */
  loaded?(plan: Plan, parameters: Parameters<Value>, config: JsonObject): Promise<Exported<O> | undefined>
  /** How adapter_config.json says the method's own options. */
  readonly peft: PeftTable<O>
  /** Keys that most adapters have in adapter_config.json, and this method's have not. */
  readonly lacks?: readonly CommonKey[]
}

/** The update (alpha / r) B A. A: [r, in], B: [out, r]. */
export interface LoraFactors {
  readonly A: Tensor
  readonly B: Tensor
  readonly alpha: number
  /** Dropout probability on the update's input. Default 0. */
  readonly dropout?: number
}

/** Keys of adapter_config.json that some methods of PEFT leave out. */
export type CommonKey =
  'bias' | 'exclude_modules' | 'layers_pattern' | 'layers_to_transform' | 'target_modules'

/** Changes that `export` makes. */
export interface Exported<O> {
  readonly options: Partial<O>
  /** All parameters of the adapter with those options, by their names in the model. */
  readonly parameters: Parameters<Value>
}

/** A site with what the method has there. */
export interface PlannedSite {
  readonly site: Site
  readonly settings: unknown
  readonly parameters: Named<ParameterSpec>
}

/** A tensor of the base that an adapter's file holds. */
export interface HeldTensor {
  readonly name: string
  /** Whether it is another than the base's, so that `base` has it in its place. */
  readonly differs: boolean
}

/** Places at which an adapter stands, and parts of the base that train with it. */
export interface Plan {
  readonly method: AdapterSpec<CommonOptions, unknown>
  readonly base: Model
  readonly options: CommonOptions
  readonly sites: readonly PlannedSite[]
  readonly shared: Named<SharedSpec>
  /** Names of tensors trained whole: of modules to save, and biases. */
  readonly whole: readonly string[]
  /** Single tokens that train. */
  readonly rows: readonly TokenRows[]
  /** Tensors of the base that the adapter's file holds: they are saved with it, and do not train. */
  readonly held: readonly HeldTensor[]
}

/** A model that is a base and an adapter; its parameters are the adapter's. */
export interface AdaptedModel<C = unknown> extends Model<C>, SelfTrained {
  readonly plan: Plan
  /** Values that all sites share and that never train. */
  readonly constants: Parameters<Value>
  with(parameters: Parameters<Value>): AdaptedModel<C>
  /** The adapter as its folder holds it: itself, or without what only its training needs. */
  exported(): Promise<AdaptedModel<C>>
  /** Writes an adapter folder that PEFT loads. */
  save(folder: string): Promise<void>
  /** Writes the base with the adapter folded into its weights: a plain checkpoint. */
  fold(folder: string, options?: FoldOptions): Promise<void>
}

/** Options of folding. */
export interface FoldOptions {
  /** Replace the weights that the folder holds already. */
  readonly overwrite?: boolean
  /** A shard holds at most this many bytes. */
  readonly maxShardBytes?: number
  /** Weights pass in blocks of rows of about this many bytes, where their method can. Default 16 MiB. */
  readonly blockBytes?: number
  /** Refuse where folding would make zeros of a pruned base dense. Default: they become dense, with a warning. */
  readonly keepZeros?: boolean
  /** Told what folding loses. Default: console.warn. */
  readonly onWarning?: (message: string) => void
  /** Listener for progress, tensor by tensor. */
  readonly onProgress?: OnProgress
  /** Signal that stops it; nothing is left behind. */
  readonly signal?: AbortSignal
}

/** Options of loading a saved adapter. */
export interface LoadOptions {
  /** Load it on a base that is not the one it was trained on. */
  readonly force?: boolean
  /** Options of the method in place of those saved: `{ task: 3 }` for what an inventory is to do. */
  readonly replace?: Readonly<Record<string, unknown>>
  /** Told about what may be wrong. Default: console.warn. */
  readonly onWarning?: (message: string) => void
}

/** The option that a method's number of parameters grows with: a whole number from 1 (or one of `values`), or a share in (0, 1]. */
export interface SizeOption {
  readonly option: string
  readonly kind: 'count' | 'share'
  readonly values?: readonly number[]
}

/** A method: a function of a base and options, and what is known of it beforehand. `O`: its options. */
export interface AdapterMethod<O> {
  /** A new adapter on a base. Throws UsageError for options that do not fit it. */
  (base: Checkpoint | Model, options?: Partial<O>): Promise<AdaptedModel>
  readonly paper: Paper
  readonly peftType: string
  readonly options: z.ZodObject
  /** True where it folds into plain weights. */
  readonly folds: boolean
  /** True where it does nothing but change outputs of linear modules, each by itself: what a wrapper may train or damp layer by layer. */
  readonly additive: boolean
  /**
   * Wrapper around another method: its options are that method's and the wrapper's. Throws UsageError for
   * a method that it cannot wrap. Absent for all others.
   */
  readonly around?: (method: AdapterMethod<never>) => AdapterMethod<never>
  /** Absent for a method whose size the base decides. */
  readonly size?: SizeOption
  /** How many numbers would train on this base. Throws as the call does. */
  count(base: Model, options?: Partial<O>): Promise<number>
  /** A saved adapter on its base. */
  load(base: Checkpoint | Model, adapter: Adapter, options?: LoadOptions): Promise<AdaptedModel>
}
