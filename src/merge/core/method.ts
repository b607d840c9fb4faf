/** @file What a merge method is: a function of aligned float32 blocks, its parameters declared. The rest is not its business. */
import type { infer as Infer, ZodType } from 'zod'
import type { Key } from '../../random/index.js'

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
  /** Its name in the output. */
  readonly name: string
  readonly shape: readonly number[]
  readonly count: number
  /** Elements of its last axis. */
  readonly width: number
  /** How many models there are beside the base. */
  readonly models: number
  /** Its blocks in order, which are only valid until the next one is asked for, and are not to be written to. */
  blocks(): AsyncIterable<Block>
  /** The key of the random numbers of model `index` in this tensor. */
  key(index: number): Key
}

type Shape = Readonly<Record<string, ZodType>>

/** A parameter of every model is a list, one of the merge a single value. */
export type ParametersOf<M extends Shape, G extends Shape> = {
  readonly [K in keyof M]: readonly Infer<M[K]>[]
} & { readonly [K in keyof G]: Infer<G[K]> }

/** What a method's file declares. `S` is what its first pass finds out about a whole tensor. */
export interface MergeDefinition<M extends Shape, G extends Shape, S> {
  /** As recipes name it. */
  readonly name: string
  readonly base: 'required' | 'optional' | 'none'
  /** How many models it takes beside the base: [least, most]. Any number by default. */
  readonly counts?: readonly [number, number]
  /** Blocks must be whole rows of the last axis. */
  readonly rows?: boolean
  /** Parameters that each model has for itself. A schema without default is required. */
  readonly perModel?: M
  /** Parameters of the merge. */
  readonly global?: G
  /** What is surprising about what the method does to a tensor of `count` elements. */
  readonly remark?: (count: number, parameters: ParametersOf<M, G>) => string | undefined
  /** The first pass over a tensor: thresholds, norms, whatever a block alone does not tell. */
  readonly prepare?: (tensor: AlignedTensor, parameters: ParametersOf<M, G>) => Promise<S>
  /** Writes the merged block into `out` (as long as each of its arrays). */
  readonly tensor: (out: Float32Array, block: Block, parameters: ParametersOf<M, G>, statistics: S) => void
}

/** A method as the merger sees it: its types erased. */
export interface MergeMethod {
  readonly name: string
  readonly base: 'required' | 'optional' | 'none'
  readonly counts: readonly [number, number]
  readonly rows: boolean
  readonly perModel: Shape
  readonly global: Shape
  readonly remark?: (count: number, parameters: Parameters) => string | undefined
  readonly prepare?: (tensor: AlignedTensor, parameters: Parameters) => Promise<unknown>
  readonly tensor: (out: Float32Array, block: Block, parameters: Parameters, statistics: unknown) => void
}

/** The values of a method's parameters for one tensor, checked: a list where they are per model. */
export type Parameters = Readonly<Record<string, unknown>>

type Nothing = Readonly<Record<never, ZodType>>

/** Declares a method. The cast is sound: the merger calls it with parameters that its schemas have checked. */
export const merge = <const M extends Shape = Nothing, const G extends Shape = Nothing, S = undefined>(
  definition: MergeDefinition<M, G, S>,
): MergeMethod =>
  ({ counts: [1, Infinity], rows: false, perModel: {}, global: {}, ...definition }) as unknown as MergeMethod
