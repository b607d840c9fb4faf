/**
 * @file Teachings: what several models say after each token of a text, kept as each position's likeliest tokens, also where
 * their tokenizers differ (FuseLLM, Wan et al. 2024, and what builds on it).
 */
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Checkpoint } from '../checkpoint/index.js'
import { CheckpointError, UsageError } from '../errors.js'
import { type Model, sliceRows } from '../models/index.js'
import type { OnProgress } from '../progress.js'
import { logSoftmax, type Tensor, type Value, valueOf } from '../tensor/index.js'
import { type Example, ignored, openTokenizer, type Tokenizer } from '../text/index.js'
import { byShape } from '../train/by-shape.js'
import { batchesOf, rowLength } from '../train/data.js'
import { type Batch, type Data, type DataOptions, eachRow, forward } from '../train/index.js'
import { onlyPartners, sameVocabulary, vocabularyMap } from './align.js'

/** Predictions of one model for a row of `time` tokens. Entry t is about token t + 1: [time - 1] and [time - 1, top]. */
export interface Teaching {
  /** The likeliest tokens; a token may stand twice, and then counts with both numbers. */
  readonly ids: Int32Array
  /** Their probabilities, which sum to 1 at each position. */
  readonly probabilities: Float32Array
  /** The probability of the token that came. */
  readonly gold: Float32Array
  /** 1 where it says something itself; 0 where something stands in its place, which is no opinion of its own. */
  readonly spoken: Uint8Array
  /** Mean of -ln gold over the tokens that count and that it says something about. */
  readonly loss: number
}

/** A row to learn, with what each source says about it. */
export interface TaughtExample extends Example {
  readonly sources: readonly Teaching[]
}

/** How teachings are read. */
export interface TeachingOptions {
  /** How many tokens are kept at each position. Default 10, or the vocabulary where that is smaller. */
  readonly top?: number
  /** Rows in a batch. Default 8. */
  readonly batch?: number
  /** Hears the rows that are read. */
  readonly onProgress?: OnProgress
  /** Aborts between two batches. */
  readonly signal?: AbortSignal
}

/** The tokens of every row of `data` without its padding. Throws UsageError for batches that may never end. */
export const exampleRows = async (
  model: Model,
  data: Data,
  options: DataOptions = {},
): Promise<Example[]> => {
  if (typeof data === 'function')
    throw new UsageError('BadData', 'fusion goes through its data once before it trains', {
      hint: 'Give a dataset, records, or an iterable of batches that ends; a function may go on for ever.',
    })
  const rows: Example[] = []
  for await (const { ids, labels, attentionMask } of await batchesOf(model, data, options)) {
    const [count, time] = ids.shape
    for (let r = 0; r < count; r++) {
      const row = (v: Value): number[] => Array.from(v.data.subarray(r * time, (r + 1) * time), Number)
      const mask = attentionMask ? row(attentionMask) : undefined
      const length = mask ? mask.lastIndexOf(1) + 1 : time
      rows.push({ ids: row(ids).slice(0, length), labels: row(labels).slice(0, length) })
    }
  }
  return rows
}

/** Rows as one batch, padded at the right to `time` tokens. */
export const batchOf = (
  rows: readonly Example[],
  time: number,
): { ids: Value; attentionMask: Value; labels: Value } => {
  const fill = (of: (row: Example) => readonly number[], rest: number): Value => {
    const numbers = new Int32Array(rows.length * time).fill(rest)
    rows.forEach((row, i) => numbers.set(of(row), i * time))
    return valueOf(numbers, [rows.length, time], 'int32')
  }
  return {
    ids: fill((row) => row.ids, 0),
    attentionMask: fill((row) => row.ids.map(() => 1), 0),
    labels: fill((row) => row.labels, ignored),
  }
}

/** A row length that few programs are compiled for. */
export const rounded = (longest: number, most: number): number => Math.min(most, Math.ceil(longest / 64) * 64)

/** Length of the longest row in tokens; at least 2, since a shorter row has nothing to predict. */
export const longestOf = (rows: readonly Example[]): number =>
  rows.reduce((longest, { ids }) => Math.max(longest, ids.length), 2)

interface Reading<T> {
  readonly parameters: Readonly<Record<string, T>>
  readonly batch: Batch<T>
}

