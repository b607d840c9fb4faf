/**
 * @file An optimiser with a gate for each parameter: where it is shut, the parameter, its moments and its count of steps
 * stay as they are, as if there were no gradient. Gates are state, so that nothing is compiled again.
 */
import { type Tensor, type Value, valueOf, where } from '../tensor/index.js'
import type { Optimizer, TrainingState } from './index.js'

type Slots<T> = Readonly<Record<string, T>>

/** The slots beside the optimiser's own: whether the parameter moves, how often it has, and the numbers of its next step. */
const [gate, count, prefix] = ['gate', 'count', 'scalar.']

/** The entries of a record whose names begin with `prefix`, without it. */
const scalarsIn = <T>(slots: Slots<T>): Record<string, T> =>
  Object.fromEntries(
    Object.entries(slots).flatMap(([slot, x]) =>
      slot.startsWith(prefix) ? [[slot.slice(prefix.length), x]] : [],
    ),
  )

/** `optimizer` with gates, all shut until `setGates` opens some. Each parameter counts its own steps. */
export const gated = (optimizer: Optimizer): Optimizer => {
  const names = Object.keys(optimizer.scalars(1, 1)).map((name) => prefix + name)
  const zero = Object.fromEntries([gate, count, ...names].map((slot) => [slot, valueOf([0], [])]))
  return {
    name: optimizer.name,
    scalars: () => ({}),
    init: (parameters) =>
      Object.fromEntries(
        Object.entries(optimizer.init(parameters)).map(([name, slots]) => [name, { ...slots, ...zero }]),
      ),
    update(parameters, gradients, state) {
      const next = Object.keys(parameters).map((name) => {
        const own = { p: parameters[name], g: gradients[name], slots: state[name] }
        return [name, moved(optimizer, name, own, zero)] as const
      })
      return {
        parameters: Object.fromEntries(next.map(([name, { p }]) => [name, p])),
        state: Object.fromEntries(next.map(([name, { slots }]) => [name, slots])),
      }
    },
  }
}

const moved = (
  optimizer: Optimizer,
  name: string,
  { p, g, slots }: { readonly p: Tensor; readonly g: Tensor; readonly slots: Slots<Tensor> },
  zero: Slots<Value>,
): { readonly p: Tensor; readonly slots: Slots<Tensor> } => {
  const isOwn = ([slot]: [string, unknown]): boolean => !(slot in zero)
  const own = Object.fromEntries(Object.entries(slots).filter(isOwn))
  const isOpen = slots[gate].greater(0.5)
  const next = optimizer.update({ [name]: p }, { [name]: g }, { [name]: own }, scalarsIn(slots))
  // A choice of values, not a branch: a branch each costs a session more memory than the numbers that it spares. What an outer
  // wrapper keeps beside the optimiser's slots passes through.
  const changed = Object.entries(own).map(([slot, before]) => {
    const after = next.state[name][slot]
    return [slot, after ? where(isOpen, after, before) : before] as const
  })
  const slotsAfter = { ...slots, ...Object.fromEntries(changed), [count]: slots[count].add(slots[gate]) }
  return { p: where(isOpen, next.parameters[name], p), slots: slotsAfter }
}

/** Opens the gates of the parameters that `open` says, and shuts the others, for the next step at `learningRate`. */
export const setGates = (
  state: TrainingState,
  optimizer: Optimizer,
  open: (name: string) => boolean,
  learningRate: number,
): void => {
  const [slots] = state.optimizers
  for (const [name, own] of Object.entries(slots)) {
    const scalars = Object.entries(optimizer.scalars(Number(own[count].data[0]) + 1, learningRate))
    const values = scalars.map(([key, x]) => [prefix + key, valueOf([x], [])] as const)
    slots[name] = { ...own, ...Object.fromEntries(values), [gate]: valueOf([Number(open(name))], []) }
  }
}
