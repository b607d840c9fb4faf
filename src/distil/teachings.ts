/**
 * @file Fusing distributions: what several models say after each token of a text, kept as each position's likeliest tokens,
 * and the cross-entropy of a student to a weighted mean of them (FuseLLM and what builds on it).
 */
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Checkpoint } from '../checkpoint/index.js'
import { CheckpointError, UsageError } from '../errors.js'
import type { Model, Parameters } from '../models/index.js'
import type { OnProgress } from '../progress.js'
import { Stream } from '../random/index.js'
import { full, logSoftmax, oneHot, softmax, type Tensor, type Value, valueOf } from '../tensor/index.js'
import { type Example, ignored, openTokenizer, type Tokenizer } from '../text/index.js'
import { byShape } from '../train/by-shape.js'
import { batchesOf, rowLength } from '../train/data.js'
import {
  type Batch,
  causalLoss,
  type Data,
  type DataOptions,
  forward,
  type LossFunction,
} from '../train/index.js'
import { onlyPartners, sameVocabulary, vocabularyMap } from './align.js'

/** What one model says about a row of `time` tokens. Entry t is about token t + 1: [time - 1] and [time - 1, top]. */
export interface Teaching {
  /** The likeliest tokens; a token may stand twice, and then counts with both numbers. */
  readonly ids: Int32Array
  /** Their probabilities, which sum to 1 at each position. */
  readonly probabilities: Float32Array
  /** The probability of the token that came. */
  readonly gold: Float32Array
  /** Mean of -ln gold over the tokens that count (where it has something to say). */
  readonly loss: number
}

/** A row to learn, with what each source says about it. */
export interface TaughtExample extends Example {
  readonly sources: readonly Teaching[]
}

export interface TeachingOptions {
  /** How many tokens are kept at each position. Default 10, or the vocabulary where that is smaller. */
  readonly top?: number
  /** Rows in a batch. Default 8. */
  readonly batch?: number
  readonly onProgress?: OnProgress
  readonly signal?: AbortSignal
}