/** Predictions of `model` for rows in its own tokens. Throws CheckpointError where that is no number. */
export const teachings = async (
  model: Model,
  rows: readonly Example[],
  { top = 10, batch: size = 8, onProgress, signal }: TeachingOptions = {},
): Promise<Teaching[]> => {
  const program = byShape(({ parameters, batch }: Reading<Tensor>) => {
    const logits = sliceRows(forward(model, parameters, batch).logits, 0, -1)
    const counted = batch.attentionMask.slice(1, 1).notEqual(0)
    const say = (logits: Tensor, next: Tensor): Tensor[] => {
      const logs = logSoftmax(logits)
      const { values, indices } = logs.topK(Math.min(top, logs.shape[2]), { axis: 2 })
      return [values, indices.cast('int32'), logs.gatherElements(next.unsqueeze(-1), 2).squeeze(2)]
    }
    const [values, indices, gold] = eachRow(say, { logits, given: [batch.ids.slice(1, 1)], counted })
    return { values, indices, gold }
  })
  const most = longestOf(rows)
  const out: Teaching[] = []
  for (let first = 0; first < rows.length; first += size) {
    signal?.throwIfAborted()
    const part = rows.slice(first, first + size)
    const batch = batchOf(part, rounded(longestOf(part), most))
    const { values, indices, gold } = await program({ parameters: model.parameters, batch })
    const read = await Promise.all([values.read(), indices.read(), gold.read()])
    part.forEach((row, r) => out.push(teachingOf(row, r, values.shape, read)))
    onProgress?.({ status: 'progress', name: 'read', done: out.length, total: rows.length, unit: 'rows' })
  }
  const broken = out.findIndex(({ loss }) => Number.isNaN(loss))
  if (broken >= 0)
    throw new CheckpointError(
      'NotFinite',
      `${model.checkpoint.folder}: its loss on row ${broken} is no number`,
    )
  return out
}

/** Row `r` of a batch's results of shape [batch, time - 1, top]. */
const teachingOf = (
  { ids, labels }: Example,
  r: number,
  [, steps, top]: readonly number[],
  [values, indices, gold]: readonly Value['data'][],
): Teaching => {
  const count = Math.max(0, ids.length - 1)
  const cut = (data: Value['data'], width: number): Float32Array =>
    Float32Array.from(data.subarray(r * steps * width, (r * steps + count) * width) as Float32Array)
  const probabilities = cut(values, top).map(Math.exp)
  for (let t = 0; t < count; t++) normalise(probabilities.subarray(t * top, (t + 1) * top))
  const own = cut(gold, 1).map(Math.exp)
  const spoken = new Uint8Array(count).fill(1)
  const loss = lossOf(own, labels, spoken)
  return { ids: Int32Array.from(cut(indices, top)), probabilities, gold: own, spoken, loss }
}

const normalise = (row: Float32Array): void => {
  const total = row.reduce((sum, p) => sum + p, 0)
  for (let i = 0; i < row.length; i++) row[i] /= total
}

/** The least probability that a logarithm is taken of. */
const least = 1e-6

/** Mean of -ln gold where labels count and the source has spoken; infinite where nothing does. */
const lossOf = (gold: Float32Array, labels: readonly number[], spoken: Uint8Array): number => {
  let [sum, count] = [0, 0]
  gold.forEach((p, t) => {
    if (labels[t + 1] === ignored || !spoken[t]) return
    sum -= Math.log(p > least ? p : p >= 0 ? least : NaN)
    count++
  })
  return count ? sum / count : Infinity
}

/** Options of a source with another tokenizer. */
export interface TranslationOptions extends TeachingOptions {
  /** Tokens are renamed only where they are spelled the same; the others are left out. Default false. */
  readonly exact?: boolean
  /** Source 0's teachings of the same rows: they stand where nothing is left of a distribution. Default: the label. */
  readonly first?: readonly Teaching[]
}

/**
 * Predictions of a model with another tokenizer for rows of `target` tokens (Fusion-X, step 2). A position takes the source's
 * distribution where one token of each side lies on the other and both are the same text; elsewhere all probability is on
 * the token that came. Tokens are renamed by `vocabularyMap`; those that become one add up; where none is left, source 0's
 * distribution stands. Only the first of these counts as spoken. Throws as `teachings` does.
 */
