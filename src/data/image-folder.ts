/** @file Image folders: a subfolder a class, PNG and JPEG files in it. Node only. */
import { CheckpointError, UsageError } from '../errors.js'
import { type Value, value, valueOf } from '../tensor/value.js'
import { type Dataset, datasetOf, epochOrder, type RecordSource } from './dataset.js'
import { decodeImage, type Image } from './image.js'
import { preprocess, type PreprocessorConfig } from './preprocess.js'

/** An image of a class. */
export interface ImageRecord {
  image: Image
  /** The index of its class in `classes`. */
  label: number
  path: string
}

/** Images by class. They are decoded as they are read, none is kept. */
export interface ImageFolder extends Dataset<ImageRecord> {
  /** The names of the subfolders, sorted by code point. */
  readonly classes: readonly string[]
}

/** Treatment of images that cannot be read. */
export interface ImageFolderOptions {
  /** Leave broken images out (counted in `skipped`) instead of throwing. Default false. */
  skipMalformed?: boolean
}

const readable = /\.(png|jpe?g)$/i
const otherImages = /\.(webp|gif|bmp|tiff?|avif|heic|jxl)$/i

/** Files of a folder of images by class. */
export interface ImageFiles {
  /** Names of the subfolders, sorted by code point. */
  readonly classes: readonly string[]
  /** Paths, each with the index of its class. */
  readonly files: readonly { readonly path: string; readonly label: number }[]
}

const listFiles = async (folder: string): Promise<ImageFiles> => {
  const { readdir } = await import('node:fs/promises')
  const entries = await readdir(folder, { withFileTypes: true }).catch((cause: unknown) => {
    throw new CheckpointError('NoSuchFolder', `${folder}: ${(cause as Error).message}`, { cause })
  })
  const classes = entries.filter((e) => e.isDirectory() && !e.name.startsWith('.')).map((e) => e.name)
  classes.sort()
  const files: { path: string; label: number }[] = []
  for (const [label, name] of classes.entries())
    for (const file of (await readdir(`${folder}/${name}`)).sort()) {
      const path = `${folder}/${name}/${file}`
      if (otherImages.test(file))
        throw new CheckpointError('UnknownImage', `${path}: this format is not read`, {
          hint: 'Convert it to PNG or JPEG.',
        })
      if (readable.test(file)) files.push({ path, label })
    }
  return { classes, files }
}

/**
 * The PNG and JPEG files of FOLDER/CLASS/, classes and names sorted by code point. Throws CheckpointError when there is
 * none, or an image of another format.
 */
export const imageFiles = async (folder: string): Promise<ImageFiles> => {
  const list = await listFiles(folder)
  if (list.files.length > 0) return list
  throw new CheckpointError('EmptyDataset', `${folder}: no PNG or JPEG file in a subfolder`, {
    hint: 'Expected FOLDER/CLASS/NAME.png: the subfolder names the class.',
  })
}

/**
 * The images of `folder`: FOLDER/CLASS/NAME.png (or .jpg, .jpeg), classes and names sorted by code point. Throws
 * CheckpointError when there is none, or an image of another format; reading throws for a broken one.
 */
export const imageFolder = async (
  folder: string,
  { skipMalformed = false }: ImageFolderOptions = {},
): Promise<ImageFolder> => {
  const { classes, files } = await imageFiles(folder)
  const { readFile } = await import('node:fs/promises')
  const broken = new Set<string>()
  const read = async (path: string): Promise<Image | undefined> => {
    try {
      return decodeImage(await readFile(path), path)
    } catch (error) {
      if (!(skipMalformed && error instanceof CheckpointError)) throw error
      broken.add(path)
      return undefined
    }
  }
  const at = async (i: number): Promise<ImageRecord | undefined> => {
    const image = await read(files[i].path)
    return image && { image, ...files[i] }
  }
  const source: RecordSource<ImageRecord> = {
    name: folder,
    get skipped() {
      return broken.size
    },
    size: async () => files.length,
    async *entries() {
      for (const i of files.keys()) {
        const record = await at(i)
        if (record) yield [i, record]
      }
    },
    open: async () => ({ at, close: async () => {} }),
  }
  return Object.assign(datasetOf(source), { classes })
}

/** pixels: float32 [batch, 3, height, width]; labels: int64 [batch]. */
export type ImageBatch = Readonly<{ pixels: Value; labels: Value }>

/** Size and order of batches of images. */
export interface ImageBatchesOptions {
  /** Images in a batch. */
  batch: number
  /** Shuffle, each epoch in its own order. Default: the order of the folder. */
  seed?: number | string
  /** Default 1. */
  epochs?: number
  /** How many batches to leave out at the start, to continue a run. Default 0. */
  startAt?: number
}

/**
 * Pixels of several images ([3, height, width] each) as one tensor: [batch, 3, height, width]. Throws UsageError where their
 * sizes differ.
 */
export const stackPixels = (images: readonly { path: string; pixels: Value }[]): Value => {
  const { shape } = images[0].pixels
  const length = images[0].pixels.data.length
  const data = new Float32Array(images.length * length)
  images.forEach(({ path, pixels }, i) => {
    if (String(pixels.shape) !== String(shape))
      throw new UsageError('BadBatch', `${path}: its pixels are [${pixels.shape}], the batch's [${shape}]`, {
        hint: 'Crop all images to one size (do_center_crop), or take batches of 1.',
      })
    data.set(pixels.data as Float32Array, i * length)
  })
  return value(data, [images.length, ...shape], 'float32')
}

const stack = (records: readonly ImageRecord[], config: PreprocessorConfig): ImageBatch => ({
  pixels: stackPixels(records.map((r) => ({ path: r.path, pixels: preprocess(r.image, config) }))),
  labels: valueOf(
    records.map((r) => r.label),
    [records.length],
    'int64',
  ),
})

/** Batches of images over epochs, a function of the dataset and the options alone; the last may have fewer rows. Throws UsageError for a size that is no whole number above 0, CheckpointError where no image can be read. */
export async function* imageBatches(
  dataset: Dataset<ImageRecord>,
  config: PreprocessorConfig,
  { batch, seed, epochs = 1, startAt = 0 }: ImageBatchesOptions,
): AsyncGenerator<ImageBatch> {
  if (!Number.isInteger(batch) || batch < 1)
    throw new UsageError('BadBatch', `batch is ${batch}; expected a whole number of at least 1`)
  const size = await dataset.size()
  let rows: ImageRecord[] = []
  let made = 0
  for (let epoch = 0; epoch < epochs; epoch++) {
    let any = false
    const order =
      seed === undefined ? Array.from({ length: size }, (_, i) => i) : epochOrder(size, seed, epoch)
    for await (const record of dataset.pick(order)) {
      any = true
      rows.push(record)
      if (rows.length < batch) continue
      if (made++ >= startAt) yield stack(rows, config)
      rows = []
    }
    if (!any) throw new CheckpointError('EmptyDataset', `${dataset.name}: no image could be read`)
  }
  if (rows.length > 0 && made >= startAt) yield stack(rows, config)
}
