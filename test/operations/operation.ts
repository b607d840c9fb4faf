/** @file What a line of the table of operations says. */
import type { ComputeDType, Tensor, Value } from '../../src/tensor/index.js'
import type { Draw } from '../draw.js'

/** Inputs, and the function of them. Float inputs are differentiated. */
export interface Case {
  readonly inputs: readonly Value[]
  readonly f: (...inputs: Tensor[]) => Tensor | readonly Tensor[]
}

export interface Operation {
  readonly name: string
  readonly make: (draw: Draw) => Case
  /** The dtypes that `draw` may have. Default float32 alone. */
  readonly dtypes?: readonly ComputeDType[]
  /** It has second derivatives worth checking: not piecewise linear. Default true for what has gradients. */
  readonly smooth?: boolean
  /** It has gradients. Default true. */
  readonly differentiable?: boolean
  /** No rule of vmap applies, for this reason. */
  readonly unmapped?: string
}

export const floats: readonly ComputeDType[] = ['float32']
export const numbers: readonly ComputeDType[] = ['float32', 'int32', 'int64']
export const integers: readonly ComputeDType[] = ['int32', 'int64']
export const all: readonly ComputeDType[] = ['float32', 'int32', 'int64', 'bool']
