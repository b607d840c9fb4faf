/** @file Images to tensors, by preprocessor_config.json. */
import { CheckpointError } from '../errors.js'
import { type Value, value } from '../tensor/value.js'
import { isObject, readJson } from './files.js'
import { centerCrop, type Image, resizeImage } from './image.js'

/** A size as Hugging Face's processors write it. A number stands for a square, or for the shortest edge. */
export type ImageSize =
  number | { height?: number; width?: number; shortest_edge?: number; longest_edge?: number }

/** The keys of preprocessor_config.json that are read. */
export interface PreprocessorConfig {
  do_resize?: boolean
  size?: ImageSize
  /** 0 nearest, 1 Lanczos, 2 bilinear, 3 bicubic, 4 box. Default 2. */
  resample?: number
  do_center_crop?: boolean
  crop_size?: ImageSize
  /** ConvNeXT's: below 384, resize the shortest edge to size / crop_pct and crop to size. */
  crop_pct?: number
  do_rescale?: boolean
  /** Default 1/255. */
  rescale_factor?: number
  do_normalize?: boolean
  image_mean?: readonly number[]
  image_std?: readonly number[]
  image_processor_type?: string
  feature_extractor_type?: string
  [key: string]: unknown
}

interface Pixels {
  height: number
  width: number
}

const wrong = (message: string): never => {
  throw new CheckpointError('BadPreprocessor', `preprocessor_config.json: ${message}`)
}

/** The shortest edge becomes `shortest`, the other keeps the aspect ratio, cut to whole pixels and to `longest`. */
const byShortestEdge = (image: Pixels, shortest: number, longest = Infinity): Pixels => {
  const [short, long] = [image.height, image.width].sort((a, b) => a - b)
  let [newShort, newLong] = [shortest, Math.trunc((shortest * long) / short)]
  if (newLong > longest) [newShort, newLong] = [Math.trunc((longest * newShort) / newLong), longest]
  return image.width <= image.height
    ? { width: Math.max(1, newShort), height: newLong }
    : { width: newLong, height: Math.max(1, newShort) }
}

const square = (n: number): Pixels => ({ height: n, width: n })

/** Processors that take a size of one number for the shortest edge; the others make a square of it. */
const byEdge = /^(CLIP|Bit)(ImageProcessor|FeatureExtractor)/

const resizedTo = (size: ImageSize, image: Pixels, config: PreprocessorConfig): Pixels => {
  const type = String(config.image_processor_type ?? config.feature_extractor_type ?? '')
  if (typeof size === 'number') return byEdge.test(type) ? byShortestEdge(image, size) : square(size)
  const { height, width, shortest_edge, longest_edge } = size
  if (height !== undefined && width !== undefined) return { height, width }
  if (shortest_edge !== undefined) return byShortestEdge(image, shortest_edge, longest_edge)
  return wrong(`"size" is ${JSON.stringify(size)}; expected height and width, or shortest_edge`)
}

const croppedTo = (size: ImageSize | undefined): Pixels => {
  if (typeof size === 'number') return square(size)
  const { height, width, shortest_edge } = size ?? {}
  if (height !== undefined && width !== undefined) return { height, width }
  return shortest_edge === undefined
    ? wrong(`"crop_size" is ${JSON.stringify(size)}; expected height and width`)
    : square(shortest_edge)
}

/** ConvNeXT's way of resizing (ResNet's checkpoints use it): a crop of the middle unless the size is 384 or more. */
const convNextResize = (image: Image, size: ImageSize, cropShare: number, resample: number): Image => {
  const edge =
    typeof size === 'number' ? size : (size.shortest_edge ?? wrong('"crop_pct" needs a shortest_edge'))
  if (edge >= 384) return resizeImage(image, edge, edge, resample)
  const { height, width } = byShortestEdge(image, Math.trunc(edge / cropShare))
  return centerCrop(resizeImage(image, height, width, resample), edge, edge)
}

const fitted = (image: Image, config: PreprocessorConfig): Image => {
  const { size = 224, resample = 2, crop_pct } = config
  let fit = image
  if (config.do_resize ?? true)
    if (crop_pct == null) {
      const { height, width } = resizedTo(size, image, config)
      fit = resizeImage(image, height, width, resample)
    } else fit = convNextResize(image, size, crop_pct, resample)
  if (!(config.do_center_crop ?? false)) return fit
  const { height, width } = croppedTo(config.crop_size)
  return centerCrop(fit, height, width)
}

const threeNumbers = (
  key: string,
  numbers: readonly number[] | undefined,
  missing: number,
): readonly number[] => {
  const three = numbers ?? [missing, missing, missing]
  return three.length === 3 && three.every(Number.isFinite) ? three : wrong(`"${key}" must be three numbers`)
}

/**
 * The pixels of an image as a model takes them: resize, crop, rescale, normalise, as the config says (defaults: resize
 * to 224 x 224 bilinearly, no crop, rescale by 1/255, normalise with mean and deviation 0.5).
 * Returns float32 [3, height, width]. Throws CheckpointError for a config that makes no sense.
 */
export const preprocess = (image: Image, config: PreprocessorConfig = {}): Value => {
  const { width, height, data } = fitted(image, config)
  const normalise = config.do_normalize ?? true
  const factor = (config.do_rescale ?? true) ? (config.rescale_factor ?? 1 / 255) : 1
  const mean = normalise ? threeNumbers('image_mean', config.image_mean, 0.5) : [0, 0, 0]
  const deviation = normalise ? threeNumbers('image_std', config.image_std, 0.5) : [1, 1, 1]
  const area = width * height
  const pixels = new Float32Array(3 * area)
  for (let c = 0; c < 3; c++)
    for (let i = 0; i < area; i++) pixels[c * area + i] = (data[i * 3 + c] * factor - mean[c]) / deviation[c]
  return value(pixels, [3, height, width], 'float32')
}

/** The preprocessor_config.json of a folder (Node). Throws CheckpointError when it is missing or broken. */
export const openPreprocessor = async (folder: string): Promise<PreprocessorConfig> => {
  const path = `${folder}/preprocessor_config.json`
  const json = await readJson(path, 'BadPreprocessor')
  if (json === undefined) throw new CheckpointError('NoPreprocessor', `${path}: no such file`)
  if (!isObject(json)) throw new CheckpointError('BadPreprocessor', `${path}: expected a JSON object`)
  return json
}
