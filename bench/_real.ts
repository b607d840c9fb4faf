/**
 * @file One way of training a model of real size, in a process of its own. `_real.ts write SHAPE FOLDER` writes a model of random
 * weights; `_real.ts MODE FOLDER BATCH TIME` takes as many training steps of it as each line says; `_real.ts state MODE FOLDER
 * BATCH TIME` says what a dry run says of that.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { ist, lora } from '../src/adapt/index.js'
import { open } from '../src/checkpoint/index.js'
import { forecast } from '../src/cli/needs.js'
import { createModel, type Model, openModel } from '../src/models/index.js'
import { sizeOf } from '../src/tensor/index.js'
import { saveTokenizer, trainBytePairs, WordCounts } from '../src/text/index.js'
import { type FitOptions, initialState, makeStep, movedParameters, trainingOf } from '../src/train/index.js'
import { objectiveOf } from '../src/train/fit.js'
import { randomBatch } from './_gpt.js'
import { peak } from './_resident.js'

type Config = Readonly<Record<string, string | number | boolean>>

/** Configurations of models that people have. */
const shapes: Readonly<Record<string, Config>> = {
  llama135m: {
    model_type: 'llama',
    num_hidden_layers: 30,
    hidden_size: 576,
    intermediate_size: 1536,
    num_attention_heads: 9,
    num_key_value_heads: 3,
    vocab_size: 49_152,
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: true,
  },
  qwen500m: {
    model_type: 'qwen2',
    num_hidden_layers: 24,
    hidden_size: 896,
    intermediate_size: 4864,
    num_attention_heads: 14,
    num_key_value_heads: 2,
    vocab_size: 151_936,
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-6,
    tie_word_embeddings: true,
  },
}

const learningRate = 1e-3
/** Tokens of the largest batch. */
const longest = 1024

/** Writes the model with a tokenizer, and beside it what PEFT needs to train on the same tokens. */
const write = async (config: Config, folder: string): Promise<void> => {
  await (await createModel(config)).save(folder)
  const end = '<|end|>'
  const words = new WordCounts()
  words.add('What a model asks for by its name, a method answers.')
  const json = trainBytePairs(words, { vocabularySize: 300, specialTokens: [end] })
  await saveTokenizer(folder, json, { bos: end, eos: end, pad: end })
  const { ids } = randomBatch(1, longest, Number(config.vocab_size))
  const problem = { config, ids: [...(ids.data as Int32Array)], rank: 8, alpha: 16, learningRate }
  await writeFile(join(folder, 'problem.json'), JSON.stringify(problem))
}

const adapters = { rank: 8, alpha: 16, targets: 'all-linear' } as const

/** Way of training: the model, and the options of its run. */
interface Mode {
  readonly open: (folder: string) => Promise<Model>
  readonly options?: FitOptions
}

const openLora = async (folder: string): Promise<Model> => lora(await open(folder), adapters)

const modes: Readonly<Record<string, Mode>> = {
  full: { open: async (folder) => openModel(await open(folder), { trainable: true }) },
  lora: { open: openLora },
  recomputed: { open: openLora, options: { recompute: true } },
  ist: { open: async (folder) => ist(await open(folder), adapters) },
}

/** The mode's model, and the batch that it trains on. */
const openMode = async (mode: string, folder: string, batch: number, time: number) => {
  const { config } = JSON.parse(await readFile(join(folder, 'problem.json'), 'utf8')) as { config: Config }
  const { ids } = randomBatch(batch, time, Number(config.vocab_size))
  return { model: await modes[mode].open(folder), ids, options: { ...modes[mode].options, learningRate } }
}

/** Says the peak of memory and the seconds of a step, as a dry run does. */
const state = async (mode: string, folder: string, batch: number, time: number): Promise<void> => {
  const { model, ids, options } = await openMode(mode, folder, batch, time)
  const { memory, stepSeconds } = await forecast(
    model,
    () => [{ ids, labels: ids }],
    { ...options, steps: 1 },
    Infinity,
  )
  console.log(JSON.stringify({ memory, stepSeconds }))
}

/** Takes as many steps as each line says, as `fit` does. */
const serve = async (mode: string, folder: string, rows: number, time: number): Promise<void> => {
  const { model, ids, options } = await openMode(mode, folder, rows, time)
  const training = trainingOf(model)
  const objectives = [objectiveOf(model, options)]
  const state = initialState(objectives, model.parameters)
  const take = makeStep(objectives)
  const course = { steps: 1000, seed: 0, learningRate }
  const trained = Object.values(movedParameters(model)).reduce((n, { shape }) => n + sizeOf(shape), 0)
  console.log(JSON.stringify({ label: mode, trained }))
  for await (const line of createInterface({ input: process.stdin })) {
    const times: number[] = []
    let loss: number | undefined
    for (let i = 0; i < Number(line); i++) {
      const start = performance.now()
      const batch = { ids, labels: ids, ...training.inputs?.(state, course) }
      const result = await take(state, batch, course)
      await training.between?.(state, { ...course, batches: [batch], result, step: take })
      times.push(performance.now() - start)
      loss ??= result.losses[0]
    }
    console.log(JSON.stringify({ times, loss, peak: peak() }))
  }
  process.exit(0)
}

const [command, ...args] = process.argv.slice(2)
if (command === 'write') await write(shapes[args[0]], args[1])
else if (command === 'state') await state(args[0], args[1], Number(args[2]), Number(args[3]))
else await serve(command, args[0], Number(args[1]), Number(args[2]))
