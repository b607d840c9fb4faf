/**
 * @file One method on a model of 135 million random parameters, in a process of its own: `_methods.ts FOLDER` writes the
 * models, `_methods.ts FOLDER adapt|recipe|procedure NAME` tries one and prints a line of JSON.
 */
import { join } from 'node:path'
import { type AdapterMethod, methods as adapters } from '../src/adapt/index.js'
import { type Checkpoint, CheckpointWriter, encode, open } from '../src/checkpoint/index.js'
import { mergeRecipe, methods, type Procedure, procedures } from '../src/merge/index.js'
import { architectureFor } from '../src/models/index.js'
import { keyOf, normal } from '../src/random/index.js'
import { sizeOf, value } from '../src/tensor/index.js'
import { saveTokenizer, trainBytePairs } from '../src/text/index.js'
import { fit } from '../src/train/index.js'
import { randomBatch } from './_gpt.js'
import { peak } from './_resident.js'

const vocabulary = 49_152
const config = {
  architectures: ['LlamaForCausalLM'],
  ...{ model_type: 'llama', num_hidden_layers: 30, hidden_size: 576, intermediate_size: 1536 },
  ...{ num_attention_heads: 9, num_key_value_heads: 3, vocab_size: vocabulary, hidden_act: 'silu' },
  ...{ max_position_embeddings: 2048, rms_norm_eps: 1e-5, rope_theta: 10000, tie_word_embeddings: true },
}
const steps = 3

/** The base, and fine-tunings of it: the same with noise. */
const models = ['base', 'a', 'b', 'c'] as const

const animals = ['cat', 'dog', 'owl', 'fox', 'bee']
const sentences = animals.flatMap((animal) =>
  ['today', 'at night', 'in the rain'].map((when) => `The ${animal} sings ${when}.`),
)
/** Texts of about 128 tokens. */
const texts = animals.map((_, i) => [...sentences.slice(3 * i), ...sentences.slice(0, 3 * i)].join(' '))

const write = async (folder: string): Promise<object> => {
  const architecture = architectureFor(config)
  const table = architecture.table(architecture.readConfig(config)).filter(({ tied }) => tied === undefined)
  const plans = table.map(({ name, shape }) => ({ name, shape, dtype: 'F32' as const }))
  const tokenizer = trainBytePairs(sentences, { vocabularySize: 300, specialTokens: ['<s>', '</s>'] })
  for (const model of models) {
    const to = join(folder, model)
    await using writer = await CheckpointWriter.create(to, plans)
    for (const { name, shape, kind } of table) {
      const data = new Float32Array(sizeOf(shape))
      normal(data, keyOf(`base/${name}`))
      const noise = new Float32Array(data.length)
      if (model !== 'base') normal(noise, keyOf(`${model}/${name}`))
      const centre = kind === 'norm' ? 1 : 0
      for (let i = 0; i < data.length; i++) data[i] = centre + 0.04 * data[i] + 0.004 * noise[i]
      await writer.write(name, encode(value(data, shape, 'float32')).data)
    }
    await writer.finish({ 'config.json': config })
    await saveTokenizer(to, tokenizer, { bos: '<s>', eos: '</s>', pad: '</s>' })
  }
  return { bytes: plans.reduce((sum, { shape }) => sum + 4 * sizeOf(shape), 0) }
}

const clock = (): (() => number) => {
  let last = performance.now()
  return () => {
    const seconds = (performance.now() - last) / 1000
    last += seconds * 1000
    return seconds
  }
}

/** A new adapter, a few steps of 1 x 128 tokens, and the adapter's folder. */
const adapt = async (folder: string, id: string): Promise<object> => {
  const method = adapters.find(({ paper }) => paper.id === id) as AdapterMethod<Record<string, unknown>>
  const batch = randomBatch(1, 128, vocabulary)
  const lap = clock()
  await using base = await open(join(folder, 'base'))
  const made = await method(base, 'calibration' in method.options.shape ? { calibration: [batch] } : {})
  const make = lap()
  const batches = function* (): Generator<typeof batch> {
    for (;;) yield batch
  }
  const times: number[] = []
  const { model } = await fit(made, batches, {
    steps,
    learningRate: 1e-4,
    hook: () => void times.push(lap()),
  })
  lap()
  await model.save(join(folder, 'out', `adapt-${id}`))
  return { make, first: times[0], step: times[times.length - 1], save: lap() }
}

/** The models that a merge takes, as many as there are. */
const inputsFor = ([least, most]: readonly [number, number]): string[] =>
  models.slice(1, 1 + Math.min(most, Math.max(least, models.length - 1)))

const recipe = async (folder: string, name: string): Promise<object> => {
  const method = methods.find((one) => one.name === name)!
  const required = Object.entries({ ...method.perModel, ...method.global }).filter(
    ([, schema]) => !schema.safeParse(undefined).success,
  )
  const lap = clock()
  await mergeRecipe(
    {
      merge_method: name,
      ...(method.base === 'none' ? {} : { base_model: 'base' }),
      models: inputsFor(method.counts).map((model) => ({ model })),
      parameters: { ...Object.fromEntries(required.map(([key]) => [key, 0.3])), ...method.example },
    },
    join(folder, 'out', `recipe-${name}`),
    { folder },
  )
  return { make: lap() }
}

const procedure = async (folder: string, name: string): Promise<object> => {
  const found = procedures.find((one) => one.name === name) as unknown as Procedure<Record<string, unknown>>
  const opened: Checkpoint[] = []
  const opening = async (model: string): Promise<Checkpoint> => {
    const checkpoint = await open(join(folder, model))
    opened.push(checkpoint)
    return checkpoint
  }
  const lap = clock()
  const inputs: Checkpoint[] = []
  for (const model of inputsFor(found.counts)) inputs.push(await opening(model))
  const data = texts.map((text) => ({ prompt: text.slice(0, 7), completion: text.slice(7) }))
  const merged = await found(inputs, {
    ...found.example?.options,
    ...(found.base === 'none' ? {} : { base: await opening('base') }),
    ...(found.data === 'none' ? {} : { data }),
    seed: 3,
  })
  const make = lap()
  await merged.save(join(folder, 'out', `procedure-${name}`))
  for (const checkpoint of opened) await checkpoint.close()
  return { make, save: lap() }
}

const tasks: Readonly<Record<string, (folder: string, name: string) => Promise<object>>> = {
  adapt,
  recipe,
  procedure,
}

const [folder, task, name] = process.argv.slice(2)
const result = task ? await tasks[task](folder, name) : await write(folder)
console.log(JSON.stringify({ ...result, peak: peak() }))
process.exit(0)
