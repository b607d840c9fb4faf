/** @file Evaluation: loss and perplexity on data, accuracy on classes and on multiple choice. */
import { type Model, type Parameters, sliceRows } from '../models/index.js'
import type { OnProgress } from '../progress.js'
import { type ChoiceRecord, choiceExamples, type Dataset, type Example, fromRecords } from '../text/index.js'
import { type CompileOptions, crossEntropy, type Tensor, type Value, valueOf } from '../tensor/index.js'
import { byShape } from './by-shape.js'
import {
  batchesOf,
  type Data,
  type DataOptions,
  isBatchSource,
  isDataset,
  rowLength,
  tokenizerOf,
} from './data.js'
import { type Batch, forward, lossFor, modelLoss } from './loss.js'
import type { Measures } from './measures.js'
import { checkBatch } from './method.js'
import { eachRow } from './rows.js'
import { maxOf, minOf } from '../tensor/numbers.js'

/** Data and limits of an evaluation. */
export interface EvaluateOptions extends DataOptions, CompileOptions {
  /** Most batches that are evaluated. Default: all. */
  readonly batches?: number
  /** Listener to the batches done. */
  readonly onProgress?: OnProgress
  /** Signal that ends the evaluation, by throwing its reason. */
  readonly signal?: AbortSignal
}

/** Measures of a model on data. */
export interface Evaluation {
  /** Mean over the labels that count. */
  readonly loss: number
  /** exp(loss), where the loss is a mean over tokens. */
  readonly perplexity?: number
  /** How many labels counted. */
  readonly labels: number
  /** Tokens read in a second, padding included. */
  readonly tokensPerSecond: number
  /** Share of right answers: of classes, or of multiple choice by the likelihood of the whole choice. */
  readonly accuracy?: number
  /** Share of right answers in multiple choice by the likelihood a token. */
  readonly accuracyPerToken?: number
  /** Mean over classes of F1. */
  readonly f1?: number
  /** Share of right tokens. */
  readonly perTokenAccuracy?: number
  /** Share of answers that are their targets whole. */
  readonly exactMatch?: number
  /** F1 of named entities, over all of them. */
  readonly entityF1?: number
  /** Mean over questions of F1 of the words of their answers. */
  readonly wordF1?: number
  /** Shares of images whose own text is the nearest, and of texts whose own image is; among the nearest five. */
  readonly imageRecall?: number
  readonly textRecall?: number
  readonly imageRecall5?: number
  readonly textRecall5?: number
}

/** Evaluates the model with other values of its parameters: programs are compiled once. */
export type Evaluator = (parameters?: Parameters<Value>) => Promise<Evaluation>

interface EvaluationInputs<T> {
  readonly parameters: Parameters<T>
  readonly batch: Batch<T>
}

/** The model's loss with what its data measure of the outputs. */
const measuredLoss = (model: Model, measures: Measures | undefined) => {
  const taskLoss = lossFor(model.architecture.task(model.config))
  return ({ parameters, batch }: EvaluationInputs<Tensor>) => {
    let tensors: Readonly<Record<string, Tensor>> = {}
    const measured = modelLoss(model, (outputs, inputs) => {
      if (measures) tensors = measures.tensors(outputs, inputs)
      return taskLoss(outputs, inputs)
    })
    const { loss: mean, weight = mean.lift(1), metrics = {} } = measured(parameters, batch, {})
    return { mean, weight, metrics: { ...metrics }, tensors: { ...tensors } }
  }
}

const numbersOf = async (
  tensors: Readonly<Record<string, Value>>,
): Promise<Record<string, ArrayLike<number | bigint>>> => {
  const read: Record<string, ArrayLike<number | bigint>> = {}
  for (const [name, tensor] of Object.entries(tensors)) read[name] = await tensor.read()
  return read
}

/** Weighted sums over batches. */
class Sums {
  readonly #sums = new Map<string, number>()
  labels = 0
  tokens = 0
  batches = 0

  async add(means: Readonly<Record<string, Value>>, weight: Value): Promise<void> {
    const labels = await numberOf(weight)
    for (const [name, v] of Object.entries(means))
      this.#sums.set(name, (this.#sums.get(name) ?? 0) + labels * (await numberOf(v)))
    this.labels += labels
    this.batches++
  }

  mean(name: string): number | undefined {
    const sum = this.#sums.get(name)
    return sum === undefined ? undefined : sum / (this.labels || 1)
  }
}

