/**
 * @file What `weft start` does, as a user of the library would write it: a small Llama is made from generated stories
 * (no weights are shipped), LoRA adapts it to answer questions about them, and the adapter is folded into it.
 */
import { join } from 'node:path'
import { loadAdapter, lora } from '../adapt/index.js'
import { open, writeFileAtomic } from '../checkpoint/index.js'
import { createModel, type Model, openModel } from '../models/index.js'
import type { OnProgress } from '../progress.js'
import { storyChoices, storyQuestions, storyTexts } from '../synth/index.js'
import { saveTokenizer, tokenizerFromJson, trainBytePairs } from '../text/index.js'
import {
  adamW,
  type Data,
  evaluate,
  type Evaluation,
  fit,
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
  say: (line: string) => void
  progress: OnProgress
  signal: AbortSignal
}

const end = '<|end|>'

/** config.json of the base: 0.4 million parameters. */
const configOf = (vocabulary: number): Record<string, number | string | boolean | string[]> => ({
  model_type: 'llama',
  architectures: ['LlamaForCausalLM'],
  vocab_size: vocabulary,
  hidden_size: 128,
  intermediate_size: 384,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  max_position_embeddings: 256,
  tie_word_embeddings: true,
  initializer_range: 0.04,
  eos_token_id: 0,
  pad_token_id: 0,
})

/** Makes base, adapter and merged checkpoint in folders of `out`. The same seed gives the same bits. */
export const mainJob = async (out: string, options: MainJobOptions): Promise<MainJob> => {
  const { seed, say, progress, signal } = options
  const begun = performance.now()
  const [baseFolder, adapterFolder, mergedFolder] = ['base', 'adapter', 'merged'].map((name) =>
    join(out, name),
  )
  const rows = { batch: 16, length: 128, multiple: 16, signal }
  const course = { ...rows, seed, schedule: 'warmup-cosine', clip: 1 } as const
  const named =
    (name: string): OnProgress =>
    (event) =>
      progress({ ...event, name })

  const stories = storyTexts(8000, seed)
  const questions = storyQuestions(8000, seed)
  const unseenStories = storyTexts(64, `unseen ${seed}`)
  const choices = storyChoices(64, `unseen ${seed}`)

  say('1. A small Llama learns to tell stories.')
  const texts = [...stories.map((r) => r.text), ...questions.map((r) => r.prompt)]
  const vocabulary = trainBytePairs(texts, { vocabularySize: 512, specialTokens: [end] })
  const tokenizer = tokenizerFromJson(vocabulary, { eos_token: end, pad_token: end })
  const blank = await createModel(configOf(tokenizer.vocabularySize), { seed })
  const { model: base } = await fit(blank, stories, {
    ...course,
    tokenizer,
    steps: 300,
    learningRate: 4e-3,
    optimizer: adamW({ weightDecay: 0.1, betas: [0.9, 0.99] }),
    onProgress: named('stories'),
  })
  signal.throwIfAborted()
  await saveInto(baseFolder, async (folder) => {
    await base.save(folder)
    await saveTokenizer(folder, vocabulary, { eos: end, pad: end })
  })

  say('2. LoRA teaches it to answer questions about a story.')
  await using checkpoint = await open(baseFolder)
  const untrained = await lora(checkpoint, { rank: 16, alpha: 32, targets: 'all-linear', seed })
  const { model: adapted } = await fit(untrained, questions, {
    ...course,
    steps: 300,
    learningRate: 3e-3,
    optimizer: adamW({ weightDecay: 0, betas: [0.9, 0.99] }),
    onProgress: named('questions'),
  })
  signal.throwIfAborted()
  await saveInto(adapterFolder, (folder) => adapted.save(folder))

  say('3. The adapter is folded into the base, and everything is measured on stories that none has seen.')
  const loaded = await loadAdapter(checkpoint, adapterFolder)
  await saveInto(mergedFolder, (folder) => loaded.fold(folder))
  await using merged = await open(mergedFolder)
  const folded = await openModel(merged)
  const measure = (model: Model, data: Data): Promise<Evaluation> =>
    evaluate(model, data, { ...rows, tokenizer })
  const compare = async (
    before: Model,
    after: Model,
    prompts: string[],
    how: GenerateOptions,
  ): Promise<Sample[]> => {
    const samples: Sample[] = []
    for (const prompt of prompts)
      samples.push({
        prompt,
        before: await said(before, prompt, { ...how, tokenizer, signal }),
        after: await said(after, prompt, { ...how, tokenizer, signal }),
      })
    return samples
  }
  const data = { questions: join(out, 'questions.jsonl'), choices: join(out, 'choices.jsonl') }
  await writeJsonl(data.questions, questions)
  await writeJsonl(data.choices, choices)
  return {
    base: {
      folder: baseFolder,
      before: await measure(blank, unseenStories),
      after: await measure(base, unseenStories),
      samples: await compare(blank, base, ['Mia has', 'Tom finds'], {
        temperature: 0.7,
        maxTokens: 60,
        seed,
      }),
    },
    adapter: {
      folder: adapterFolder,
      before: await measure(untrained, choices),
      after: await measure(adapted, choices),
      samples: await compare(
        untrained,
        adapted,
        choices.slice(0, 3).map((record) => record.prompt),
        { maxTokens: 12 },
      ),
    },
    merged: { folder: mergedFolder, evaluation: await measure(folded, choices) },
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
