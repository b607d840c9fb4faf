/** @file In which order tasks take their turns: every batch is of one task, and an epoch's list of them is shuffled. */
import { UsageError } from '../../errors.js'
import { Stream } from '../../random/index.js'
import { maxOf } from '../../tensor/numbers.js'

/** How many batches a task has in an epoch, and the words that its texts begin with, which tell it from the others. */
export interface TaskBatches {
  readonly prefix: string
  readonly batches: number
}

/**
 * The tasks of an epoch's batches, in an order that the epoch alone decides: each as often as it has batches, or with
 * `balanced` all as often as the one that has the most. Throws UsageError for two tasks of one prefix.
 */
export const taskOrder = (
  tasks: Readonly<Record<string, TaskBatches>>,
  epoch: number,
  { balanced = false }: { readonly balanced?: boolean } = {},
): string[] => {
  const owners = new Map<string, string>()
  for (const [name, { prefix }] of Object.entries(tasks)) {
    const other = owners.get(prefix)
    if (other !== undefined)
      throw new UsageError('SamePrefix', `tasks ${other} and ${name} both begin with "${prefix}"`, {
        hint: 'One adapter for all tells tasks apart by their first words alone.',
      })
    owners.set(prefix, name)
  }
  const most = maxOf(
    Object.values(tasks).map(({ batches }) => batches),
    0,
  )
  const list = Object.entries(tasks).flatMap(([name, { batches }]) =>
    new Array<string>(balanced ? most : batches).fill(name),
  )
  return Array.from(new Stream('task order').fork(epoch).permutation(list.length), (i) => list[i])
}
