/** @file Rows of tokens of equal length. */
import { type Value, valueOf } from '../tensor/index.js'
import type { JoinedTokens, Tokenizer } from '../text/index.js'
import { maxOf } from '../tensor/numbers.js'

/** How rows are padded. */
export interface Padding {
  /** Longest row in tokens. */
  readonly length: number
  readonly multiple: number
}

/** Length of the longest row, rounded up to a multiple, at most `length`. */
export const timeOf = (rows: readonly (readonly number[])[], { length, multiple }: Padding): number =>
  Math.min(length, Math.ceil(maxOf(rows.map((row) => Math.max(1, row.length))) / multiple) * multiple)

/** Rows filled up at the right with `rest`: [rows, time] int32. */
export const filled = (rows: readonly ArrayLike<number>[], time: number, rest: number): Value => {
  const numbers = new Int32Array(rows.length * time).fill(rest)
  rows.forEach((row, i) => numbers.set(row, i * time))
  return valueOf(numbers, [rows.length, time], 'int32')
}

/** Token ids and the mask of what is padding: the model's inputs. */
export const paddedIds = (
  rows: readonly number[][],
  pad: number,
  padding: Padding,
): { ids: Value; attentionMask: Value } => {
  const time = timeOf(rows, padding)
  const ones = rows.map((row) => new Uint8Array(row.length).fill(1))
  return { ids: filled(rows, time, pad), attentionMask: filled(ones, time, 0) }
}

/** How many special tokens stand after a text. */
const tailOf = (tokenizer: Tokenizer, text: string, ids: readonly number[]): number => {
  const bare = tokenizer.encode(text, { special: false })
  let tail = 0
  while (tail < ids.length - bare.length && tokenizer.specialIds.has(ids[ids.length - 1 - tail])) tail++
  return tail
}

/** The tokens of a text with the special ones around it; of a longer one the text loses its end, not they. */
export const encodedWithin = (tokenizer: Tokenizer, text: string, length: number): number[] => {
  const ids = tokenizer.encode(text)
  if (ids.length <= length) return ids
  const tail = Math.min(length, tailOf(tokenizer, text, ids))
  return [...ids.slice(0, length - tail), ...ids.slice(ids.length - tail)]
}

/** Two texts' ids cut to `room` together: the longer one loses its end first. */
const cutTogether = (
  first: readonly number[],
  second: readonly number[],
  room: number,
): [first: number[], second: number[]] => {
  const half = Math.floor(room / 2)
  const ofFirst = Math.min(first.length, Math.max(room - second.length, room - half))
  return [first.slice(0, ofFirst), second.slice(0, room - ofFirst)]
}

/** A text, or two, with the special tokens around and between them, and the segment of each token; cut where they are longer. */
export const joinedWithin = (
  tokenizer: Tokenizer,
  text: string,
  second: string | undefined,
  length: number,
): Pick<JoinedTokens, 'ids' | 'types'> => {
  if (second === undefined) {
    const ids = encodedWithin(tokenizer, text, length)
    return { ids, types: new Array<number>(ids.length).fill(0) }
  }
  const encode = (part: string): number[] => tokenizer.encode(part, { special: false })
  const room = Math.max(0, length - tokenizer.join([], []).ids.length)
  return tokenizer.join(...cutTogether(encode(text), encode(second), room))
}

/** Token ids, the mask of what is padding, and the segments where there are two: the model's inputs. */
export const paddedRows = (
  rows: readonly Pick<JoinedTokens, 'ids' | 'types'>[],
  pad: number,
  padding: Padding,
): { ids: Value; attentionMask: Value; types?: Value } => {
  const ids = rows.map((row) => row.ids)
  const inputs = paddedIds(ids, pad, padding)
  if (rows.every(({ types }) => types.every((type) => type === 0))) return inputs
  const types = filled(
    rows.map((row) => row.types),
    timeOf(ids, padding),
    0,
  )
  return { ...inputs, types }
}

/** The id that fills rows. */
export const padOf = ({ pad, eos }: Tokenizer): number => pad ?? eos ?? 0
