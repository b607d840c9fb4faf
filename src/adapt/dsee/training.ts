/** @file Training of DSEE: coefficients under a penalty until the base is pruned, once, at a step of the run. */
import { type Tensor, valueOf } from '../../tensor/index.js'
import type { Training } from '../../train/index.js'
import type { Named, Plan } from '../core/spec.js'
import { foundMasks, isPruned, keys } from './masks.js'
import { type DseeOptions, prunes } from './options.js'

/** The input that Σ |c| is multiplied by: a scalar. */
const penaltyInput = 'dseePenalty'

/** Σ |c| over the coefficients of all units; undefined where there are none. */
const coefficientSum = (parameters: Named<Tensor>): Tensor | undefined => {
  const all = Object.entries(parameters).filter(([name]) => name.endsWith(`.${keys.coefficients}`))
  return all.map(([, c]) => c.abs().sum()).reduce<Tensor | undefined>((sum, x) => sum?.add(x) ?? x, undefined)
}

/** The step after which the base is pruned. */
const pruningStep = ({ pruneAt }: DseeOptions, steps: number): number =>
  Math.max(1, Math.round(pruneAt * steps))

/** What DSEE asks of the trainer. */
export const training = (plan: Plan, o: DseeOptions): Training => ({
  ...(o.coefficients && {
    inputs: ({ step }, { steps }) => ({
      [penaltyInput]: valueOf([step < pruningStep(o, steps) ? o.penalty : 0], []),
    }),
    objective: (usual) => ({
      ...usual,
      loss(parameters, batch, trace) {
        const loss = usual.loss(parameters, batch, trace)
        const sum = coefficientSum(parameters)
        return sum ? { ...loss, loss: loss.loss.add(sum.mul(batch[penaltyInput])) } : loss
      },
    }),
  }),
  async between(state, { steps }) {
    if (!prunes(o) || state.step !== pruningStep(o, steps)) return
    if (!(await isPruned(plan, state.parameters)))
      Object.assign(state.parameters, await foundMasks(plan, state.parameters, o))
  },
})
