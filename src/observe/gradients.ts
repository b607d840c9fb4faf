/** @file Gradients of a model's loss at its weights, summed over batches: what methods choose entries by. */
import type { Model } from '../models/index.js'
import { sizeOf, type Tensor, type Value, valueAndGrad } from '../tensor/index.js'
import { modelLoss } from '../train/index.js'
import { accumulated, type Batches, inPasses, type ObserveOptions } from './accumulate.js'

/** Options of `weightGradients`. */
export interface GradientOptions extends ObserveOptions {
  /** Function of a batch's gradient that is averaged: [as the weight] -> the same. Default: the gradient itself. */
  readonly of?: (gradient: Tensor) => Tensor
}

/**
 * The gradient of the model's loss at `tensors`, which stand in place of the base's, as they are stored: means over
 * `batches`, flat, tensor by tensor. Memory holds those of one pass over the batches, at most `limit` numbers.
 */
export async function* weightGradients(
  base: Model,
  tensors: Readonly<Record<string, Value>>,
  batches: Batches,
  { of = (gradient) => gradient, limit, signal }: GradientOptions = {},
): AsyncGenerator<readonly [name: string, mean: Float64Array]> {
  const all: Readonly<Record<string, Value>> = { ...base.parameters, ...tensors }
  for (const pass of inPasses(Object.keys(tensors), (name) => sizeOf(tensors[name].shape), limit)) {
    const { sums, count } = await accumulated(
      batches,
      (batch, parameters) => {
        const loss = (moved: Record<string, Tensor>) =>
          modelLoss(base)({ ...parameters, ...moved }, batch, {})
        const moved = Object.fromEntries(pass.map((name) => [name, parameters[name]]))
        const { grads } = valueAndGrad(loss)(moved)
        return Object.fromEntries(pass.map((name) => [name, of(grads[name])]))
      },
      { parameters: all, signal },
    )
    for (const name of pass) yield [name, sums[name].map((sum) => sum / count)]
  }
}
