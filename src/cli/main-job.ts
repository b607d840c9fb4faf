/**
 * @file What `weft start` does, as a user of the library would write it: a small Llama is made from generated stories
 * (no weights are shipped), LoRA adapts it to answer questions about them, and the adapter is folded into it.
 */
import { join } from 'node:path'
import { loadAdapter, lora } from '../adapt/index.js'
import { type Checkpoint, type JsonObject, open, writeFileAtomic } from '../checkpoint/index.js'
import { tinyLlama } from '../experiment/tiny.js'
import { createModel, type Model, openModel } from '../models/index.js'
import type { OnProgress } from '../progress.js'
import { storyChoices, storyQuestions, storyTexts } from '../synth/index.js'
import { openTokenizer, saveTokenizer, tokenizerFromJson, trainBytePairs } from '../text/index.js'
import {
  adamW,
  type Data,
  evaluate,
  type Evaluation,
  fit,
  type FitOptions,
  generate,
  type GenerateOptions,
} from '../train/index.js'
import { saveInto } from './output.js'

/** What a model says to a prompt that it was not trained on. */
export interface Sample {
  prompt: string
  before: string
  after: string
}

/** One training: held-out measurements and samples, before and after. */
export interface Stage {
  folder: string
  before: Evaluation
  after: Evaluation
  samples: Sample[]
}

/** A model before and after it was trained. */
interface Trained {
  before: Model
  after: Model
}

/** What `weft start --json` prints. */
export interface MainJob {
  base: Stage
  adapter: Stage
  merged: { folder: string; evaluation: Evaluation }
  /** Files of data for the commands to try next. */
  data: { questions: string; choices: string }
  seconds: number
}

/** What the job is told. */
export interface MainJobOptions {
  seed: number
  /** Take so few steps that nothing is learned, to see that everything works. */
  quick: boolean
  say: (line: string) => void
  progress: OnProgress
  /** Receives the loss of every step of `series`. */
  log: (series: string, step: number, values: { loss: number }) => void
  signal: AbortSignal
}

const end = '<|end|>'

/** config.json of the base: 0.4 million parameters. */
const configOf = (vocabulary: number): JsonObject => ({
  ...tinyLlama({ tokens: vocabulary, width: 128, layers: 2, length: 256 }),
  architectures: ['LlamaForCausalLM'],
  intermediate_size: 384,
  tie_word_embeddings: true,
  initializer_range: 0.04,
  eos_token_id: 0,
  pad_token_id: 0,
})

const rows = { batch: 16, length: 128, multiple: 16 }
const course = { ...rows, schedule: 'warmup-cosine', clip: 1 } as const

/** Logs the loss of every step. */
const logged =
  (series: string, log: MainJobOptions['log']): FitOptions['hook'] =>
  ({ step }, { losses: [loss] }) =>
    log(series, step, { loss })

/** The same events under another name. */
const named =
  (name: string, progress: OnProgress): OnProgress =>
  (event) =>
    progress({ ...event, name })

/** A small Llama that tells stories, and its tokenizer, in `folder`. */
const makeBase = async (
  folder: string,
  { seed, quick, progress, log, signal }: MainJobOptions,
): Promise<Trained> => {
  const stories = storyTexts(8000, seed)
  const texts = [
    ...stories.map(({ text }) => text),
    ...storyQuestions(1000, seed).map(({ prompt }) => prompt),
  ]
  const vocabulary = trainBytePairs(texts, { vocabularySize: 512, specialTokens: [end] })
  const tokenizer = tokenizerFromJson(vocabulary, { eos_token: end, pad_token: end })
  const before = await createModel(configOf(tokenizer.vocabularySize), { seed })
  const { model: after } = await fit(before, stories, {
    ...course,
    seed,
    signal,
    tokenizer,
    steps: quick ? 3 : 300,
    learningRate: 4e-3,
    optimizer: adamW({ weightDecay: 0.1, betas: [0.9, 0.99] }),
    onProgress: named('stories', progress),
    hook: logged('stories', log),
  })
  signal.throwIfAborted()
  await saveInto(folder, async (fresh) => {
    await after.save(fresh)
    await saveTokenizer(fresh, vocabulary, { eos: end, pad: end })
  })
  return { before, after }
}

