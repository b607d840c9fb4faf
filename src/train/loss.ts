/** @file What a training step minimises: the losses of the tasks, and the loss of a model on a batch. */
import {
  joinRows,
  type Model,
  type ModelInputs,
  type ModelOutputs,
  type Parameters,
  sliceRows,
  type Task,
  type Trace,
} from '../models/index.js'
import { concat, crossEntropy, full, range, type Tensor, type Value, where } from '../tensor/index.js'
import { UsageError, WeftError } from '../errors.js'
import { sumOfRows } from './rows.js'

/**
 * One batch: `ids`, `attentionMask`, `labels`, `types`, `decoderIds`: [batch, time]; `embeddings`: [batch, time, width];
 * `pixels`: [batch, channels, height, width]. Losses of one's own may ask for more.
 */
export type Batch<T = Value> = Readonly<Record<string, T>>

/** A loss, and what is recorded beside it. */
export interface Loss {
  /** A scalar: a mean. */
  readonly loss: Tensor
  /** Number of labels that it is the mean over (a scalar), so that batches of different sizes add up. Default 1. */
  readonly weight?: Tensor
  /** More means over the same, to be recorded. */
  readonly metrics?: Readonly<Record<string, Tensor>>
}

/** The loss of `parameters` on `batch`; `trace.random` gives dropout's bytes in training. */
export type LossFunction = (parameters: Parameters<Tensor>, batch: Batch<Tensor>, trace: Trace) => Loss

/** The loss of what a model put out; `trace` as the model was given it. */
export type TaskLoss = (outputs: ModelOutputs, batch: Batch<Tensor>, trace?: Trace) => Loss

/** The label that no loss counts. */
const ignored = -100

const required = (batch: Batch<Tensor>, name: string): Tensor => {
  if (batch[name]) return batch[name]
  throw new WeftError('MissingInput', `the loss needs '${name}' in every batch`, {
    hint: `The batch holds: ${Object.keys(batch).join(', ')}.`,
  })
}

const meanCrossEntropy = (logits: Tensor, labels: Tensor, trace?: Trace): Required<Omit<Loss, 'metrics'>> => {
  const counted = labels.notEqual(ignored)
  const weight = counted.cast(logits.dtype).sum()
  const sum = sumOfRows(
    (logits, labels) => crossEntropy(logits, labels, { reduction: 'none' }),
    { logits, given: [labels], counted },
    trace,
  )
  return { loss: sum.div(weight.maximum(1)), weight }
}

/**
 * Each label is compared with the logits one position before it, the first with those of the virtual tokens before it, where
 * there are any. logits: [batch, time, vocabulary], labels: [batch, time].
 */
export const causalLoss: TaskLoss = ({ logits, first }, batch, trace) => {
  const before = sliceRows(logits, 0, -1)
  const labels = required(batch, 'labels')
  return first
    ? meanCrossEntropy(joinRows([first, before]), labels, trace)
    : meanCrossEntropy(before, labels.slice(1, 1), trace)
}

/** Labels stand at the positions they belong to. logits: [batch, time, vocabulary], labels: [batch, time]. */
export const tokenLoss: TaskLoss = ({ logits }, batch, trace) =>
  meanCrossEntropy(logits, required(batch, 'labels'), trace)

/** Share of right classes beside the loss. logits: [..., classes], labels: [...], -100 where ignored. */
const classesLoss = (logits: Tensor, labels: Tensor): Loss => {
  const { loss, weight } = meanCrossEntropy(logits, labels)
  const right = logits.argMax(-1).equal(labels.cast('int32')).cast(logits.dtype).sum()
  return { loss, weight, metrics: { accuracy: right.div(weight.maximum(1)) } }
}

/** logits: [batch, classes], labels: [batch]. Also records `accuracy`. */
export const classLoss: TaskLoss = ({ logits }, batch) => classesLoss(logits, required(batch, 'labels'))

/** logits: [batch, time, classes], labels: [batch, time]. Also records `accuracy`. */
export const tokenClassLoss: TaskLoss = ({ logits }, batch) => classesLoss(logits, required(batch, 'labels'))

/**
 * The mean of two cross-entropies over the tokens, of where an answer begins and where it ends. logits: [batch, time, 2],
 * labels: [batch, 2] positions; one beyond the tokens is ignored. Also records `accuracy`, of both ends alike.
 */
