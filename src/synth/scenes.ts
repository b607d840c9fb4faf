/**
 * @file Questions about rendered scenes: four kinds of tasks that a text with pictures beside it asks, each with the words of
 * its answer, and the same scenes in words.
 */
import { UsageError } from '../errors.js'
import { Stream } from '../random/index.js'
import { renderedShapes, type ShapeObject, type ShapesData, type ShapesOptions } from './shapes.js'
import { value } from '../tensor/value.js'
import { sizeOf } from '../tensor/shape.js'

/** `colour`: of a shape. `beside`: which shape is left of another, or above, .... `pair`: two pictures, true or false. `caption`: a sentence. */
export type SceneTask = 'colour' | 'beside' | 'pair' | 'caption'

/** Names of all tasks. */
export const sceneTasks: readonly SceneTask[] = ['colour', 'beside', 'pair', 'caption']

/** Number and content of scenes. */
export interface ScenesOptions extends Pick<ShapesOptions, 'count' | 'seed' | 'size' | 'noise'> {
  /** Shapes, at least two, each at most once in a scene. Default disc, square, triangle. */
  readonly shapes?: readonly string[]
  /** Default red, green, blue. */
  readonly colours?: readonly string[]
}

/** An object as its words. */
export interface SceneObject {
  readonly shape: string
  readonly colour: string
  readonly row: number
  readonly column: number
}

/** Scenes and their objects. */
export interface Scenes extends Pick<ShapesData, 'images'> {
  /** Two of different shapes in each scene, in reading order. [count][2] */
  readonly objects: readonly (readonly SceneObject[])[]
  readonly shapes: readonly string[]
  readonly colours: readonly string[]
}

/** A question about one scene or two, which their numbers name. */
export interface SceneQuestion {
  readonly task: SceneTask
  readonly scenes: readonly number[]
  readonly text: readonly string[]
  readonly answer: readonly string[]
}

/** Scenes of two objects in the cells of a 2 x 2 grid. images: float32 [count, 3, size, size]. The same seed gives the same. Throws UsageError for fewer than two shapes or colours. */
export const renderedScenes = ({
  count,
  seed,
  shapes = ['disc', 'square', 'triangle'],
  colours = ['red', 'green', 'blue'],
  ...more
}: ScenesOptions): Scenes => {
  if (shapes.length < 2 || colours.length < 2)
    throw new UsageError('BadScenes', 'scenes need at least two shapes and two colours')
  const options = { ...more, shapes, colours, count: 1, objects: 2, radii: [0.9], grid: 2 }
  // Those whose two shapes are the same are drawn again, each from numbers of its own.
  const draw = (i: number, attempt = 0): ShapesData => {
    const drawn = renderedShapes({ ...options, seed: `${seed} ${i} ${attempt}` })
    const [[a, b]] = drawn.objects
    return a.shape === b.shape ? draw(i, attempt + 1) : drawn
  }
  const all = Array.from({ length: count }, (_, i) => draw(i))
  const named = ({ shape, colour, row, column }: ShapeObject): SceneObject => ({
    shape: shapes[shape],
    colour: colours[colour],
    row,
    column,
  })
  const images = stacked(all.map((scene) => scene.images))
  const objects = all.map((scene) => scene.objects[0].map(named).sort(inReadingOrder))
  return { images, objects, shapes, colours }
}

const inReadingOrder = (a: SceneObject, b: SceneObject): number => a.row - b.row || a.column - b.column

const stacked = (images: readonly ShapesData['images'][]): ShapesData['images'] => {
  const [, ...shape] = images[0]?.shape ?? [0, 3, 0, 0]
  const size = sizeOf(shape)
  const data = new Float32Array(images.length * size)
  images.forEach((image, i) => data.set(image.data as Float32Array, i * size))
  return value(data, [images.length, ...shape], 'float32')
}

/** How the second object, or the first, lies to the other: in one row side by side, else the one above the other. */
const relation = ([a, b]: readonly SceneObject[], from: 'first' | 'second'): string => {
  const [before, after] = a.row === b.row ? ['left', 'right'] : ['above', 'below']
  return from === 'first' ? before : after
}

type Ask = (scenes: Scenes, stream: Stream) => Omit<SceneQuestion, 'task'>

const anyScene = ({ objects }: Scenes, stream: Stream): number => stream.int(objects.length)

const colour: Ask = (scenes, stream) => {
  const i = anyScene(scenes, stream)
  const asked = scenes.objects[i][stream.int(2)]
  return { scenes: [i], text: ['what', 'colour', 'is', asked.shape], answer: [asked.colour] }
}

const beside: Ask = (scenes, stream) => {
  const i = anyScene(scenes, stream)
  const objects = scenes.objects[i]
  const first = stream.int(2) === 0
  const [answer, other] = first ? objects : [objects[1], objects[0]]
  const text = ['what', 'is', relation(objects, first ? 'first' : 'second'), other.shape]
  return { scenes: [i], text, answer: [answer.shape] }
}

/** The answer is drawn first, and then scenes until it is right: true and false are equally often. */
const pair: Ask = (scenes, stream) => {
  const wanted = stream.int(2) === 1
  for (;;) {
    const asked = scenes.colours[stream.int(scenes.colours.length)]
    const both = [anyScene(scenes, stream), anyScene(scenes, stream)]
    const holds = both.every((i) => scenes.objects[i].some((o) => o.colour === asked))
    if (holds === wanted) return { scenes: both, text: ['both', 'contain', asked], answer: [String(wanted)] }
  }
}

const caption: Ask = (scenes, stream) => {
  const i = anyScene(scenes, stream)
  const [a, b] = scenes.objects[i]
  const answer = [a.colour, a.shape, relation([a, b], 'first'), b.colour, b.shape]
  return { scenes: [i], text: ['describe'], answer }
}

const asks: Readonly<Record<SceneTask, Ask>> = { colour, beside, pair, caption }

/** `count` questions of one task about `scenes`. Throws UsageError for a task that there is not, and for too few scenes. */
export const sceneQuestions = (
  scenes: Scenes,
  task: SceneTask,
  { count, seed }: { count: number; seed: number | string },
): SceneQuestion[] => {
  if (!Object.hasOwn(asks, task))
    throw new UsageError('BadScenes', `"${task}" is no task of scenes; expected ${sceneTasks.join(', ')}`)
  const sorts = new Set(scenes.objects.map((objects) => objects.map((o) => o.colour).join()))
  if (sorts.size < 2) throw new UsageError('BadScenes', 'questions need scenes of different colours')
  const stream = new Stream(seed).fork(task)
  return Array.from({ length: count }, () => ({ task, ...asks[task](scenes, stream) }))
}

const places = ['top-left', 'top-right', 'bottom-left', 'bottom-right']

/** A scene in words, one an object: 'top-left-red-disc'. */
export const sceneInWords = (objects: readonly SceneObject[]): string[] =>
  objects.map(({ row, column, colour, shape }) => `${places[2 * row + column]}-${colour}-${shape}`)

/** Every word of questions, answers and descriptions of such scenes, each once. */
export const sceneWords = ({ shapes, colours }: Pick<Scenes, 'shapes' | 'colours'>): string[] => [
  ...['what', 'is', 'colour', 'both', 'contain', 'describe', 'true', 'false'],
  ...['left', 'right', 'above', 'below'],
  ...shapes,
  ...colours,
  ...places.flatMap((place) => colours.flatMap((c) => shapes.map((s) => `${place}-${c}-${s}`))),
]
