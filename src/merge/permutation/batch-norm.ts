/** @file Running statistics of batch norms anew: after weights were merged or made, those of before say nothing. */
import { answering, type Model } from '../../models/index.js'
import { toNumbers, type Tensor, type Value, valueOf } from '../../tensor/index.js'
import { byShape } from '../../train/by-shape.js'
import { type Batch, inputsOf } from '../../train/loss.js'

/** The modules whose norm goes by running statistics. */
export const batchNorms = ({ architecture, config }: Pick<Model, 'architecture' | 'config'>): string[] =>
  architecture
    .table(config)
    .filter(({ kind, name }) => kind === 'buffer' && name.endsWith('.running_mean'))
    .map(({ name }) => name.slice(0, -'.running_mean'.length))

/** Mean and unbiased variance of each channel. x: [batch, channels, ...] -> [channels] twice. */
const moments = (x: Tensor): { mean: Tensor; variance: Tensor } => {
  const axes = x.shape.flatMap((_, i) => (i === 1 ? [] : [i]))
  const count = x.size / x.shape[1]
  const mean = x.mean(axes, { keep: true })
  const variance = x
    .sub(mean)
    .square()
    .sum(axes)
    .div(Math.max(1, count - 1))
  return { mean: mean.reshape([-1]), variance }
}

/**
 * The running means and variances of `model` on `batches`, each the average over the batches (momentum none, in
 * PyTorch's words): every norm goes by its batch meanwhile. Nothing but these tensors is returned.
 */
export const recalibrated = async (
  model: Model,
  batches: Iterable<Batch> | AsyncIterable<Batch>,
): Promise<Record<string, Value>> => {
  const names = new Set(batchNorms(model))
  const program = byShape(
    ({ parameters, batch }: { parameters: Record<string, Tensor>; batch: Batch<Tensor> }) => {
      const found: Record<string, ReturnType<typeof moments>> = {}
      const weights = answering(model.weights(parameters, { inputs: batch }), {
        training: true,
        module: (name, x, at, body) => {
          if (names.has(name)) found[name] = moments(x)
          return body(x, at)
        },
      })
      model.architecture.forward(weights, inputsOf(model, batch), model.config)
      return found
    },
  )
  const sums = new Map<string, Float64Array>()
  let count = 0
  for await (const batch of batches) {
    count++
    for (const [name, { mean, variance }] of Object.entries(
      await program({ parameters: { ...model.parameters }, batch }),
    ))
      for (const [part, v] of [
        ['running_mean', mean],
        ['running_var', variance],
      ] as const) {
        const numbers = toNumbers(v)
        const sum = sums.get(`${name}.${part}`) ?? new Float64Array(numbers.length)
        numbers.forEach((x, i) => (sum[i] += x))
        sums.set(`${name}.${part}`, sum)
      }
  }
  return Object.fromEntries(
    [...sums].map(([name, sum]) => [
      name,
      valueOf(
        sum.map((x) => x / count),
        [sum.length],
      ),
    ]),
  )
}
