/**
 * @file The contract of streaming: what is computed from a tensor's blocks, whichever thread computes it. A method is
 * declared once, and found again by its name in the module that exports it.
 */
import { WeftError } from '../errors.js'
import type { Key } from '../random/index.js'

/** A run of elements of one tensor, the same in every input. */
export interface Block {
  /** Index of its first element in the flattened tensor. */
  readonly first: number
  /** The numbers of each input: [count]. Not to be written to. */
  readonly inputs: readonly Float32Array[]
}

/** All inputs of one tensor, which can be gone through as often as a method needs. */
export interface StreamedTensor {
  /** Name of the tensor in the output. */
  readonly name: string
  readonly shape: readonly number[]
  /** Number of its elements. */
  readonly count: number
  /** Number of elements of its last axis. */
  readonly width: number
  /** Number of inputs. */
  readonly inputs: number
  /** Blocks of the tensor in order; each is valid until the next one is asked for. */
  blocks(): AsyncIterable<Block>
  /** The key of the random numbers of input `index` in this tensor. */
  key(index: number): Key
}

/** A function of blocks. `P` is what it is told about a tensor, plain data; `S` is what its first pass finds out. */
export interface BlockMethod<P = unknown, S = unknown> {
  readonly name: string
  /**
   * URL of the module that exports the method, for other threads to load: `import.meta.url` where it is declared. Without
   * it all is computed on the calling thread.
   */
  readonly module?: string
  /** Whether blocks must be whole rows of the last axis. */
  readonly rows: boolean
  /** First pass over a tensor: thresholds, norms, whatever a block alone does not tell. */
  readonly prepare?: (tensor: StreamedTensor, parameters: P) => Promise<S>
  /** Writes the block's result to `out`: [count]. */
  readonly block: (out: Float32Array, block: Block, parameters: P, statistics: S) => void
}

/** Declares a method; its types are erased, since the stream calls it with the parameters that its tasks carry. */
export const blockMethod = <P, S>(definition: BlockMethod<P, S>): BlockMethod =>
  definition as unknown as BlockMethod

/** Address at which another thread finds a method. */
export interface MethodAddress {
  readonly module: string
  readonly name: string
}

/** The block methods among a module's exports: those exported as such, and those that an export has as `blockMethod`. */
const methodsIn = (exports: object): BlockMethod[] => {
  const values = Object.values(exports as Record<string, unknown>)
  const held = values.map((value) => (value as { blockMethod?: unknown } | undefined)?.blockMethod)
  return [...values, ...held].filter(isMethod)
}

const isMethod = (x: unknown): x is BlockMethod =>
  typeof x === 'object' && x !== null && typeof (x as BlockMethod).block === 'function'

/** Loads the method `name` of `module`. Throws WeftError (NoSuchMethod) where the module exports none of that name. */
export const loadMethod = async ({ module, name }: MethodAddress): Promise<BlockMethod> => {
  const exports = (await import(module)) as object
  const method = methodsIn(exports).find((candidate) => candidate.name === name)
  if (!method)
    throw new WeftError('NoSuchMethod', `${module} exports no block method ${JSON.stringify(name)}`, {
      hint: 'A method that names its module must be exported by it: itself, or as the `blockMethod` of an export.',
    })
  return method
}
