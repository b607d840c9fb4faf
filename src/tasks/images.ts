/** @file Classification of images: a folder a class, or rows with an image and its class. Node only. */
import type { Dataset } from '../data/dataset.js'
import { numbered } from '../data/dataset.js'
import { valueOfColumn } from '../data/columns.js'
import { isObject } from '../data/files.js'
import { imageFiles, stackPixels } from '../data/image-folder.js'
import { checkImage, decodeImage } from '../data/image.js'
import { openPreprocessor, preprocess, type PreprocessorConfig } from '../data/preprocess.js'
import { malformed } from '../data/row.js'
import { CheckpointError } from '../errors.js'
import { type Value, valueOf } from '../tensor/index.js'
import { type Label, Labels } from './labels.js'
import { classMeasures } from './measures.js'
import type { TaskFormat, TaskModel } from './task.js'

/** An image that has not been decoded: its file, or its bytes. */
export interface StoredImage {
  readonly source: string | Uint8Array
  /** File and row in messages. */
  readonly where: string
}

/** An image and its class. */
export interface LabelledImage extends StoredImage {
  readonly label: Label
}

/** The image of a row: a path relative to `folder`, bytes, or { bytes, path } as datasets of the hub have it. */
export const imageOfRow = (row: unknown, folder: string, where: string): StoredImage => {
  const value = valueOfColumn(row, 'image', where)
  const held = isObject(value) && !(value instanceof Uint8Array) ? (value.bytes ?? value.path) : value
  if (held instanceof Uint8Array) return { source: held, where }
  if (typeof held !== 'string' || held === '')
    throw malformed(where, 'the column "image" must hold the path or the bytes of an image')
  return { source: /^(\/|[A-Za-z]:)/.test(held) ? held : `${folder}/${held}`, where }
}

const bytesOf = async ({ source, where }: StoredImage): Promise<Uint8Array> => {
  if (typeof source !== 'string') return source
  const { readFile } = await import('node:fs/promises')
  return readFile(source).catch((cause: unknown) => {
    throw new CheckpointError('NoSuchFile', `${where}: ${source} cannot be read`, { cause })
  })
}

/** First and last bytes of an image: enough to see what it is, and whether it is whole. */
const endsOf = async ({ source, where }: StoredImage): Promise<Uint8Array> => {
  if (typeof source !== 'string') return source
  const { openBytes } = await import('../data/bytes.js')
  const reader = await openBytes(source).catch((cause: unknown) => {
    throw new CheckpointError('NoSuchFile', `${where}: ${source} cannot be read`, { cause })
  })
  try {
    const length = 64
    const first = await reader.read(0, length)
    const last = await reader.read(Math.max(first.length, reader.size - length), length)
    const ends = new Uint8Array(first.length + last.length)
    ends.set(first)
    ends.set(last, first.length)
    return ends
  } finally {
    await reader.close()
  }
}

/** Throws CheckpointError, naming file and row, for what is no image, or one that is cut off. */
export const checkStored = async (image: StoredImage): Promise<void> => {
  const name = typeof image.source === 'string' ? image.source : image.where
  const where = image.where === name ? name : `${image.where}: ${name}`
  checkImage(await endsOf(image), where)
}

/** The preprocessing that a model's folder describes, read once. */
export const preprocessing = (folder: string): (() => Promise<PreprocessorConfig>) => {
  let config: Promise<PreprocessorConfig> | undefined
  return () => (config ??= openPreprocessor(folder))
}

/** Pixels of images as the model takes them: [batch, 3, height, width]. */
export const pixelsOf = async (
  images: readonly StoredImage[],
  config: PreprocessorConfig,
): Promise<Value> => {
  const pixels: { path: string; pixels: Value }[] = []
  for (const image of images) {
    const decoded = decodeImage(await bytesOf(image), image.where)
    pixels.push({ path: image.where, pixels: preprocess(decoded, config) })
  }
  return stackPixels(pixels)
}

/** Rows with `image` and `label`, or a folder of images a class. */
export const images = (model: TaskModel): TaskFormat<LabelledImage> => {
  const labels = new Labels(model.config, model.fresh)
  const config = preprocessing(model.folder)
  return {
    fields: ['image', 'label'],
    label: 'label',
    reading: (folder) => (row, where) => ({
      ...imageOfRow(row, folder, where),
      label: labels.read(valueOfColumn(row, 'label', where), where),
    }),
    async images(folder): Promise<Dataset<LabelledImage>> {
      const { classes, files } = await imageFiles(folder)
      return numbered(folder, files.length, (i) => {
        const { path, label } = files[i]
        return { source: path, where: path, label: labels.read(classes[label], path) }
      })
    },
    check: checkStored,
    settled: () => labels.settle(),
    async batch(records) {
      const classes = records.map(({ label }) => labels.index(label))
      return {
        pixels: await pixelsOf(records, await config()),
        labels: valueOf(classes, [classes.length], 'int32'),
      }
    },
    measures: classMeasures,
  }
}