export const translatedTeachings = async (
  model: Model,
  source: Tokenizer,
  target: Tokenizer,
  rows: readonly Example[],
  options: TranslationOptions = {},
): Promise<Teaching[]> => {
  const sourceRows = rows.map(({ ids }): Example => {
    const tokens = source.encode(target.decode(ids)).slice(0, rowLength(model))
    return { ids: tokens, labels: tokens }
  })
  const said = await teachings(model, sourceRows, options)
  const rename = vocabularyMap(source, target, options)
  const words = (tokenizer: Tokenizer, ids: readonly number[]): string[] =>
    ids.map((id) => tokenizer.token(id) ?? '')
  return rows.map((row, r) => {
    const partners = onlyPartners(words(source, sourceRows[r].ids), words(target, row.ids))
    return translated(said[r], row, { partners, rename, first: options.first?.[r] })
  })
}

/** How a source's rows become the target's. */
interface Translation {
  /** For each target position the source position that lies on it and is the same text. */
  readonly partners: readonly (number | undefined)[]
  rename(id: number): number | undefined
  /** Source 0's teaching of the row. */
  readonly first?: Teaching
}

const translated = (
  said: Teaching,
  { ids: row, labels }: Example,
  { partners, rename, first }: Translation,
): Teaching => {
  const top = said.gold.length ? said.ids.length / said.gold.length : 1
  const count = row.length - 1
  const ids = new Int32Array(count * top)
  const probabilities = new Float32Array(count * top)
  const gold = new Float32Array(count)
  const spoken = new Uint8Array(count)
  for (let t = 0; t < count; t++) {
    const from = (partners[t + 1] ?? 0) - 1
    const mine = probabilities.subarray(t * top, (t + 1) * top)
    const mineIds = ids.subarray(t * top, (t + 1) * top)
    for (let i = 0; from >= 0 && i < top; i++) {
      const id = rename(said.ids[from * top + i])
      if (id === undefined) continue
      mineIds[i] = id
      mine[i] = said.probabilities[from * top + i]
    }
    spoken[t] = Number(mine.some((p) => p > 0))
    if (!spoken[t] && from >= 0 && first) copyPosition(first, t, mineIds, mine)
    else if (!spoken[t]) [mineIds[0], mine[0]] = [row[t + 1], 1]
    normalise(mine)
    mineIds.forEach((id, i) => (gold[t] += id === row[t + 1] ? mine[i] : 0))
  }
  return { ids, probabilities, gold, spoken, loss: lossOf(gold, labels, spoken) }
}

/** Writes the likeliest tokens that `from` has at position `t` into `ids` and `probabilities`, as many as there is room for. */
const copyPosition = (from: Teaching, t: number, ids: Int32Array, probabilities: Float32Array): void => {
  const top = from.ids.length / from.gold.length
  const end = t * top + Math.min(top, ids.length)
  ids.set(from.ids.subarray(t * top, end))
  probabilities.set(from.probabilities.subarray(t * top, end))
}

/** The tokenizer in a model's folder; undefined where it has none. */
export const tokenizerIn = async ({ folder }: Pick<Checkpoint, 'folder'>): Promise<Tokenizer | undefined> => {
  const file = await stat(join(folder, 'tokenizer.json')).catch(() => undefined)
  return file?.isFile() ? openTokenizer(folder) : undefined
}

/**
 * Predictions of `source` for rows in the tokens of `target`. Models without tokenizers must have vocabularies of one size.
 * Throws CheckpointError where these differ.
 */
export const teachingsFor = async (
  source: Model,
  target: Model,
  rows: readonly Example[],
  options: TranslationOptions & { readonly tokenizer?: Tokenizer } = {},
): Promise<Teaching[]> => {
  const [own, its] = [
    await tokenizerIn(source.checkpoint),
    options.tokenizer ?? (await tokenizerIn(target.checkpoint)),
  ]
  if (own && its && !sameVocabulary(own, its)) return translatedTeachings(source, own, its, rows, options)
  const [a, b] = [source, target].map(({ checkpoint }) => checkpoint.config.vocab_size)
  if (!(own && its) && a !== b)
    throw new CheckpointError(
      'VocabularyMismatch',
      `${source.checkpoint.folder} has ${String(a)} tokens, ${target.checkpoint.folder} has ${String(b)}, and there are no tokenizers to bring them together`,
      { hint: "Put each model's tokenizer.json into its folder." },
    )
  return teachings(source, rows, options)
}