/** The tokens of every row of `data` without its padding. Throws UsageError for batches that may never end. */
export const rowsOf = async (model: Model, data: Data, options: DataOptions = {}): Promise<Example[]> => {
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
const rounded = (longest: number, most: number): number => Math.min(most, Math.ceil(longest / 64) * 64)

/** At least 2: a shorter row has nothing to predict. */
const longestOf = (rows: readonly Example[]): number => Math.max(2, ...rows.map(({ ids }) => ids.length))

interface Reading<T> {
  readonly parameters: Readonly<Record<string, T>>
  readonly batch: Batch<T>
}

/** What `model` says about rows in its own tokens. Throws CheckpointError where that is no number. */
export const teachings = async (
  model: Model,
  rows: readonly Example[],
  { top = 10, batch: size = 8, onProgress, signal }: TeachingOptions = {},
): Promise<Teaching[]> => {
  const program = byShape(({ parameters, batch }: Reading<Tensor>) => {
    const logs = logSoftmax(forward(model, parameters, batch).logits.slice(1, 0, -1))
    const { values, indices } = logs.topK(Math.min(top, logs.shape[2]), { axis: 2 })
    const next = batch.ids.slice(1, 1).unsqueeze(-1)
    return { values, indices: indices.cast('int32'), gold: logs.gatherElements(next, 2).squeeze(2) }
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
  return { ids: Int32Array.from(cut(indices, top)), probabilities, gold: own, loss: lossOf(own, labels) }
}

const normalise = (row: Float32Array): void => {
  const total = row.reduce((sum, p) => sum + p, 0)
  for (let i = 0; i < row.length; i++) row[i] /= total
}

/** In place of the infinite loss of a source that says nothing about a row. */
const noLoss = 1e4
/** The least probability that a logarithm is taken of. */
const least = 1e-6

/** Mean of -ln gold where labels count and `has`; infinite where nothing does. */
const lossOf = (
  gold: Float32Array,
  labels: readonly number[],
  has: (t: number) => boolean = () => true,
): number => {
  let [sum, count] = [0, 0]
  gold.forEach((p, t) => {
    if (labels[t + 1] === ignored || !has(t)) return
    sum -= Math.log(p > least ? p : p >= 0 ? least : NaN)
    count++
  })
  return count ? sum / count : Infinity
}

/**
 * What a model with another tokenizer says about rows of `target` tokens. A position takes the source's distribution
 * where just one token of each side lies on the other; elsewhere all its probability is on the token that came. Tokens are
 * renamed by `vocabularyMap`; those that become one add up.
 */
export const translatedTeachings = async (
  model: Model,
  source: Tokenizer,
  target: Tokenizer,
  rows: readonly Example[],
  options: TeachingOptions & { readonly exact?: boolean } = {},
): Promise<Teaching[]> => {
  const own = rows.map(({ ids }): Example => {
    const tokens = source.encode(target.decode(ids)).slice(0, rowLength(model))
    return { ids: tokens, labels: tokens }
  })
  const said = await teachings(model, own, options)
  const rename = vocabularyMap(source, target, options)
  const words = (tokenizer: Tokenizer, ids: readonly number[]): string[] =>
    ids.map((id) => tokenizer.token(id) ?? '')
  return rows.map((row, r) =>
    translated(said[r], row, onlyPartners(words(source, own[r].ids), words(target, row.ids)), rename),
  )
}

const translated = (
  said: Teaching,
  { ids: row, labels }: Example,
  partners: readonly (number | undefined)[],
  rename: (id: number) => number | undefined,
): Teaching => {
  const top = said.gold.length ? said.ids.length / said.gold.length : 1
  const count = row.length - 1
  const ids = new Int32Array(count * top)
  const probabilities = new Float32Array(count * top)
  const gold = new Float32Array(count)
  const has = new Uint8Array(count)
  for (let t = 0; t < count; t++) {
    const from = (partners[t + 1] ?? 0) - 1
    const mine = probabilities.subarray(t * top, (t + 1) * top)
    for (let i = 0; from >= 0 && i < top; i++) {
      const id = rename(said.ids[from * top + i])
      if (id === undefined) continue
      ids[t * top + i] = id
      mine[i] = said.probabilities[from * top + i]
      if (id === row[t + 1]) gold[t] += mine[i]
    }
    has[t] = Number(mine.some((p) => p > 0))
    if (has[t]) normalise(mine)
    else [ids[t * top], mine[0], gold[t]] = [row[t + 1], 1, 1]
  }
  return { ids, probabilities, gold, loss: lossOf(gold, labels, (t) => has[t] === 1) }
}

/** The tokenizer in a model's folder; undefined where it has none. */
export const tokenizerIn = async ({ folder }: Pick<Checkpoint, 'folder'>): Promise<Tokenizer | undefined> => {
  const file = await stat(join(folder, 'tokenizer.json')).catch(() => undefined)
  return file?.isFile() ? openTokenizer(folder) : undefined
}

/**
 * What `source` says about rows in the tokens of `target`. Models without tokenizers must have vocabularies of one size.
 * Throws CheckpointError where these differ.
 */
export const teachingsFor = async (
  source: Model,
  target: Model,
  rows: readonly Example[],
  options: TeachingOptions & { readonly tokenizer?: Tokenizer; readonly exact?: boolean } = {},
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

/** A batch of taught rows: names as `fusedCrossEntropy` reads them. */
export const taughtBatch = (rows: readonly TaughtExample[], time: number): Batch => {
  const [count, sources, steps] = [rows.length, rows[0].sources.length, time - 1]
  const top = Math.max(...rows[0].sources.map(({ ids, gold }) => ids.length / gold.length))
  const ids = new Int32Array(count * steps * sources * top)
  const probabilities = new Float32Array(ids.length)
  const gold = new Float32Array(count * steps * sources)
  const losses = new Float32Array(count * sources)
  rows.forEach((row, r) =>
    row.sources.forEach((source, k) => {
      losses[r * sources + k] = Math.min(source.loss, noLoss)
      const own = source.ids.length / source.gold.length
      source.gold.forEach((p, t) => {
        const place = (r * steps + t) * sources + k
        gold[place] = p
        ids.set(source.ids.subarray(t * own, (t + 1) * own), place * top)
        probabilities.set(source.probabilities.subarray(t * own, (t + 1) * own), place * top)
      })
    }),
  )
  return {
    ...batchOf(rows, time),
    teacherIds: valueOf(ids, [count, steps, sources * top], 'int32'),
    teacherProbabilities: valueOf(probabilities, [count, steps, sources, top], 'float32'),
    teacherGold: valueOf(gold, [count, steps, sources], 'float32'),
    teacherLosses: valueOf(losses, [count, sources], 'float32'),
  }
}

/** Taught rows as batches without end, each epoch in its own order: a function of the seed and the place alone. */
export const taughtBatches = (
  rows: readonly TaughtExample[],
  { batch, seed = 0 }: { batch: number; seed?: number | string },
) =>
  function* (startAt: number): Generator<Batch> {
    const most = longestOf(rows)
    const orders = new Map<number, Uint32Array>()
    const at = (i: number): TaughtExample => {
      const epoch = Math.floor(i / rows.length)
      const order = orders.get(epoch) ?? new Stream(seed).fork('fusion').fork(epoch).permutation(rows.length)
      orders.clear()
      orders.set(epoch, order)
      return rows[order[i % rows.length]]
    }
    for (let i = startAt; ; i++) {
      const part = Array.from({ length: batch }, (_, k) => at(i * batch + k))
      yield taughtBatch(part, rounded(longestOf(part), most))
    }
  }

/** Which positions count: [batch, time - 1], 1 or 0. */
export const countedOf = ({ labels }: Batch<Tensor>): Tensor =>
  labels.slice(1, 1).notEqual(ignored).cast('float32')

/**
 * The cross-entropy of each row's logits to the mean of its sources' distributions, weighted by `weights`
 * ([batch, sources], rows sum to 1): the mean over the tokens that count. logits: [batch, time, vocabulary].
 */
export const fusedCrossEntropy = (logits: Tensor, batch: Batch<Tensor>, weights: Tensor): Tensor => {
  const { teacherIds: ids, teacherProbabilities: p } = batch
  const logs = logSoftmax(logits.slice(1, 0, -1))
    .gatherElements(ids, 2)
    .reshape(p.shape)
  const counted = countedOf(batch)
  const byRow = p.mul(logs).sum(3).mul(counted.unsqueeze(2)).sum(1)
  return byRow.mul(weights).sum().neg().div(counted.sum().maximum(1))
}

/** How much each source counts in each row of a batch: [batch, sources], rows sum to 1. */
export type SourceWeights = (batch: Batch<Tensor>, parameters: Parameters<Tensor>) => Tensor

/** Of each row 1 for the source with the lowest loss (the first of equals), else 0. */
export const winners: SourceWeights = ({ teacherLosses: losses }) => oneHot(losses.argMin(1), losses.shape[1])

/** Proportional to exp(-loss). */
export const byLikelihood: SourceWeights = ({ teacherLosses: losses }) => softmax(losses.neg())

/** All alike. */
export const uniformly: SourceWeights = ({ teacherLosses: { shape } }) => full(shape, 1 / shape[1])

/**
 * A student's loss: λ CE(labels) + (1 - λ) CE(fused), over the labels that count. `labels` is λ; at 1 it is the loss of
 * ordinary training.
 */
export const fusionLoss =
  (model: Model, labels: number, weights: SourceWeights): LossFunction =>
  (parameters, batch, trace) => {
    const outputs = forward(model, parameters, batch, trace)
    const { loss: own, weight } = causalLoss(outputs, batch)
    if (labels === 1) return { loss: own, weight }
    const fused = fusedCrossEntropy(outputs.logits, batch, weights(batch, parameters))
    return { loss: own.mul(labels).add(fused.mul(1 - labels)), weight }
  }
