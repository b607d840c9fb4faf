/** @file Measures of the tasks: shares of right answers, F1, exact matches. */
import type { Measures } from '../train/index.js'

/** Mean over the classes that occur (in labels or answers) of F1: 2 hits / (labels + answers). */
const macroF1 = (counts: ReadonlyMap<number, { labels: number; answers: number; hits: number }>): number =>
  [...counts.values()].reduce((sum, { labels, answers, hits }) => sum + (2 * hits) / (labels + answers), 0) /
  counts.size

/** Accuracy and macro F1 of classes. logits: [batch, classes], labels: [batch]. */
export const classMeasures: Measures = {
  tensors: ({ logits }, { labels }) => ({
    answers: logits.argMax(-1).cast('int32'),
    labels: labels.cast('int32'),
  }),
  start() {
    const counts = new Map<number, { labels: number; answers: number; hits: number }>()
    const of = (label: number): { labels: number; answers: number; hits: number } => {
      const count = counts.get(label) ?? { labels: 0, answers: 0, hits: 0 }
      counts.set(label, count)
      return count
    }
    let rows = 0
    let right = 0
    return {
      add({ answers, labels }) {
        for (let i = 0; i < labels.length; i++) {
          const [label, answer] = [Number(labels[i]), Number(answers[i])]
          of(label).labels++
          of(answer).answers++
          if (label === answer) of(label).hits++
          right += Number(label === answer)
          rows++
        }
      },
      result: () => ({ accuracy: right / rows, f1: macroF1(counts) }),
    }
  },
}

/**
 * Share of right tokens, and of rows all of whose tokens are right: a row's greedy answer is then its target. logits:
 * [batch, time, vocabulary], labels: [batch, time], -100 where none counts.
 */
const tokenTensors: Measures['tensors'] = ({ logits }, { labels }) => {
  const counted = labels.notEqual(-100).cast('int32')
  const right = logits.argMax(-1).cast('int32').equal(labels.cast('int32')).cast('int32')
  return { counted: counted.sum(1), right: right.mul(counted).sum(1) }
}

const tokenTally = (exact: boolean) => (): ReturnType<Measures['start']> => {
  const sums = { rows: 0, whole: 0, counted: 0, right: 0 }
  return {
    add({ counted, right }) {
      for (let i = 0; i < counted.length; i++) {
        if (Number(counted[i]) === 0) continue
        sums.rows++
        sums.whole += Number(Number(counted[i]) === Number(right[i]))
        sums.counted += Number(counted[i])
        sums.right += Number(right[i])
      }
    },
    result: () => ({
      perTokenAccuracy: sums.right / sums.counted,
      ...(exact && { exactMatch: sums.whole / sums.rows }),
    }),
  }
}

/** Share of masked tokens that are found again. */
export const maskedMeasures: Measures = { perToken: true, tensors: tokenTensors, start: tokenTally(false) }

/** Share of right tokens, and of answers that are the target whole. */
export const sequenceMeasures: Measures = { perToken: true, tensors: tokenTensors, start: tokenTally(true) }
