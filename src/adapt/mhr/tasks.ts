/** @file Tasks that share skills: edits of strings of digits, two of which make a task. */
import { Stream } from '../../random/index.js'
import { valueOf } from '../../tensor/index.js'
import type { Batch } from '../../train/index.js'
import { append } from '../../tensor/numbers.js'

/** An edit of a string of digits: [digits] -> [digits]. */
export type Edit = (digits: readonly number[]) => number[]

const edits: readonly Edit[] = [
  (x) => [...x].reverse(),
  (x) => x.map((d) => (d + 1) % 10),
  (x) => [...x.slice(1), x[0]],
  (x) => x.map((_, i) => x[i ^ 1] ?? x[i]),
  (x) => [...x].sort((a, b) => a - b),
  (x) => x.map((d) => (2 * d) % 10),
]

/** Pairs of edits: 24 to train on, and 4 new ones, none of which is the same as another in the other order. */
export const tasksOf = (seed: number): { known: Edit[]; unseen: Edit[] } => {
  const stream = new Stream(`tasks ${seed}`)
  const probes = Array.from({ length: 20 }, () => Array.from({ length: 4 }, () => stream.int(10)))
  const composed =
    (a: Edit, b: Edit): Edit =>
    (x) =>
      b(a(x))
  const pairs = edits.flatMap((a) =>
    edits
      .filter((b) => b !== a)
      .map((b) => ({
        edit: composed(a, b),
        alone: probes.some((x) => String(b(a(x))) !== String(a(b(x)))),
      })),
  )
  const order = [...stream.permutation(pairs.length)].map((i) => pairs[i])
  const unseen = order.filter(({ alone }) => alone).slice(0, 4)
  const known = order.filter((pair) => !unseen.includes(pair)).slice(0, 24)
  return { known: known.map(({ edit }) => edit), unseen: unseen.map(({ edit }) => edit) }
}

/** `rows` strings of digits, a mark, and each string edited, which is what counts. tasks: one, or all in turn. */
export const strings = (tasks: readonly Edit[], rows: number, digits: number, seed: string): Batch => {
  const stream = new Stream(seed)
  const [ids, labels, taskIds]: number[][] = [[], [], []]
  for (let row = 0; row < rows; row++) {
    const inputs = Array.from({ length: digits }, () => stream.int(10))
    const edited = tasks[row % tasks.length](inputs)
    append(ids, [...inputs, 10, ...edited])
    append(labels, [...new Array<number>(digits + 1).fill(-100), ...edited])
    taskIds.push(row % tasks.length)
  }
  const shape = [rows, 2 * digits + 1]
  return {
    ids: valueOf(ids, shape, 'int32'),
    labels: valueOf(labels, shape, 'int32'),
    taskIds: valueOf(taskIds, [rows], 'int32'),
  }
}
