/**
 * @file Three yes-or-no questions about short texts of agreeing pairs and brackets, told apart by a first token: do all pairs
 * agree, are brackets nested, is the last symbol the first. And the texts alone, for a model to learn first.
 */
import { Stream } from '../random/index.js'
import { type Value, valueOf } from '../tensor/index.js'
import { append } from '../tensor/numbers.js'

const kinds = 4
const [openBracket, closeBracket] = [2 * kinds, 2 * kinds + 1]
const [firstTask, no] = [2 * kinds + 2, 2 * kinds + 5]

/** The last two tokens. */
export const yesNoAnswers: Readonly<Record<'no' | 'yes', number>> = { no, yes: no + 1 }

/** How many different tokens there are: symbols, three questions, two answers. */
export const yesNoTokens: number = no + 2

/** Symbols of a text. */
const symbols = 8
/** Tokens of a row: the question, the text, the answer. */
export const yesNoLength: number = symbols + 2

/** Pairs of a first and a second symbol of one kind, brackets up to three deep; all closed at the end. */
const text = (stream: Stream): number[] => {
  const out: number[] = []
  let depth = 0
  while (out.length < symbols) {
    const free = symbols - out.length - depth
    const chance = stream.uniform()
    if (depth > 0 && (free === 0 || chance < 0.25)) {
      out.push(closeBracket)
      depth--
    } else if (free >= 2 && depth < 3 && chance < 0.45) {
      out.push(openBracket)
      depth++
    } else {
      const kind = stream.int(kinds)
      append(out, [kind, ...(free >= 2 ? [kinds + kind] : [])])
    }
  }
  return out
}

const isNested = (row: readonly number[]): boolean => {
  let [depth, most] = [0, 0]
  for (const symbol of row) {
    if (symbol === openBracket) most = Math.max(most, ++depth)
    if (symbol === closeBracket) depth--
  }
  return most > 1
}

/** Another number below `count`. */
const other = (stream: Stream, count: number, than: number): number =>
  (than + 1 + stream.int(count - 1)) % count

/** A text whose answer to the question is yes or no, as `wanted`. */
const textFor = (stream: Stream, task: number, wanted: boolean): number[] => {
  const row = text(stream)
  const seconds = row.flatMap((symbol, i) => (symbol >= kinds && symbol < 2 * kinds ? [i] : []))
  if (task === 0) {
    if (seconds.length === 0) return textFor(stream, task, wanted)
    const at = seconds[stream.int(seconds.length)]
    if (!wanted) row[at] = kinds + other(stream, kinds, row[at] - kinds)
    return row
  }
  if (task === 1) return isNested(row) === wanted ? row : textFor(stream, task, wanted)
  row[symbols - 1] = wanted ? row[0] : other(stream, 2 * kinds, row[0])
  return row
}

interface Rows {
  readonly ids: Value
  readonly labels: Value
}

const rows = (count: number, of: (i: number) => { ids: number[]; labels: number[] }): Rows => {
  const all = Array.from({ length: count }, (_, i) => of(i))
  const shape = [count, yesNoLength]
  return {
    ids: valueOf(
      all.flatMap(({ ids }) => ids),
      shape,
      'int32',
    ),
    labels: valueOf(
      all.flatMap(({ labels }) => labels),
      shape,
      'int32',
    ),
  }
}

/** Texts behind a question and before an answer that mean nothing: `ids` and equal `labels`, [count, length]. */
export const yesNoTexts = (count: number, seed: string): Rows => {
  const stream = new Stream(seed)
  return rows(count, () => {
    const ids = [firstTask + stream.int(3), ...text(stream), no + stream.int(2)]
    return { ids, labels: ids.map((id, i) => (i > 0 && i <= symbols ? id : -100)) }
  })
}

/** Questions with their answers, half of them yes; labels but the answers are -100. [count, length]. */
export const yesNoQuestions = (count: number, seed: string): Rows => {
  const stream = new Stream(seed)
  return rows(count, (i) => {
    const [task, wanted] = [i % 3, stream.int(2) === 1]
    const ids = [firstTask + task, ...textFor(stream, task, wanted), no + Number(wanted)]
    return { ids, labels: ids.map((id, at) => (at === symbols + 1 ? id : -100)) }
  })
}
