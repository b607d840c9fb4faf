/** @file Classification of tokens: words and a tag for each of them a row. */
import { valueOfColumn } from '../data/columns.js'
import { isObject } from '../data/files.js'
import { malformed } from '../data/row.js'
import { entityMeasures } from './entities.js'
import { type Label, Labels } from './labels.js'
import { filled, paddedIds, padOf, timeOf } from './rows.js'
import type { TaskFormat, TaskModel } from './task.js'
import { encodedWords } from './words.js'

/** Words and their tags. */
export interface TaggedWords {
  readonly words: readonly string[]
  readonly tags: readonly Label[]
}

/** Names by which datasets call the columns, the likeliest first. */
const wordColumns = ['tokens', 'words']
const tagColumns = ['tags', 'labels', 'ner_tags', 'pos_tags']

const ignored = -100

/** The first of `names` that the row has. */
const columnAmong = (row: unknown, names: readonly string[]): string =>
  names.find((name) => isObject(row) && Object.hasOwn(row, name)) ?? names[0]

/** A column's list: one of JSON, or words between white space. Throws CheckpointError for another value. */
const listOf = (row: unknown, column: string, where: string): unknown[] => {
  const value = valueOfColumn(row, column, where)
  if (Array.isArray(value) || ArrayBuffer.isView(value)) return Array.from(value as ArrayLike<unknown>)
  if (typeof value !== 'string') throw malformed(where, `the column "${column}" must hold a list`)
  if (!value.trim().startsWith('[')) return value.trim().split(/\s+/)
  try {
    return JSON.parse(value) as unknown[]
  } catch (cause) {
    throw malformed(where, `the column "${column}" holds no list: ${value.slice(0, 40)}`, { cause })
  }
}

const readWords = (row: unknown, where: string): string[] => {
  const column = columnAmong(row, wordColumns)
  return listOf(row, column, where).map((word) => {
    if (typeof word === 'string' && word.trim() !== '') return word
    throw malformed(where, `the column "${column}" holds ${JSON.stringify(word)}, which is no word`)
  })
}

/** Ids and labels of a row: of a word's tokens the first has its tag, the others too where `all` says so. */
const labelled = (
  pieces: readonly (readonly number[])[],
  tags: readonly number[],
  all: boolean,
): { ids: number[]; labels: number[] } => ({
  ids: pieces.flat(),
  labels: pieces.flatMap((piece, i) => piece.map((_, k) => (k === 0 || all ? tags[i] : ignored))),
})

/** Rows with `tokens` and `tags`: as many of the one as of the other. */
export const tokens = (model: TaskModel): TaskFormat<TaggedWords> => {
  const labels = new Labels(model.config, model.fresh)
  return {
    fields: [...wordColumns, ...tagColumns],
    text: wordColumns[0],
    label: tagColumns[0],
    reading: () => (row, where) => {
      const words = readWords(row, where)
      const column = columnAmong(row, tagColumns)
      const tags = listOf(row, column, where).map((tag) => labels.read(tag, where))
      if (words.length === tags.length && words.length > 0) return { words, tags }
      throw malformed(
        where,
        `it has ${words.length} words and ${tags.length} tags; expected a tag for each of one or more words`,
      )
    },
    settled: () => labels.settle(),
    async batch(records) {
      const tokenizer = await model.tokenizer()
      const room = model.length - tokenizer.join([]).ids.length
      const rows = records.map(({ words, tags }) => {
        const numbers = tags.map((tag) => labels.index(tag))
        const row = labelled(encodedWords(tokenizer, words), numbers, model.everyToken ?? false)
        const { ids, starts } = tokenizer.join(row.ids.slice(0, room))
        const all = new Array<number>(ids.length).fill(ignored)
        row.labels.slice(0, room).forEach((label, i) => (all[starts[0] + i] = label))
        return { ids, labels: all }
      })
      const inputs = paddedIds(
        rows.map(({ ids }) => ids),
        padOf(tokenizer),
        model,
      )
      const targets = rows.map((row) => row.labels)
      return { ...inputs, labels: filled(targets, timeOf(targets, model), ignored) }
    },
    measures: entityMeasures(() => labels.names),
  }
}
