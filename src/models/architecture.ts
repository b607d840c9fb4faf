/** @file What a model file exports, and the table of its weights that loading, merging, alignment and pruning read. */
import type { JsonObject } from '../checkpoint/web.js'
import type { Shape, Tensor } from '../tensor/index.js'
import type { AdapterTargets, LayerStack, SizeKeys, Sublayer, Widths } from './declarations.js'
import type { Positions } from './positions.js'
import type { Layout, Weights } from './weights.js'

/** Consecutive runs of `unit` indices of one axis that belong together, and may be permuted or dropped with every axis of the group. */
export interface AxisGroup {
  /** Name of the group: 'residual' (of two towers 'text.residual'), 'layers.0.heads', 'layers.0.hidden'. */
  readonly group: string
  readonly unit: number
  /** How often all units stand behind each other along the axis. Default once. */
  readonly repeated?: number
  /** Dimensions inside a head, where the units are heads: those that queries share with keys, or values with the output. */
  readonly inside?: HeadInside
}

/** Dimensions inside a head: those of queries and keys, or of values and the output projection. */
export type HeadInside = 'queries' | 'values'

/** A logical part of a fused matrix, along its output axis. */
export interface FusedPart {
  readonly name: string
  readonly size: number
  /** Consecutive indices that are one unit of the axis group in this part. Default: the group's own. */
  readonly unit?: number
  /** Dimensions inside a head, as an axis group has them. */
  readonly inside?: HeadInside
}

/** Consecutive units along one axis of a tensor: a whole axis, or one part of a fused one. */
export interface UnitRun {
  /** Index of its first element along the axis. */
  readonly offset: number
  /** Elements of one unit. */
  readonly unit: number
  /** How many units there are. */
  readonly units: number
  readonly inside?: HeadInside
}

/** One tensor of a checkpoint. */
export interface WeightSpec {
  readonly name: string
  readonly shape: Shape
  /** buffer: not trained (running statistics). */
  readonly kind: 'linear' | 'embedding' | 'conv' | 'norm' | 'bias' | 'parameter' | 'buffer'
  /** Order of the axes of a linear module's weight. Default 'out-in'. */
  readonly layout?: Layout
  /** The name whose tensor this one is: it may be absent from the file, and is not stored twice. */
  readonly tied?: string
  /** Element type in a new model. Default float32. */
  readonly dtype?: 'int64'
  /** Value in a new model. Default: random; 1 for norms, 0 for biases. */
  readonly initial?: number
  /** Standard deviation of its random numbers in a new model, unless config.json says `initializer_range`. Default 0.02. */
  readonly deviation?: number
  /** The logical parts of a fused matrix (GPT-2's c_attn: q, k, v). */
  readonly parts?: readonly FusedPart[]
  /** The group of each axis; undefined where the axis belongs to none. */
  readonly axes: readonly (AxisGroup | undefined)[]
}

/** Inputs of a model. Everything is optional but what its task needs. */
export interface ModelInputs {
  /** Token ids: [batch, time] int32 or int64. */
  readonly ids?: Tensor
  /** Embeddings in place of ids: [batch, time, width]. */
  readonly embeddings?: Tensor
  /** 1 for tokens, 0 for padding: [batch, time] int. */
  readonly mask?: Tensor
  /** Segment ids (BERT): [batch, time] int. */
  readonly types?: Tensor
  /** Decoder token ids (T5): [batch, time] int. */
  readonly decoderIds?: Tensor
  /** Images: [batch, channels, height, width]. */
  readonly pixels?: Tensor
  /** Positions of the tokens; default 0, 1, 2, ... in every row. */
  readonly at?: Positions
  /** The tokens whose logits are wanted: [batch, n] int, for logits [batch, n, vocabulary]. Default all. */
  readonly logitsAt?: Tensor
}

/** Outputs of a model. */
export interface ModelOutputs {
  /**
   * [batch, time, vocabulary], or [batch, classes]; of tokens [batch, time, classes], of answers [batch, time, 2], of images
   * and texts [images, texts].
   */
  readonly logits: Tensor
  /** Logits of the first token, where virtual tokens stand before it: [batch, 1, vocabulary]. */
  readonly first?: Tensor
  /**
   * Hidden states: what enters each block (first the embeddings, scaled as the model does), and last what leaves the final
   * norm. Of two towers those of the texts, then those of the images.
   */
  readonly hidden: readonly Tensor[]
  /** Embeddings of two towers, one of each text and each image, of length 1: [batch, width]. */
  readonly embeddings?: Readonly<Record<'text' | 'image', Tensor>>
}

/**
 * Kind of the logits: of the next token ('causal'), of masked tokens, of classes of a text ('classify'), of each token
 * ('tokens') or of an image; of where an answer begins and ends ('answer'); of a decoder's tokens ('sequence'); of which
 * image belongs to which text ('contrastive'); or hidden states ('features').
 */
export type Task =
  'causal' | 'masked' | 'classify' | 'tokens' | 'answer' | 'sequence' | 'image' | 'contrastive' | 'features'

/** Keys and values of one attention module: those that cached generation keeps, or that a method adds to. */
export interface CacheSpec {
  /** Full name, as `attend` is given it. */
  readonly module: string
  /** Number of heads that keys and values have. */
  readonly heads: number
  readonly size: number
  /** Whether they are an encoder's: the same for every token of the decoder. Default: they are the decoder's own. */
  readonly crossed?: boolean
}

