/** @file The survey of parameter-efficient fine-tuning (Han et al. 2024, arXiv 2403.14608) as what it says of a given model. */
import type { Model } from '../../models/index.js'
import { sizeOf } from '../../tensor/index.js'
import type { AdapterMethod } from '../core/spec.js'

/** Cost of a method on a model. */
export interface Cost {
  readonly method: string
  /** Numbers that train. */
  readonly trained: number
  /** Their share of all there are. */
  readonly share: number
  /** Bytes of weights, gradients and AdamW's two moments in training, without activations: all in float32. */
  readonly trainingBytes: number
  /** Whether it folds into plain weights, so that serving costs nothing. */
  readonly folds: boolean
}

/**
 * The costs of `methods` on `base` with its default options. A method that does not fit the base (a prompt for a model
 * that reads no tokens) is left out.
 */
export const costs = async (base: Model, methods: readonly AdapterMethod<never>[]): Promise<Cost[]> => {
  const table = base.architecture.table(base.config).filter(({ tied }) => tied === undefined)
  const all = table.reduce((sum, { shape }) => sum + sizeOf(shape), 0)
  const rows = await Promise.all(
    methods.map(async (method): Promise<Cost[]> => {
      const trained = await method.count(base).catch(() => undefined)
      if (trained === undefined) return []
      const trainingBytes = 4 * (all + 4 * trained)
      return [{ method: method.paper.id, trained, share: trained / all, trainingBytes, folds: method.folds }]
    }),
  )
  return rows.flat()
}
