/** @file Running statistics of batch norm, computed anew: those of averaged weights are not the average of statistics. */
import type { Model, Parameters } from '../models/index.js'
import { RandomStreams, type Tensor, type Value, value, valueOf } from '../tensor/index.js'
import { type Batch, byShape, forward } from '../train/index.js'

/** Names of the running statistics among the model's parameters: what batches say, not what trains. */
export const statisticsOf = ({ architecture, config, parameters }: Model): string[] =>
  architecture
    .table(config)
    .filter(({ kind, dtype, name }) => kind === 'buffer' && dtype === undefined && name in parameters)
    .map(({ name }) => name)

const filled = ({ shape }: Value, x: number): Value =>
  valueOf(new Float32Array(shape.reduce((n, size) => n * size, 1)).fill(x), shape)

const add = async (into: Float64Array, v: Value): Promise<void> => {
  const numbers = (await v.read()) as Float32Array
  for (let i = 0; i < into.length; i++) into[i] += numbers[i]
}

/**
 * `parameters` with the running statistics that they have on `batches`: the mean over these of what each one gives.
 * A model reports (1 - m) old + m new with a momentum m of its own, so it is asked with old = 0, and once with old = 1,
 * which tells m. Opened with `buffers: true`; a model without statistics comes back as it is.
 */
export const recalibrated = async (
  model: Model,
  parameters: Parameters<Value>,
  batches: AsyncIterable<Batch> | Iterable<Batch>,
): Promise<Record<string, Value>> => {
  const names = statisticsOf(model)
  if (names.length === 0) return { ...parameters }
  type Inputs = { parameters: Record<string, Tensor>; batch: Batch<Tensor> }
  const reports = byShape(({ parameters, batch }: Inputs) => {
    const found = new Map<string, Tensor>()
    forward(model, parameters, batch, { random: new RandomStreams(), reports: found })
    return Object.fromEntries(names.flatMap((name) => (found.has(name) ? [[name, found.get(name)!]] : [])))
  })
  const from = (x: number): Record<string, Value> => ({
    ...parameters,
    ...Object.fromEntries(names.map((name) => [name, filled(parameters[name], x)])),
  })
  const [zeros, ones] = [from(0), from(1)]
  const sums = Object.fromEntries(names.map((name) => [name, new Float64Array(parameters[name].data.length)]))
  const retained: Record<string, number> = {}
  let step = 0
  for await (const batch of batches) {
    const random = { seed: 'statistics', step }
    const fresh = await reports({ parameters: zeros, batch }, random)
    if (step++ === 0) {
      const old = await reports({ parameters: ones, batch }, random)
      for (const name of Object.keys(fresh)) {
        const [a, b] = (await Promise.all([fresh[name].read(), old[name].read()])) as Float32Array[]
        retained[name] = b.reduce((sum, x, i) => sum + (x - a[i]), 0) / a.length
      }
    }
    for (const [name, v] of Object.entries(fresh)) await add(sums[name], v)
  }
  const statistics = Object.entries(retained).map(([name, kept]) => {
    const { shape } = parameters[name]
    const numbers = Float32Array.from(sums[name], (sum) => sum / (step * (1 - kept)))
    return [name, value(numbers, shape, 'float32')] as const
  })
  return { ...parameters, ...Object.fromEntries(statistics) }
}
