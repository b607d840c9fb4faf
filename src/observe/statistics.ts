/** @file Running statistics of batch norm, computed anew: those of averaged weights are not the average of statistics. */
import type { Model, Parameters } from '../models/index.js'
import { full, RandomStreams, type Tensor, type Value, value } from '../tensor/index.js'
import { type Batch, forward } from '../train/index.js'
import { accumulated, type Batches, firstBatch } from './accumulate.js'

/** Names of the running statistics among the model's parameters: what batches say, not what trains. */
export const statisticsOf = ({ architecture, config, parameters }: Model): string[] =>
  architecture
    .table(config)
    .filter(({ kind, dtype, name }) => kind === 'buffer' && dtype === undefined && name in parameters)
    .map(({ name }) => name)

const meanOf = (numbers: Float64Array): number =>
  numbers.reduce((sum, number) => sum + number, 0) / numbers.length

/** The statistics that `model` reports on a batch in training, where those before were `old` everywhere. */
const reportedFrom = (
  model: Model,
  names: readonly string[],
  parameters: Parameters<Tensor>,
  batch: Batch<Tensor>,
  old: number,
): Record<string, Tensor> => {
  const reports = new Map<string, Tensor>()
  const before = Object.fromEntries(names.map((name) => [name, full(parameters[name].shape, old, 'float32')]))
  forward(model, { ...parameters, ...before }, batch, { random: new RandomStreams(), reports })
  return Object.fromEntries(names.flatMap((name) => (reports.has(name) ? [[name, reports.get(name)!]] : [])))
}

/**
 * `parameters` with the running statistics that they have on `batches`: the mean over these of what each one gives.
 * A model reports (1 - m) old + m new with a momentum m of its own, so it is asked with old = 0, and once with old = 1,
 * which tells m. Opened with `buffers: true`; a model without statistics, or no batch, gives `parameters` as they are.
 */
export const recalibrated = async (
  model: Model,
  parameters: Parameters<Value>,
  batches: Batches,
): Promise<Record<string, Value>> => {
  const names = statisticsOf(model)
  const first = names.length > 0 ? await firstBatch(batches) : undefined
  if (first === undefined) return { ...parameters }
  const options = { parameters, random: (step: number) => ({ seed: 'statistics', step }) }
  const from =
    (old: number) =>
    (batch: Batch<Tensor>, tensors: Parameters<Tensor>): Record<string, Tensor> =>
      reportedFrom(model, names, tensors, batch, old)
  const ones = await accumulated([first], from(1), options)
  const zeros = await accumulated([first], from(0), options)
  const { sums, count } = await accumulated(batches, from(0), options)
  const statistics = Object.entries(sums).map(([name, sum]) => {
    const retained = meanOf(ones.sums[name]) - meanOf(zeros.sums[name])
    const numbers = Float32Array.from(sum, (total) => total / (count * (1 - retained)))
    return [name, value(numbers, parameters[name].shape, 'float32')] as const
  })
  return { ...parameters, ...Object.fromEntries(statistics) }
}
