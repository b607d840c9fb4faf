/** @file The problem of the training benchmark: a small GPT, its first weights and batch, and Weft's step on it. */
import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createModel, type Model } from '../src/models/index.js'
import { Stream } from '../src/random/index.js'
import { type Value, valueOf } from '../src/tensor/index.js'
import { adamW, initialState, makeStep, modelLoss } from '../src/train/index.js'

const config = { layers: 4, width: 256, heads: 4, vocabulary: 512, batch: 8, time: 128, epsilon: 1e-5 }
/** AdamW as PyTorch has it by default. */
const optimizer = { rate: 1e-3, beta1: 0.9, beta2: 0.999, decay: 0.01, epsilon: 1e-8 }

export const gpt = (): Promise<Model> =>
  createModel({
    model_type: 'gpt2',
    n_layer: config.layers,
    n_embd: config.width,
    n_head: config.heads,
    vocab_size: config.vocabulary,
    n_positions: config.time,
    layer_norm_epsilon: config.epsilon,
    activation_function: 'gelu',
    embd_pdrop: 0,
    attn_pdrop: 0,
    resid_pdrop: 0,
  })

/** Random tokens, which are also the labels. [batch, time] int32. */
export const randomBatch = (
  batch: number,
  time: number,
  vocabulary: number,
): { ids: Value; labels: Value } => {
  const stream = new Stream('bench/batch')
  const ids = valueOf(
    Array.from({ length: batch * time }, () => stream.int(vocabulary)),
    [batch, time],
    'int32',
  )
  return { ids, labels: ids }
}

export const gptBatch = (): { ids: Value; labels: Value } =>
  randomBatch(config.batch, config.time, config.vocabulary)

/** Writes the problem for the peers, and gives the folder. */
export const writeProblem = async (model: Model): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), 'weft-bench-'))
  const entries = Object.entries(model.parameters)
  const problem = {
    config,
    optimizer,
    ids: [...(gptBatch().ids.data as Int32Array)],
    parameters: entries.map(([name, { shape }]) => ({ name, shape })),
  }
  await writeFile(join(folder, 'problem.json'), JSON.stringify(problem))
  const bytes = entries.map(([, { data }]) => Buffer.from(data.buffer, data.byteOffset, data.byteLength))
  await writeFile(join(folder, 'weights.bin'), Buffer.concat(bytes))
  return folder
}

/** Weft's training step of `model` with AdamW: each call takes one on `batch` and gives the loss before it. */
export const trainer = (model: Model, batch: Readonly<Record<string, Value>>): (() => Promise<number>) => {
  const { beta1, beta2, decay, epsilon, rate } = optimizer
  const update = adamW({ betas: [beta1, beta2], epsilon, weightDecay: decay })
  const objectives = [{ loss: modelLoss(model), optimizer: update }]
  const state = initialState(objectives, model.parameters)
  const step = makeStep(objectives)
  return async () => (await step(state, batch, { learningRate: rate })).losses[0]
}
