/** @file What the memory benchmark runs in processes of its own: `_memory.ts TASK [FOLDER]` prints one line of JSON. */
import { lora } from '../src/adapt/index.js'
import { CheckpointWriter, open, type TensorPlan } from '../src/checkpoint/index.js'
import { architectureFor, createModel, type Model, openModel } from '../src/models/index.js'
import { fillBytes, keyOf } from '../src/random/index.js'
import { sizeOf } from '../src/tensor/index.js'
import { adamW, initialState, makeStep, modelLoss, recomputing } from '../src/train/index.js'
import { randomBatch, trainer } from './_gpt.js'
import { peak } from './_resident.js'

const gpt2 = (layers: number, width: number, vocabulary: number, time: number, heads = 4) => ({
  model_type: 'gpt2',
  ...{ n_layer: layers, n_embd: width, n_head: heads, vocab_size: vocabulary, n_positions: time },
  ...{ embd_pdrop: 0, attn_pdrop: 0, resid_pdrop: 0 },
})

const count = ({ parameters }: Model): number =>
  Object.values(parameters).reduce((n, { data }) => n + data.length, 0)

/** Loads the engine, so that its own memory is in the baseline. */
const warmUp = async (): Promise<void> => {
  await trainer(await createModel(gpt2(1, 8, 8, 8)), randomBatch(1, 8, 8))()
}

/** Writes a model of 55 million parameters. */
const write = async (folder: string): Promise<object> => {
  const model = await createModel(gpt2(6, 768, 16_384, 32, 12))
  await model.save(folder)
  return { parameters: count(model) }
}

/** Opens that model and trains all of it, on a batch so small that its activations are small too. */
const train = async (folder: string): Promise<object> => {
  await warmUp()
  const baseline = peak()
  const model = await openModel(await open(folder), { trainable: true })
  const objectives = [{ loss: modelLoss(model), optimizer: adamW() }]
  const state = initialState(objectives, model.parameters)
  const parameters = count(model)
  const step = makeStep(objectives)
  for (let i = 0; i < 5; i++) await step(state, randomBatch(1, 16, 16_384), { learningRate: 1e-4 })
  return { baseline, peak: peak(), parameters }
}

/** A thousand steps; the greatest resident memory after one, over steps 50 to 500 and over the rest. */
const steady = async (): Promise<object> => {
  const model = await createModel(gpt2(2, 128, 512, 32))
  const step = trainer(model, randomBatch(4, 32, 512))
  let [early, late] = [0, 0]
  for (let i = 1; i <= 1000; i++) {
    await step()
    const now = process.memoryUsage.rss()
    if (i > 500) late = Math.max(late, now)
    else if (i >= 50) early = Math.max(early, now)
  }
  return { early, late }
}

/** Three steps of a model of twelve blocks, whose activations are most of the memory. */
const activations = async (change: (model: Model) => Model): Promise<object> => {
  await warmUp()
  const model = change(await createModel(gpt2(12, 256, 512, 256)))
  const objectives = [{ loss: modelLoss(model), optimizer: adamW() }]
  const state = initialState(objectives, model.parameters)
  const step = makeStep(objectives)
  const baseline = peak()
  let loss = 0
  for (let i = 0; i < 3; i++)
    loss = (await step(state, randomBatch(16, 256, 512), { learningRate: 1e-4 })).losses[0]
  return { baseline, peak: peak(), loss }
}

const llama = (layers: number, width: number, vocabulary: number) => ({
  ...{ model_type: 'llama', num_hidden_layers: layers, hidden_size: width, intermediate_size: 4 * width },
  ...{ num_attention_heads: 4, vocab_size: vocabulary, tie_word_embeddings: true },
})

async function* filler(bytes: number): AsyncGenerator<Uint8Array> {
  const block = new Uint8Array(Math.min(bytes, 8 << 20))
  fillBytes(block, keyOf('bench/filler'))
  // Exponents of small numbers, so that sums stay finite.
  for (let i = 3; i < block.length; i += 4) block[i] = 0x3c
  for (let at = 0; at < bytes; at += block.length) yield block.subarray(0, Math.min(block.length, bytes - at))
}

/** Writes a Llama to `folder`/base, and to `folder`/adapter a LoRA adapter on its projections and its embedding. */
const writeBase = async (folder: string, config: ReturnType<typeof llama>): Promise<object> => {
  const architecture = architectureFor(config)
  const plans = architecture
    .table(architecture.readConfig(config))
    .filter(({ tied }) => tied === undefined)
    .map(({ name, shape }): TensorPlan => ({ name, dtype: 'F32', shape }))
  const base = `${folder}/base`
  await using writer = await CheckpointWriter.create(base, plans, {})
  for (const { name, shape } of plans) await writer.write(name, () => filler(4 * sizeOf(shape)))
  await writer.finish({ 'config.json': config })
  const adapted = await lora(await open(base), { targets: ['q_proj', 'v_proj', 'embed_tokens'] })
  await adapted.save(`${folder}/adapter`)
  return { bytes: plans.reduce((n, { shape }) => n + 4 * sizeOf(shape), 0) }
}

const tasks: Readonly<Record<string, (folder: string) => Promise<object>>> = {
  write,
  // 2 GB, of which the embedding is 600 MB.
  writeLarge: (folder) => writeBase(folder, llama(21, 1024, 146_500)),
  writeSmall: (folder) => writeBase(folder, llama(1, 16, 64)),
  train,
  steady,
  kept: () => activations((model) => model),
  recomputed: () => activations(recomputing),
}

const [task, folder] = process.argv.slice(2)
console.log(JSON.stringify(await tasks[task](folder)))
