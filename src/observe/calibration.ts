/** @file What a base does on a few batches of data, for methods that choose by it: activations, gradients of weights. */
import { UsageError } from '../errors.js'
import { answering, type Model, type Weights } from '../models/index.js'
import { type Tensor, type Value, valueAndGrad } from '../tensor/index.js'
import { type Batch, byShape, forward, modelLoss } from '../train/index.js'

/** Throws UsageError where there is no batch to choose by. */
export const requireBatches = (
  method: string,
  what: string,
  batches: readonly Batch[] | undefined,
): readonly Batch[] => {
  if (batches?.length) return batches
  throw new UsageError('NoCalibration', `${method}: choosing by ${what} needs batches of data`, {
    hint: 'Give some as the option calibration, or choose by what the weights say.',
  })
}

interface Inputs<T> {
  readonly parameters: Readonly<Record<string, T>>
  readonly batch: Batch<T>
}

const added = (sum: Float64Array | undefined, more: Float64Array): Float64Array =>
  sum ? sum.map((x, i) => x + more[i]) : more

/** The mean over tokens and batches of |x|, x: [..., in] what enters each of `modules`; one of [in] for each module. */
export const meanActivations = async (
  base: Model,
  modules: readonly string[],
  batches: readonly Batch[],
): Promise<Map<string, Float64Array>> => {
  const program = byShape(({ parameters, batch }: Inputs<Tensor>) => {
    const means: Record<string, Tensor> = {}
    const linear =
      (weights: Weights): Weights['linear'] =>
      (name, x) => {
        if (modules.includes(name))
          means[name] = x.abs().mean(Array.from({ length: x.rank - 1 }, (_, i) => i))
        return weights.linear(name, x)
      }
    const listening: Model = {
      ...base,
      weights: (given, trace) => {
        const weights = base.weights(given, trace)
        return answering(weights, { linear: linear(weights) })
      },
    }
    forward(listening, parameters, batch)
    return means
  })
  const sums = new Map<string, Float64Array>()
  for (const batch of batches) {
    const means = await program({ parameters: { ...base.parameters }, batch })
    for (const [name, mean] of Object.entries(means))
      sums.set(name, added(sums.get(name), await numbers(mean)))
  }
  return new Map([...sums].map(([name, sum]) => [name, sum.map((x) => x / batches.length)]))
}

const numbers = async (v: Value): Promise<Float64Array> => {
  const data = await v.read()
  return Float64Array.from(data as ArrayLike<number>, Number)
}

/** The gradient of the model's loss, a mean over `batches`, at these tensors in place of the base's, as they are stored. */
export const weightGradients = async (
  base: Model,
  tensors: Readonly<Record<string, Value>>,
  batches: readonly Batch[],
): Promise<Map<string, Float64Array>> => {
  const names = Object.keys(tensors)
  const parameters = { ...base.parameters, ...tensors }
  const program = byShape(({ parameters, batch }: Inputs<Tensor>) => {
    const moved = Object.fromEntries(names.map((name) => [name, parameters[name]]))
    const loss = (own: Record<string, Tensor>) => modelLoss(base)({ ...parameters, ...own }, batch, {})
    return valueAndGrad(loss)(moved).grads
  })
  const sums = new Map<string, Float64Array>()
  for (const batch of batches)
    for (const [name, g] of Object.entries(await program({ parameters, batch })))
      sums.set(name, added(sums.get(name), await numbers(g)))
  return new Map([...sums].map(([name, sum]) => [name, sum.map((x) => x / batches.length)]))
}
