/**
 * @file One way of adapting, in a process of its own: `_adapt.ts FOLDER METHOD` opens the model in FOLDER and takes as many
 * training steps as each line says; FOLDER alone writes the model there first, and trains all of it.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { methods, type AdapterMethod } from '../src/adapt/index.js'
import { open } from '../src/checkpoint/index.js'
import { createModel, type Model, openModel } from '../src/models/index.js'
import {
  adamW,
  initialState,
  isMoved,
  makeStep,
  modelLoss,
  movedParameters,
  trainingOf,
} from '../src/train/index.js'
import { randomBatch } from './_gpt.js'
import { peak } from './_resident.js'

const vocabulary = 1024

const config = {
  model_type: 'llama',
  num_hidden_layers: 10,
  hidden_size: 384,
  intermediate_size: 1024,
  num_attention_heads: 6,
  vocab_size: vocabulary,
  max_position_embeddings: 128,
  tie_word_embeddings: false,
}
const [rows, time] = [4, 128]
const learningRate = 1e-3

/** Where a method's own defaults are not what the benchmark asks for. */
const settings: Readonly<Record<string, object>> = {
  lora: { rank: 8, targets: 'all-linear' },
  ist: { rank: 8, targets: 'all-linear' },
  s2ft: { ratio: 0.03, targets: ['down_proj'] },
  lift: { density: 0.05, targets: 'all-linear' },
}

const modelFor = async (folder: string, id: string): Promise<Model> => {
  const checkpoint = await open(folder)
  if (id === 'full') return openModel(checkpoint, { trainable: true })
  const method = methods.find(({ paper }) => paper.id === id) as AdapterMethod<object>
  // What a method may choose by.
  const calibration = [randomBatch(rows, time, vocabulary)]
  const given = 'calibration' in method.options.shape ? { calibration } : {}
  return method(checkpoint, { ...given, ...settings[id] })
}

/** Training as `fit` does it, a step a call; each gives the loss before it. */
const trainer = (
  model: Model,
): { readonly step: () => Promise<number>; readonly state: ReturnType<typeof initialState> } => {
  const { ids, labels } = randomBatch(rows, time, vocabulary)
  const training = trainingOf(model)
  const usual = { loss: modelLoss(model), optimizer: adamW(), moves: isMoved(model) }
  const objectives = [training.objective?.(usual) ?? usual]
  const state = initialState(objectives, model.parameters)
  const take = makeStep(objectives)
  const course = { steps: 1000, seed: 0, learningRate }
  const step = async (): Promise<number> => {
    const batch = { ids, labels, ...training.inputs?.(state, course) }
    const result = await take(state, batch, course)
    await training.between?.(state, { ...course, batches: [{ ids, labels }], result, step: take })
    return result.losses[0]
  }
  return { step, state }
}

const serve = async (folder: string, id: string): Promise<void> => {
  // The engine's own memory, and that of a program, is in the baseline.
  const { step: warm } = trainer(await createModel({ ...config, num_hidden_layers: 1, hidden_size: 24 }))
  await warm()
  const baseline = peak()
  const model = await modelFor(folder, id)
  const { step, state } = trainer(model)
  const size = (values: Readonly<Record<string, { data: { length: number } }>>): number =>
    Object.values(values).reduce((n, { data }) => n + data.length, 0)
  const trained = size(movedParameters(model))
  const slots = state.optimizers.flatMap((o) => Object.values(o))
  const optimizer = slots.reduce((n, own) => n + size(own), 0)
  console.log(JSON.stringify({ label: id, trained, optimizer }))
  for await (const line of createInterface({ input: process.stdin })) {
    const times: number[] = []
    let loss: number | undefined
    for (let i = 0; i < Number(line); i++) {
      const start = performance.now()
      const before = await step()
      times.push(performance.now() - start)
      loss ??= before
    }
    console.log(JSON.stringify({ times, loss, peak: peak() - baseline }))
  }
  process.exit(0)
}

/** Writes the model, and beside it what PEFT needs to do the same. */
const write = async (folder: string): Promise<void> => {
  await (await createModel(config)).save(folder)
  const { ids } = randomBatch(rows, time, vocabulary)
  const problem = { batch: rows, time, ids: [...(ids.data as Int32Array)], rank: 8, alpha: 16, learningRate }
  await writeFile(join(folder, 'problem.json'), JSON.stringify(problem))
}

const [folder, id] = process.argv.slice(2)
if (id === undefined) await write(folder)
await serve(folder, id ?? 'full')
