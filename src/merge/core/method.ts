/**
 * @file What a merge method is: a function of aligned float32 blocks, its parameters declared. Streaming is not its
 * business: it stands on a block method, whose inputs are the base, where there is one, and the models.
 */
import type { infer as Infer, ZodType } from 'zod'
import { nearest, UsageError } from '../../errors.js'
import type { Key } from '../../random/index.js'
import {
  blockMethod,
  type Block as StreamedBlock,
  type BlockMethod,
  type StreamedTensor,
} from '../../stream/method.js'

/** A run of elements of one tensor, the same in every model. */
export interface Block {
  /** Index of its first element in the flattened tensor. */
  readonly first: number
  /** The base model's numbers; absent where the merge has no base. */
  readonly base?: Float32Array
  /** Each other model's numbers, in the order of the recipe. */
  readonly models: readonly Float32Array[]
}

/** A tensor of all models, that can be gone through as often as a method needs. */
export interface AlignedTensor {
  /** Name of the tensor in the output. */
  readonly name: string
  readonly shape: readonly number[]
  readonly count: number
  /** Elements of its last axis. */
  readonly width: number
  /** How many models there are beside the base. */
  readonly models: number
  /** Blocks of the tensor in order, which are only valid until the next one is asked for, and are not to be written to. */
  blocks(): AsyncIterable<Block>
  /** The key of the random numbers of model `index` in this tensor. */
  key(index: number): Key
}

type Shape = Readonly<Record<string, ZodType>>

/** A parameter of every model is a list, one of the merge a single value. */
export type ParametersOf<M extends Shape, G extends Shape> = {
  readonly [K in keyof M]: readonly Infer<M[K]>[]
} & { readonly [K in keyof G]: Infer<G[K]> }

/** Declaration of a method. `S`: result of its first pass over a whole tensor. */
export interface MergeDefinition<M extends Shape, G extends Shape, S> {
  /** Name in recipes. */
  readonly name: string
  /** Result in a line: 'the weighted average of the models'. */
  readonly summary?: string
  /**
   * URL of the module that exports the method, `import.meta.url` where it is declared, from which other threads load it.
   * Without it a merge computes on the calling thread alone.
   */
  readonly module?: string
  readonly base: 'required' | 'optional' | 'none'
  /** How many models it takes beside the base: [least, most]. Default [1, Infinity]. */
  readonly counts?: readonly [number, number]
  /** Whether blocks must be whole rows of the last axis. Default false. */
  readonly rows?: boolean
  /** Parameters that each model has for itself. A schema without default is required. */
  readonly perModel?: M
  /** Parameters of the merge. */
  readonly global?: G
  /** Parameters that hold, unless others are given, where the method is named without a recipe: `--method NAME`. */
  readonly unlessGiven?: Readonly<Record<string, number | boolean>>
  /** Whether it draws random numbers, so that the seed matters. Default false. */
  readonly random?: boolean
  /** Parameters with which it does all that it can; the family's contract suite gives them, and 0.3 where one is required. */
  readonly example?: Readonly<Record<string, number | boolean>>
  /** Sentence about what may surprise in the result for a tensor of `count` elements; undefined where nothing does. */
  readonly remark?: (count: number, parameters: ParametersOf<M, G>) => string | undefined
  /** First pass over a tensor: thresholds, norms, whatever a block alone does not tell. */
  readonly prepare?: (tensor: AlignedTensor, parameters: ParametersOf<M, G>) => Promise<S>
  /** Writes the merged block into `out` (as long as each of its arrays). out: [elements of the block]. */
  readonly tensor: (out: Float32Array, block: Block, parameters: ParametersOf<M, G>, statistics: S) => void
}

/** A method as the merger sees it: its types erased. */
export interface MergeMethod {
  readonly name: string
  readonly summary?: string
  readonly base: 'required' | 'optional' | 'none'
  readonly counts: readonly [number, number]
  readonly perModel: Shape
  readonly global: Shape
  readonly unlessGiven: Readonly<Record<string, number | boolean>>
  readonly random: boolean
  readonly example?: Readonly<Record<string, number | boolean>>
  readonly remark?: (count: number, parameters: ParameterValues) => string | undefined
  readonly prepare?: (tensor: AlignedTensor, parameters: ParameterValues) => Promise<unknown>
  /** out: [elements of the block]. */
  readonly tensor: (out: Float32Array, block: Block, parameters: ParameterValues, statistics: unknown) => void
  /** Block method that streams it. Its parameters are `MergeArguments`. */
  readonly blockMethod: BlockMethod
}

/** The values of a method's parameters for one tensor, checked: a list where they are per model. */
export type ParameterValues = Readonly<Record<string, unknown>>

/** What the block method of a merge is told about a tensor. */
export interface MergeArguments {
  /** Whether the first input is the base. */
  readonly hasBase: boolean
  readonly values: ParameterValues
}

const alignedBlock = ({ first, inputs }: StreamedBlock, { hasBase }: MergeArguments): Block =>
  hasBase ? { first, base: inputs[0], models: inputs.slice(1) } : { first, models: inputs }

/** `tensor` as a merge method sees it: its inputs told apart. */
export const alignedTensor = (tensor: StreamedTensor, told: MergeArguments): AlignedTensor => ({
  name: tensor.name,
  shape: tensor.shape,
  count: tensor.count,
  width: tensor.width,
  models: tensor.inputs - (told.hasBase ? 1 : 0),
  key: (index) => tensor.key(index),
  async *blocks() {
    for await (const block of tensor.blocks()) yield alignedBlock(block, told)
  },
})

type Nothing = Readonly<Record<never, ZodType>>

/** Declares a method. The cast is sound: the merger calls it with parameters that its schemas have checked. */
export const merge = <const M extends Shape = Nothing, const G extends Shape = Nothing, S = undefined>(
  definition: MergeDefinition<M, G, S>,
): MergeMethod => {
  const { name, module, rows = false, ...rest } = definition
  const method = {
    counts: [1, Infinity],
    perModel: {},
    global: {},
    unlessGiven: {},
    random: false,
    ...rest,
  } as unknown as Omit<MergeMethod, 'name' | 'blockMethod'>
  const { prepare, tensor } = method
  return {
    ...method,
    name,
    blockMethod: blockMethod<MergeArguments, unknown>({
      name,
      module,
      rows,
      prepare: prepare && ((streamed, told) => prepare(alignedTensor(streamed, told), told.values)),
      block: (out, block, told, statistics) =>
        tensor(out, alignedBlock(block, told), told.values, statistics),
    }),
  }
}

/** The one of `methods` that is called `name`. Throws UsageError (NoSuchMethod) naming the nearest. */
export const methodNamed = (name: string, methods: readonly MergeMethod[]): MergeMethod => {
  const method = methods.find((candidate) => candidate.name === name)
  if (method) return method
  const names = methods.map((candidate) => candidate.name)
  throw new UsageError('NoSuchMethod', `merge_method: there is no method ${JSON.stringify(name)}`, {
    hint: `Nearest: ${nearest(name, names, 3).join(', ')}.`,
  })
}
