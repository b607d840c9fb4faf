/**
 * @file What VL-Adapter's experiment stands on: an image encoder that has learned to name shapes and colours, a text model that
 * answers the four kinds of questions about scenes told in words, and batches of the questions about rendered scenes.
 */
import { createModel, type Model, openModel } from '../../../models/index.js'
import { Stream } from '../../../random/index.js'
import {
  renderedScenes,
  renderedShapes,
  sceneInWords,
  type SceneQuestion,
  sceneQuestions,
  type Scenes,
  type SceneTask,
  sceneTasks,
  sceneWords,
} from '../../../synth/index.js'
import { type Tensor, toNumbers, value, type Value, valueOf } from '../../../tensor/index.js'
import { type Batch, byShape, fit, forward } from '../../../train/index.js'
import { withVision } from '../vision.js'

/** What the sizes of the experiment differ in. */
export interface Setting {
  readonly width: number
  readonly layers: number
  /** Steps of the image encoder and of the text model. */
  readonly looking: number
  readonly reading: number
  /** Scenes in words that the text model reads. */
  readonly told: number
  /** Rendered scenes to learn from, and as many again held out. */
  readonly scenes: number
  /** Held-out questions a task. */
  readonly held: number
}

const kinds = { shapes: ['disc', 'square', 'triangle'], colours: ['red', 'green', 'blue'] }
const prefixes: Readonly<Record<SceneTask, string>> = {
  colour: 'vqa:',
  beside: 'gqa:',
  pair: 'nlvr:',
  caption: 'caption:',
}
const words = ['<pad>', 'first', 'second', ...Object.values(prefixes), ...sceneWords(kinds)]
const idOf = new Map(words.map((word, id) => [word, id]))
/** Words of a question, its task's among them; words of an answer; words of a question with its scenes. */
const [questionLength, answerLength, toldLength] = [5, 5, 11]
const batchSize = 24

const idsOf = (texts: readonly (readonly string[])[], length: number, rest: number): number[] =>
  texts.flatMap((text) => Array.from({ length }, (_, i) => (i < text.length ? idOf.get(text[i])! : rest)))

const textBatch = (
  texts: readonly (readonly string[])[],
  answers: readonly (readonly string[])[],
  length: number,
): Batch => {
  const ids = idsOf(texts, length, 0)
  return {
    ids: valueOf(ids, [texts.length, length], 'int32'),
    attentionMask: valueOf(
      ids.map((id) => Number(id !== 0)),
      [texts.length, length],
      'int32',
    ),
    labels: valueOf(idsOf(answers, answerLength, -100), [answers.length, answerLength], 'int32'),
  }
}

const question = ({ task, text }: SceneQuestion): string[] => [prefixes[task], ...text]

/** A question with its scenes in words; those of a second scene stand behind a word that says so. */
const inWords = (q: SceneQuestion, { objects }: Scenes, stream: Stream): string[] => {
  const scenes = q.scenes.map((i) => {
    const said = sceneInWords(objects[i])
    return stream.int(2) ? said : said.reverse()
  })
  const [first, second] = scenes
  return second ? [...question(q), 'first', ...first, 'second', ...second] : [...question(q), ...first]
}

/** Batches of mixed questions about scenes in words, without end. */
const reading = (scenes: Scenes, seed: string) =>
  function* (startAt: number): Generator<Batch> {
    for (let i = startAt; ; i++) {
      const stream = new Stream(seed).fork(i)
      const all = sceneTasks.flatMap((task) =>
        sceneQuestions(scenes, task, { count: batchSize / 4, seed: `${seed} ${i}` }),
      )
      yield textBatch(
        all.map((q) => inWords(q, scenes, stream)),
        all.map(({ answer }) => answer),
        toldLength,
      )
    }
  }

const readerFor = async (
  { width, layers, told: count, reading: steps }: Setting,
  signal?: AbortSignal,
): Promise<Model> => {
  const config = {
    model_type: 't5',
    vocab_size: words.length,
    d_model: width,
    d_kv: width / 4,
    d_ff: 2 * width,
    num_layers: layers,
    num_heads: 4,
    dropout_rate: 0,
    relative_attention_num_buckets: 16,
    relative_attention_max_distance: 16,
    tie_word_embeddings: false,
  }
  const scenes = renderedScenes({ ...kinds, count, seed: 'told', size: 2, noise: 0 })
  const options = { steps, learningRate: 3e-3, schedule: 'linear', signal } as const
  return (await fit(await createModel(config), reading(scenes, 'told'), options)).model
}

const channels = 32

/** A ResNet that tells the colour and shape of the one object in a picture. */
const lookerFor = async ({ looking: steps }: Setting, signal?: AbortSignal): Promise<Model> => {
  const { checkpoint } = await createModel({
    model_type: 'resnet',
    embedding_size: 16,
    hidden_sizes: [16, channels],
    depths: [1, 1],
    layer_type: 'basic',
    num_labels: kinds.shapes.length * kinds.colours.length,
  })
  const start = await openModel(checkpoint, { trainable: true, buffers: true })
  const data = function* (startAt: number): Generator<Batch> {
    for (let i = startAt; ; i++) {
      const { images, shape, colour } = renderedShapes({
        ...kinds,
        count: 32,
        seed: `looking ${i}`,
        radii: [0.9],
      })
      const [shapes, colours] = [shape, colour].map(toNumbers)
      const labels = shapes.map((s, j) => 3 * s + colours[j])
      yield { pixels: images, labels: valueOf(labels, [32], 'int32') }
    }
  }
  return (await fit(start, data, { steps, learningRate: 5e-3, schedule: 'linear', signal })).model
}