/** An adapter that answers questions about a story, in `folder`. */
const makeAdapter = async (
  base: Checkpoint,
  folder: string,
  { seed, quick, progress, log, signal }: MainJobOptions,
): Promise<Trained> => {
  const before = await lora(base, { rank: 16, alpha: 64, targets: 'all-linear', seed })
  const { model: after } = await fit(before, storyQuestions(8000, seed), {
    ...course,
    seed,
    signal,
    steps: quick ? 3 : 350,
    learningRate: 3e-3,
    optimizer: adamW({ weightDecay: 0, betas: [0.9, 0.99] }),
    onProgress: named('questions', progress),
    hook: logged('questions', log),
  })
  signal.throwIfAborted()
  await saveInto(folder, (fresh) => after.save(fresh))
  return { before, after }
}

/** Held-out loss (and accuracy), and what both models say to `prompts`. */
const compare = async (
  { before, after }: Trained,
  folder: string,
  data: Data,
  prompts: readonly string[],
  how: GenerateOptions,
): Promise<Stage> => {
  const samples: Sample[] = []
  for (const prompt of prompts) {
    const sampling = { ...how, seed: `${how.seed} ${prompt}` }
    samples.push({
      prompt,
      before: await said(before, prompt, sampling),
      after: await said(after, prompt, sampling),
    })
  }
  const measure = (model: Model): Promise<Evaluation> =>
    evaluate(model, data, { ...rows, tokenizer: how.tokenizer, signal: how.signal })
  return { folder, before: await measure(before), after: await measure(after), samples }
}

/** Makes base, adapter and merged checkpoint in folders of `out`. The same seed gives the same bits. */
export const mainJob = async (out: string, options: MainJobOptions): Promise<MainJob> => {
  const { seed, quick, say, signal } = options
  const unseen = quick ? 8 : 64
  const begun = performance.now()
  const [baseFolder, adapterFolder, mergedFolder] = ['base', 'adapter', 'merged'].map((name) =>
    join(out, name),
  )

  say('1. A small Llama learns to tell stories.')
  const told = await makeBase(baseFolder, options)
  say('2. LoRA teaches it to answer questions about a story.')
  await using checkpoint = await open(baseFolder)
  const answered = await makeAdapter(checkpoint, adapterFolder, options)
  say('3. The adapter is folded into the base, and all is measured on stories that none has seen.')
  await (await loadAdapter(checkpoint, adapterFolder)).fold(mergedFolder, { overwrite: true })
  await using merged = await open(mergedFolder)

  const tokenizer = await openTokenizer(baseFolder)
  const choices = storyChoices(unseen, `unseen ${seed}`)
  const prompts = choices.slice(0, 3).map(({ prompt }) => prompt)
  const free = { tokenizer, signal, temperature: 0.7, maxTokens: 60, seed }
  const stories = storyTexts(unseen, `unseen ${seed}`)
  const data = { questions: join(out, 'questions.jsonl'), choices: join(out, 'choices.jsonl') }
  await writeJsonl(data.questions, storyQuestions(2000, seed))
  await writeJsonl(data.choices, choices)
  return {
    base: await compare(told, baseFolder, stories, ['Mia has', 'Tom finds'], free),
    adapter: await compare(answered, adapterFolder, choices, prompts, { tokenizer, signal, maxTokens: 12 }),
    merged: {
      folder: mergedFolder,
      evaluation: await evaluate(await openModel(merged), choices, { ...rows, signal }),
    },
    data,
    seconds: (performance.now() - begun) / 1000,
  }
}

const said = async (model: Model, prompt: string, options: GenerateOptions): Promise<string> => {
  let text = ''
  for await (const piece of generate(model, prompt, options)) text += piece
  return text
}

const writeJsonl = (file: string, records: readonly object[]): Promise<void> =>
  writeFileAtomic(file, records.map((record) => `${JSON.stringify(record)}\n`).join(''))