/** A parameter of Transformers' own that holds the matrices of several modules. */
export interface FusedParameter {
  /** Name in Transformers, a module and what the module calls it: 'model.layers.0.mlp.experts.gate_up_proj'. */
  readonly name: string
  /** Modules whose outputs it holds, one behind the other, for each expert. */
  readonly experts: readonly (readonly string[])[]
}

/** Positions before the first token of every sequence, put there by `forward`. */
export interface VirtualTokens {
  /** How many positions it takes. */
  readonly positions: number
  /** How many of them are tokens, whose keys and values are cached with the rest. */
  readonly cached: number
}

/** One file of this folder. `C` is its configuration, read from config.json. */
export interface Architecture<C = unknown> {
  readonly name: string
  /** The values of config.json's `model_type` that it covers. */
  readonly modelTypes: readonly string[]
  /** Throws CheckpointError naming the key that is missing or unusable. */
  readConfig(json: Readonly<Record<string, unknown>>): C
  task(c: C): Task
  table(c: C): readonly WeightSpec[]
  forward(w: Weights, inputs: ModelInputs, c: C): ModelOutputs
  /** How many positions it has; absent where any number will do. */
  positions?(c: C): number
  /** Tensors that some checkpoints hold and no model needs: masks, heads of other tasks. Buffers of positions need no mention. */
  readonly harmless?: readonly RegExp[]
  /** Older spellings of names in checkpoints, and today's. */
  readonly renamed?: readonly (readonly [RegExp, string])[]
  /** Prefix that a body that is saved alone leaves out at the beginning of every name: 'transformer', 'model', 'bert'. */
  readonly prefix?: string
  /** config.json of the same model with its head tied, or not. Default: `tie_word_embeddings` says so. */
  retied?(json: JsonObject, tied: boolean): JsonObject
  /** Whether a head that is not stored is tied, whatever config.json says. Default: it is missing. */
  readonly tiesAbsentHead?: boolean
  /** config.json of the same model with biases at the linear modules of its blocks; absent where they have what they can. */
  withBiases?(json: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>>
  /** Beginning of the name of Transformers' class for sequences, where it is another than that of `json`'s own class; false where there is no such class. */
  classifierFamily?(json: JsonObject): string | false | undefined
  /** Keys and values that cached generation keeps; absent where there is none. */
  cache?(c: C): readonly CacheSpec[]
  /** The longest sequence whose tokens turn by short factors: in a longer one the keys of all its tokens are others. Default: keys stay what they are. */
  turningPoint?(c: C): number | undefined
  /** Id with which a decoder behind an encoder starts; absent where the prompt itself goes on. */
  start?(c: C): number
  /** Every attention module, in the order in which they run. Default: those of `cache`. */
  attention?(c: C): readonly CacheSpec[]
  /** Parameters in which Transformers holds matrices of several modules, in its order. Default: none. */
  fused?(c: C): readonly FusedParameter[]
  /** Whether rotary positions turn the numbers of queries and keys in pairs, so that these stay where they are. Default: they do not. */
  rotary?(c: C): boolean
  /** Default: nothing. */
  readonly virtual?: VirtualTokens
  /** Other values of `model_type` whose tensors have the same names and parts: what merges may know of them. */
  readonly kin?: readonly string[]
  /** The model without its head: its logits are its last hidden states. Absent where nobody needs it. */
  readonly body?: Architecture<C>
  /** Linear modules that make the outputs: 'all-linear' leaves them out. Default none. */
  readonly heads?: readonly string[]
  /** Default: every linear module but the heads. */
  readonly targets?: AdapterTargets
  /** The parts of a block. Default: none that adapters can follow. */
  readonly sublayers?: readonly Sublayer[]
  /** Names of its sizes in config.json, where it has blocks of attention and a feed-forward part. */
  readonly sizeKeys?: SizeKeys
  /** Stacks of layers, in the order in which they run. Default: none that can be sliced. */
  readonly stacks?: readonly LayerStack[]
  /** config.json of the model whose groups have these widths, all of them. Default: by `sizeKeys`. */
  resized?(json: JsonObject, widths: Widths): JsonObject
  /** Multiple in which a group may widen. Default 1. */
  widthStep?(json: JsonObject, group: string): number
  /** Whether Transformers derives the size of a head from the width: `head_dim` is Weft's own key. Default false. */
  readonly derivesHeadSize?: boolean
}

/** The axis of what a linear module or convolution puts out. */
export const outputAxis = ({ layout }: Pick<WeightSpec, 'layout'>): number => (layout === 'in-out' ? 1 : 0)

/** The runs of units along an axis of a tensor; none where the axis belongs to no group. */
export const runsAlong = (spec: WeightSpec, axis: number): readonly UnitRun[] => {
  const along = spec.axes[axis]
  if (!along) return []
  const { repeated = 1, inside } = along
  const fused = axis === outputAxis(spec) ? spec.parts : undefined
  const whole: Omit<FusedPart, 'name'> = { size: spec.shape[axis] / repeated, inside }
  const parts = fused ?? Array.from({ length: repeated }, () => whole)
  let offset = 0
  return parts.map((part: Omit<FusedPart, 'name'>) => {
    const unit = part.unit ?? along.unit
    const run = { offset, unit, units: part.size / unit, inside: part.inside }
    offset += part.size
    return run
  })
}

/** How each linear module's weight is stored, by the table. */
export const layoutsOf = (table: readonly WeightSpec[]): ((module: string) => Layout) => {
  const transposed = new Set(table.filter(({ layout }) => layout === 'in-out').map(({ name }) => name))
  return (module) => (transposed.has(`${module}.weight`) ? 'in-out' : 'out-in')
}
