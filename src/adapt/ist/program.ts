/**
 * @file The program of a step: gradients of the layers that train, or, where an input says so, only the loss with some layers
 * suppressed. Two programs would hold the memory of both, and map the weights twice.
 */
import { cond, fused, type Tensor, valueAndGrad, zeros } from '../../tensor/index.js'
import type { Loss, LossFunction, Objective } from '../../train/index.js'
import { numbersOf, scaleInput, trainsInput } from './answers.js'
import type { AdapterLayers } from './layers.js'

/** The input that says whether a run is a trial: a scalar bool. */
export const trialInput = 'istTrial'

type Named = Readonly<Record<string, Tensor>>

/** A loss with its gradients, and what else a branch gives: named alike in all branches. */
interface Branch {
  readonly loss: Tensor
  readonly weight: Tensor
  readonly metrics: Named
  readonly reports: Named
  readonly slopes: Named
}

const tensorsOf = ({ loss, weight, metrics, reports, slopes }: Branch): Tensor[] => [
  ...[loss, weight],
  ...[metrics, reports, slopes].flatMap((named) => Object.values(named)),
]

/** A branch named as `model`, of other tensors in the order of `tensorsOf`. */
const branchLike = (model: Branch, [loss, weight, ...others]: readonly Tensor[]): Branch => {
  const rest = others.values()
  const take = (named: Named): Named =>
    Object.fromEntries(Object.keys(named).map((name) => [name, rest.next().value as Tensor]))
  const { metrics, reports, slopes } = model
  return { loss, weight, metrics: take(metrics), reports: take(reports), slopes: take(slopes) }
}

const weightOf = ({ loss, weight }: Loss): Tensor => weight ?? loss.lift(1)

/** Loss and gradients; those of layers that do not train are zero. */
const trainingBranch = (
  { loss, moves = () => true }: Objective,
  place: AdapterLayers['place'],
  [parameters, batch, trace]: Parameters<LossFunction>,
): Branch => {
  const reports = new Map<string, Tensor>()
  const moved = Object.fromEntries(Object.entries(parameters).filter(([name]) => moves(name)))
  const f = (p: Named): Loss => loss({ ...parameters, ...p }, batch, { ...trace, reports })
  const { value, grads } = valueAndGrad(f)(moved)
  const flags = numbersOf(batch[trainsInput])
  // Made in the order of the layers, the last of these is the first that is asked for: that of the uppermost layer.
  const slopes = Object.entries(grads).map(([name, slope]) => {
    const layer = place(name)
    return [name, layer === undefined ? slope : slope.mul(flags[layer])] as const
  })
  return {
    ...{ loss: value.loss, weight: weightOf(value), metrics: value.metrics ?? {} },
    ...{ reports: Object.fromEntries(reports), slopes: Object.fromEntries(slopes) },
  }
}

/**
 * The loss of \`objective\` for batches that say which layers train: its gradients by the others are zero. Where a batch says
 * that it is a trial, \`tried\` in evaluation, which gets the layers' scales in place of those that train, and no gradients.
 */
export const sparseLoss =
  (objective: Objective, tried: LossFunction, place: AdapterLayers['place']): LossFunction =>
  (parameters, { [trialInput]: trial, [scaleInput]: scale, ...batch }, trace) => {
    let found: Branch | undefined
    const train = (): Tensor[] => {
      found = trainingBranch(objective, place, [parameters, batch, trace])
      return tensorsOf(found)
    }
    const attempt = (): Tensor[] => {
      const { [trainsInput]: _, ...rest } = batch
      const result = tried(parameters, { ...rest, [scaleInput]: scale }, {})
      const others = tensorsOf(found!).slice(2)
      return [result.loss, weightOf(result), ...others.map(({ shape, dtype }) => zeros(shape, dtype))]
    }
    const outputs = trial ? cond(trial.not(), train, attempt) : train()
    const { slopes } = branchLike(found!, outputs)
    const names = Object.keys(slopes)
    const values = outputs.slice(0, outputs.length - names.length)
    const inputs = [...names.map((name) => parameters[name]), ...Object.values(slopes)]
    const given = fused('', inputs, values, {
      gradient: ([g], inputs) => inputs.slice(names.length).map((slope) => slope.mul(g!)),
    })
    const { loss, weight, metrics, reports } = branchLike({ ...found!, slopes: {} }, given)
    for (const [name, value] of Object.entries(reports)) trace.reports?.set(name, value)
    return { loss, weight, metrics }
  }