/** An evaluator of `model` on `data`. Multiple-choice records are scored on their right choice, and by accuracy. */
export const evaluator = (model: Model, data: Data, options: EvaluateOptions = {}): Evaluator => {
  const measures = isBatchSource(data) ? data.measures : undefined
  const program = byShape(measuredLoss(model, measures), options)
  const choices = choiceScorer(model, options)
  const perToken = measures?.perToken ?? isPerToken(model)
  return async (parameters = model.parameters) => {
    const start = performance.now()
    const sums = new Sums()
    const tally = measures?.start()
    for await (const batch of await batchesOf(model, data, options)) {
      if (options.signal?.aborted || sums.batches >= (options.batches ?? Infinity)) break
      checkBatch(model, batch)
      const { mean, weight, metrics, tensors } = await program({ parameters, batch })
      await sums.add({ loss: mean, ...metrics }, weight)
      tally?.add(await numbersOf(tensors))
      sums.tokens += (batch.ids ?? batch.labels)?.data.length ?? 0
      options.onProgress?.({ status: 'progress', name: 'evaluate', done: sums.batches, unit: 'batches' })
    }
    const seconds = (performance.now() - start) / 1000
    const loss = sums.mean('loss')!
    const accuracy = sums.mean('accuracy')
    return {
      loss,
      ...(perToken && { perplexity: Math.exp(loss) }),
      labels: sums.labels,
      tokensPerSecond: sums.tokens / seconds,
      ...(accuracy !== undefined && { accuracy }),
      ...(await tally?.result()),
      ...(await choices(parameters, data)),
    }
  }
}

/** Whether the task's loss is a mean over tokens. */
const isPerToken = ({ architecture, config }: Model): boolean =>
  ['causal', 'masked', 'sequence'].includes(architecture.task(config))

/** Loss, perplexity, speed and (for classes and multiple choice) accuracy of `model` on `data`. */
export const evaluate = (model: Model, data: Data, options: EvaluateOptions = {}): Promise<Evaluation> =>
  evaluator(model, data, options)()

const numberOf = async (v: Value): Promise<number> => Number((await v.read())[0])

/** Rows of one length, padded at the right with labels that do not count. */
const paddedBatch = (rows: readonly Example[], time: number, pad: number): Batch => {
  const shape = [rows.length, time]
  const fill = (of: (row: Example) => readonly number[], rest: number): Value =>
    valueOf(
      rows.flatMap((row) => [...of(row), ...new Array<number>(time - row.ids.length).fill(rest)]),
      shape,
      'int32',
    )
  return {
    ids: fill((row) => row.ids, pad),
    attentionMask: fill((row) => row.ids.map(() => 1), 0),
    labels: fill((row) => row.labels, -100),
    ...(rows[0].task !== undefined && {
      taskIds: valueOf(
        rows.map(({ task }) => task!),
        [rows.length],
        'int32',
      ),
    }),
  }
}

const argMin = (numbers: readonly number[]): number => numbers.indexOf(minOf(numbers))

/** Accuracy on the multiple-choice records of `data`: which choice is the most likely after the prompt. */
const choiceScorer = (model: Model, options: EvaluateOptions) => {
  const program = byShape(({ parameters, batch }: EvaluationInputs<Tensor>) => {
    const logits = sliceRows(forward(model, parameters, batch).logits, 0, -1)
    const labels = batch.labels.slice(1, 1)
    const [costs] = eachRow((logits, labels) => [crossEntropy(logits, labels, { reduction: 'none' })], {
      logits,
      given: [labels],
      counted: labels.notEqual(-100),
    })
    return costs.sum(1)
  }, options)
  return async (
    parameters: Parameters<Value>,
    data: Data,
  ): Promise<Pick<Evaluation, 'accuracy' | 'accuracyPerToken'>> => {
    const dataset = Array.isArray(data) ? fromRecords(data) : (data as Data)
    if (!isDataset(dataset)) return {}
    const tally = { records: 0, whole: 0, perToken: 0 }
    for await (const record of choiceRecords(dataset)) {
      const { costs, lengths } = await costsOf(model, record, options, (batch) =>
        program({ parameters, batch }),
      )
      tally.records++
      tally.whole += Number(argMin(costs) === record.answer)
      tally.perToken += Number(argMin(costs.map((c, i) => c / lengths[i])) === record.answer)
    }
    if (tally.records === 0) return {}
    return { accuracy: tally.whole / tally.records, accuracyPerToken: tally.perToken / tally.records }
  }
}

async function* choiceRecords(dataset: Dataset): AsyncGenerator<ChoiceRecord> {
  for await (const record of dataset) if ('choices' in record) yield record
}

/** The negative log-likelihood of each choice and its number of tokens. */
const costsOf = async (
  model: Model,
  record: ChoiceRecord,
  { length, multiple = 64, tokenizer }: EvaluateOptions,
  run: (batch: Batch) => Promise<Value>,
): Promise<{ costs: number[]; lengths: number[] }> => {
  const tokens = await tokenizerOf(model, tokenizer)
  const limit = rowLength(model, length)
  // What is too long loses its beginning: the choice stands at the end.
  const rows = choiceExamples(record, tokens).map(({ ids, labels, ...rest }) => ({
    ...rest,
    ids: ids.slice(-limit),
    labels: labels.slice(-limit),
  }))
  const longest = maxOf(rows.map(({ ids }) => ids.length))
  const time = Math.min(limit, Math.ceil(longest / multiple) * multiple)
  const costs = await run(paddedBatch(rows, time, tokens.pad ?? tokens.eos ?? 0))
  return {
    costs: Array.from(await costs.read(), Number),
    lengths: rows.map(({ labels }) => labels.slice(1).filter((label) => label !== -100).length),
  }
}