/** What the last stage of the image encoder makes of images: [count, c, rows, columns]. */
const featuresOf = async (looker: Model, images: Value): Promise<Value> => {
  type Inputs<T> = { parameters: Record<string, T>; pixels: T }
  const program = byShape(({ parameters, pixels }: Inputs<Tensor>) => {
    const { hidden } = forward(looker, parameters, { pixels })
    return { features: hidden[hidden.length - 1] }
  })
  return (await program({ parameters: { ...looker.parameters }, pixels: images })).features
}

/** The text model that sees nothing yet, and the image encoder. */
export interface Experts {
  readonly reader: Model
  readonly looker: Model
  /** The share of questions about held-out scenes in words that the text model answers rightly. */
  readonly read: number
}

/** Of questions about scenes in words. */
const heldBatches = 8

/** Both encoders: the same for all arms and seeds. */
export const expertsFor = async (setting: Setting, signal?: AbortSignal): Promise<Experts> => {
  const reader = await readerFor(setting, signal)
  const looker = await lookerFor(setting, signal)
  const scenes = renderedScenes({ ...kinds, count: 200, seed: 'told and held', size: 2, noise: 0 })
  const unseen = reading(scenes, 'told and held')(0)
  const answered = answers(reader)
  let read = 0
  for (let i = 0; i < heldBatches; i++)
    read += (await answered(unseen.next().value as Batch)).exact / heldBatches
  return { reader, looker, read }
}

/** The seeing model, and its questions. */
export interface Scenery {
  readonly base: Model
  /** A batch of questions of one task, drawn from what it has to learn from. */
  batch(task: SceneTask, stream: Stream): Batch
  readonly held: Readonly<Record<SceneTask, Batch>>
}

/** How many questions each task has to learn from: few of the pairs, as in the paper. */
const sizes: Readonly<Record<SceneTask, number>> = { colour: 2500, beside: 2500, pair: 1000, caption: 2500 }

/** Rows of `features` that stand for the scenes of each question; what is no second scene is zero. */
const picturesOf = (questions: readonly SceneQuestion[], features: Value): Value => {
  const [, c, rows, columns] = features.shape
  const size = c * rows * columns
  const all = toNumbers(features)
  const data = new Float32Array(questions.length * 2 * size)
  questions.forEach(({ scenes }, q) =>
    scenes.forEach((scene, i) =>
      data.set(all.subarray(scene * size, (scene + 1) * size), (2 * q + i) * size),
    ),
  )
  return value(data, [questions.length, 2 * c, rows, columns], 'float32')
}

const seeingBatch = (questions: readonly SceneQuestion[], features: Value): Batch => ({
  ...textBatch(
    questions.map(question),
    questions.map(({ answer }) => answer),
    questionLength,
  ),
  pixels: picturesOf(questions, features),
  taskIds: valueOf(
    questions.map(({ task }) => sceneTasks.indexOf(task)),
    [questions.length],
    'int32',
  ),
})

/** Scenes of this seed, learned and held out, as the image encoder sees them. */
export const sceneryFor = async (
  { reader, looker }: Experts,
  setting: Setting,
  seed: number,
): Promise<Scenery> => {
  const see = async (name: string) => {
    const scenes = renderedScenes({ ...kinds, count: setting.scenes, seed: `${name} ${seed}` })
    return { scenes, features: await featuresOf(looker, scenes.images) }
  }
  const [learned, unseen] = [await see('learned'), await see('unseen')]
  const draw = (task: SceneTask, count: number, { scenes }: typeof learned): SceneQuestion[] =>
    sceneQuestions(scenes, task, { count, seed })
  const pools = sceneTasks.map((task) => [task, draw(task, sizes[task], learned)] as const)
  const pool = Object.fromEntries(pools) as Record<SceneTask, SceneQuestion[]>
  const held = sceneTasks.map(
    (task) => [task, seeingBatch(draw(task, setting.held, unseen), unseen.features)] as const,
  )
  return {
    base: withVision(reader, { channels, images: 2 }),
    batch: (task, stream) =>
      seeingBatch(
        Array.from({ length: batchSize }, () => pool[task][stream.int(pool[task].length)]),
        learned.features,
      ),
    held: Object.fromEntries(held) as Record<SceneTask, Batch>,
  }
}

/** Words that begin each task's texts, with its share of the batches. */
export const turns: Readonly<Record<SceneTask, { readonly prefix: string; readonly batches: number }>> = {
  colour: { prefix: prefixes.colour, batches: 6 },
  beside: { prefix: prefixes.beside, batches: 5 },
  pair: { prefix: prefixes.pair, batches: 4 },
  caption: { prefix: prefixes.caption, batches: 5 },
}

/** What a model's answers to a batch are worth: the share that is right to the last word, and that of right words. */
export const answers = (model: Model): ((batch: Batch) => Promise<{ exact: number; right: number }>) => {
  type Inputs<T> = { parameters: Record<string, T>; batch: Record<string, T> }
  // Each word is guessed behind the right ones: all are right just where decoding the likeliest word gives the answer.
  const program = byShape(({ parameters, batch }: Inputs<Tensor>) => {
    const labels = batch.labels.cast('int32')
    const counted = labels.notEqual(-100)
    const guesses = forward(model, parameters, batch).logits.argMax(-1)
    const right = guesses.equal(labels).and(counted).cast('float32').sum(1)
    const count = counted.cast('float32').sum(1)
    return { exact: right.equal(count).cast('float32').mean(), right: right.sum().div(count.sum()) }
  })
  return async (batch) => {
    const { exact, right } = await program({ parameters: { ...model.parameters }, batch: { ...batch } })
    return { exact: toNumbers(exact)[0], right: toNumbers(right)[0] }
  }
}