export const answerLoss: TaskLoss = ({ logits }, batch) => {
  const time = logits.shape[1]
  const labels = required(batch, 'labels')
  const inside = where(labels.less(time), labels, ignored)
  const ends = [0, 1].map((end) => {
    const column = (t: Tensor): Tensor => t.slice(-1, end, end + 1).squeeze(-1)
    return classesLoss(column(logits), column(inside)) as Required<Loss>
  })
  const mean = (of: (end: Required<Loss>) => Tensor): Tensor => of(ends[0]).add(of(ends[1])).div(2)
  return {
    loss: mean(({ loss }) => loss),
    weight: mean(({ weight }) => weight),
    metrics: { accuracy: mean(({ metrics }) => metrics.accuracy) },
  }
}

/**
 * The contrastive loss of images and texts (Radford et al. 2021, arXiv 2103.00020): each image's own text among all texts of
 * the batch, and each text's own image. logits: [batch, batch], images along the rows. Also records `accuracy`, the share of
 * images whose own text is likeliest.
 */
export const contrastiveLoss: TaskLoss = ({ logits }) => {
  const own = range(0, logits.shape[0])
  const texts = classesLoss(logits, own)
  const images = classesLoss(logits.t(), own)
  return { ...texts, loss: texts.loss.add(images.loss).div(2) }
}

/** A body without a head has nothing to learn from. */
const noHead: TaskLoss = () => {
  throw new UsageError(
    'NoHead',
    'this model has no head: its outputs are hidden states, for which there is no loss',
  )
}

const taskLosses: Readonly<Record<Task, TaskLoss>> = {
  causal: causalLoss,
  features: noHead,
  masked: tokenLoss,
  sequence: tokenLoss,
  classify: classLoss,
  tokens: tokenClassLoss,
  answer: answerLoss,
  contrastive: contrastiveLoss,
  image: classLoss,
}

/** The loss that belongs to a task. */
export const lossFor = (task: Task): TaskLoss => taskLosses[task]

/** Labels moved one to the right behind the start token, as sequence-to-sequence models read them. labels: [batch, time]. */
const decoderIds = ({ config }: Model['checkpoint'], labels: Tensor): Tensor => {
  const pad = typeof config.pad_token_id === 'number' ? config.pad_token_id : 0
  const start = typeof config.decoder_start_token_id === 'number' ? config.decoder_start_token_id : pad
  const first = full([labels.shape[0], 1], start, labels.dtype)
  const before = labels.slice(1, 0, -1)
  return concat([first, where(before.equal(ignored), pad, before)], 1)
}

/** Inputs of the model from a batch. A sequence-to-sequence model without `decoderIds` gets its labels moved right. */
export const inputsOf = (model: Model, batch: Batch<Tensor>): ModelInputs => {
  const { ids, embeddings, attentionMask: mask, types, pixels, labels } = batch
  const sequence = model.architecture.task(model.config) === 'sequence'
  const decoder = batch.decoderIds ?? (sequence && labels ? decoderIds(model.checkpoint, labels) : undefined)
  return { ids, embeddings, mask, types, pixels, decoderIds: decoder }
}

/** Outputs of the model for a batch. */
export const forward = (
  model: Model,
  parameters: Parameters<Tensor>,
  batch: Batch<Tensor>,
  trace: Trace = {},
): ModelOutputs =>
  model.architecture.forward(
    model.weights(parameters, { ...trace, inputs: batch }),
    inputsOf(model, batch),
    model.config,
  )

/** Reports of this name (inside any module) are losses that the model or a method adds to the task's. */
const auxiliary = /(^|\.)auxiliaryLoss$/

/**
 * The loss of `model` by its task. In training (where `trace.random` is) whatever it reports as `auxiliaryLoss` is
 * added; `taskLoss` replaces the task's own.
 */
export const modelLoss =
  (model: Model, taskLoss: TaskLoss = lossFor(model.architecture.task(model.config))): LossFunction =>
  (parameters, batch, trace) => {
    const reports = trace.reports ?? new Map<string, Tensor>()
    const own = { ...trace, reports }
    const task = taskLoss(forward(model, parameters, batch, own), batch, own)
    const extra = trace.random ? [...reports].filter(([name]) => auxiliary.test(name)) : []
    return { ...task, loss: extra.reduce((sum, [, value]) => sum.add(value), task.loss) }
  }
