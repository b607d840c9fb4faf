/** @file F1 of named entities: runs of tokens whose tags say that they are one thing (Tjong Kim Sang & De Meulder 2003). */
import { full } from '../tensor/index.js'
import type { Measures } from '../train/index.js'

/** A tag's prefix, "O" outside, and its type: "B-PER" is the first token of a person. A tag without prefix is one of its type. */
const parsed = (tag: string): { readonly prefix: string; readonly type: string } => {
  const [, prefix, type] = /^([BIESLU])-(.*)$/.exec(tag) ?? []
  if (prefix !== undefined) return { prefix, type }
  return tag === 'O' || tag === '' ? { prefix: 'O', type: '' } : { prefix: 'I', type: tag }
}

/**
 * The entities of a row of tags, each as "type from to". As conlleval counts: one begins at B (or S, U), where the type
 * changes, and where one has ended; it ends before all of these, before O, and after E (or L, S, U).
 */
export const entitiesIn = (tags: readonly string[]): Set<string> => {
  const entities = new Set<string>()
  let open: { type: string; from: number } | undefined
  const close = (to: number): void => {
    if (open) entities.add(`${open.type} ${open.from} ${to}`)
    open = undefined
  }
  tags.forEach((tag, i) => {
    const { prefix, type } = parsed(tag)
    if (open && (prefix === 'O' || /[BSU]/.test(prefix) || type !== open.type)) close(i)
    if (prefix === 'O') return
    open ??= { type, from: i }
    if (/[ESLU]/.test(prefix)) close(i + 1)
  })
  close(tags.length)
  return entities
}

/**
 * Share of right tags, and F1 of entities over all rows. names: of the classes, known once the data have been read.
 * logits: [batch, time, classes], labels: [batch, time], -100 where none counts.
 */
export const entityMeasures = (names: () => readonly string[]): Measures => ({
  tensors: ({ logits }, { labels }) => ({
    answers: logits.argMax(-1).cast('int32'),
    labels: labels.cast('int32'),
    time: full([1], labels.shape[1], 'int32'),
  }),
  start() {
    const sums = { tags: 0, right: 0, hits: 0, entities: 0 }
    const nameOf = (label: number): string => names()[label] ?? 'O'
    const addRow = (labels: readonly number[], answers: readonly number[]): void => {
      sums.tags += labels.length
      sums.right += labels.filter((label, i) => label === answers[i]).length
      const wanted = entitiesIn(labels.map(nameOf))
      const given = entitiesIn(answers.map(nameOf))
      sums.entities += wanted.size + given.size
      for (const entity of given) sums.hits += Number(wanted.has(entity))
    }
    return {
      add({ answers, labels, time }) {
        const width = Number(time[0])
        for (let row = 0; row < labels.length; row += width) {
          const counted = Array.from({ length: width }, (_, i) => row + i).filter(
            (i) => Number(labels[i]) !== -100,
          )
          addRow(
            counted.map((i) => Number(labels[i])),
            counted.map((i) => Number(answers[i])),
          )
        }
      },
      result: () => ({
        accuracy: sums.right / sums.tags,
        entityF1: sums.entities === 0 ? 1 : (2 * sums.hits) / sums.entities,
      }),
    }
  },
})
