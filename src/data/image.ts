/** @file Images: PNG and JPEG bytes to RGB, resampling, cropping. */
import { convertIndexedToRgb, decode as decodePng, type DecodedPng } from 'fast-png'
import jpeg from 'jpeg-js'
import { CheckpointError, UsageError } from '../errors.js'

/** RGB, one byte a channel. data: [height, width, 3], row-major. */
export interface Image {
  width: number
  height: number
  data: Uint8Array
}

const channels = 3
/** More pixels than any photograph has: a header that claims more is refused before memory is taken for it. */
const mostPixels = 2 ** 27

const isPng = (bytes: Uint8Array): boolean =>
  [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a].every((b, i) => bytes[i] === b)
const isJpeg = (bytes: Uint8Array): boolean => bytes[0] === 0xff && bytes[1] === 0xd8

/** Samples of `stride` channels a pixel to RGB: grey is repeated, alpha is dropped (as Pillow's convert("RGB") does). */
const toRgb = (width: number, height: number, samples: ArrayLike<number>, stride: number): Image => {
  const data = new Uint8Array(width * height * channels)
  const colour = stride >= channels
  for (let i = 0; i < width * height; i++)
    for (let c = 0; c < channels; c++) data[i * channels + c] = samples[i * stride + (colour ? c : 0)]
  return { width, height, data }
}

const pngToRgb = (png: DecodedPng): Image => {
  const { width, height, depth, palette } = png
  if (palette) return toRgb(width, height, convertIndexedToRgb(png), palette[0].length)
  if (depth === 16)
    return toRgb(
      width,
      height,
      Uint8Array.from(png.data, (x) => x >> 8),
      png.channels,
    )
  if (depth === 8) return toRgb(width, height, png.data, png.channels)
  // Packed grey of 1, 2 or 4 bits is an index into evenly spaced greys.
  const most = 2 ** depth - 1
  const greys = Array.from({ length: most + 1 }, (_, i) => Math.round((255 * i) / most)).map((g) => [g, g, g])
  return toRgb(width, height, convertIndexedToRgb({ ...png, palette: greys }), channels)
}

/** Throws where a PNG's header claims more pixels than are read; bytes: those of the header at least. */
const requirePngSize = (bytes: Uint8Array): void => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.length < 24) throw new Error('the file is cut off')
  const width = view.getUint32(16)
  const height = view.getUint32(20)
  if (width * height > mostPixels) throw new Error(`${width} x ${height} pixels are more than ${mostPixels}`)
}

const readPng = (bytes: Uint8Array): Image => {
  requirePngSize(bytes)
  return pngToRgb(decodePng(bytes, { checkCrc: true }))
}

/** What `work` gives; its errors are the image's. */
const asBroken = <T>(name: string, work: () => T): T => {
  try {
    return work()
  } catch (cause) {
    throw new CheckpointError('BrokenImage', `${name}: ${(cause as Error).message}`, { cause })
  }
}

const readJpeg = (bytes: Uint8Array): Image => {
  const options = {
    useTArray: true,
    formatAsRGBA: false,
    maxResolutionInMP: mostPixels / 1e6,
    maxMemoryUsageInMB: 2048,
  }
  const { width, height, data } = jpeg.decode(bytes, { ...options, useTArray: true })
  return { width, height, data }
}

const hasEnd = (bytes: Uint8Array, end: readonly number[]): boolean => {
  for (let i = bytes.length - end.length; i >= 0; i--)
    if (end.every((b, k) => bytes[i + k] === b)) return true
  return false
}

/**
 * Looks whether these are the first and last bytes of a PNG or JPEG file, without decoding it. Throws CheckpointError,
 * whose message `name` opens, where they are not, where its end is missing, and for a PNG of more pixels than are read.
 */
export const checkImage = (bytes: Uint8Array, name: string): void => {
  if (!isPng(bytes) && !isJpeg(bytes))
    throw new CheckpointError('UnknownImage', `${name}: neither a PNG nor a JPEG file`)
  // The last chunk of a PNG is named IEND; a JPEG ends with FF D9, maybe with filling behind it.
  const end = isPng(bytes) ? [0x49, 0x45, 0x4e, 0x44] : [0xff, 0xd9]
  if (!hasEnd(bytes, end)) throw new CheckpointError('BrokenImage', `${name}: the file is cut off`)
  if (isPng(bytes)) asBroken(name, () => requirePngSize(bytes))
}

/** The pixels of a PNG or JPEG file. Throws CheckpointError, whose message `name` opens, for anything else or a broken file. */
export const decodeImage = (bytes: Uint8Array, name = 'image'): Image => {
  const read = isPng(bytes) ? readPng : isJpeg(bytes) ? readJpeg : undefined
  if (!read) throw new CheckpointError('UnknownImage', `${name}: neither a PNG nor a JPEG file`)
  return asBroken(name, () => read(bytes))
}

interface Filter {
  /** Half the width of the filter, in source pixels at equal scale. */
  support: number
  weight(x: number): number
}

const sinc = (x: number): number => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x))

/** Cubic convolution (Keys 1981) with a = -0.5. */
const cubic = (x: number): number => {
  const t = Math.abs(x)
  if (t < 1) return (1.5 * t - 2.5) * t * t + 1
  return t < 2 ? ((-0.5 * t + 2.5) * t - 4) * t + 2 : 0
}

/** By Pillow's codes, which preprocessor_config.json uses. 0 (nearest) has no filter. */
const filters: Record<number, Filter> = {
  1: { support: 3, weight: (x) => (Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0) },
  2: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  3: { support: 2, weight: cubic },
  4: { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
}

interface Taps {
  first: number
  weights: number[]
}

/** For each output pixel of a line, the source pixels it is a mean of. The filter widens when the line shrinks. */
const taps = (from: number, to: number, resample: number): Taps[] => {
  const scale = from / to
  if (resample === 0)
    return Array.from({ length: to }, (_, i) => ({ first: Math.floor((i + 0.5) * scale), weights: [1] }))
  const { support, weight } = filters[resample]
  const width = Math.max(scale, 1)
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * scale
    const first = Math.max(0, Math.trunc(centre - support * width + 0.5))
    const end = Math.min(from, Math.trunc(centre + support * width + 0.5))
    const raw = Array.from({ length: end - first }, (_, k) => weight((first + k - centre + 0.5) / width))
    const total = raw.reduce((a, b) => a + b, 0)
    return { first, weights: raw.map((w) => w / total) }
  })
}

const toByte = (x: number): number => Math.max(0, Math.min(255, Math.floor(x + 0.5)))

/** Resamples each row of `image` to `width` pixels. */
const resizeRows = ({ width: from, height, data }: Image, width: number, resample: number): Image => {
  if (from === width) return { width, height, data }
  const out = new Uint8Array(height * width * channels)
  const plan = taps(from, width, resample)
  for (let y = 0; y < height; y++)
    plan.forEach(({ first, weights }, x) => {
      for (let c = 0; c < channels; c++) {
        let sum = 0
        for (let k = 0; k < weights.length; k++)
          sum += weights[k] * data[(y * from + first + k) * channels + c]
        out[(y * width + x) * channels + c] = toByte(sum)
      }
    })
  return { width, height, data: out }
}

const transpose = ({ width, height, data }: Image): Image => {
  const out = new Uint8Array(data.length)
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let c = 0; c < channels; c++)
        out[(x * height + y) * channels + c] = data[(y * width + x) * channels + c]
  return { width: height, height: width, data: out }
}

/**
 * Resizes as Pillow does (rows first, bytes in between, an antialiased filter). `resample`: Pillow's code, 0 nearest,
 * 1 Lanczos, 2 bilinear, 3 bicubic, 4 box. Throws UsageError for another code and for sizes that are no whole numbers above
 * 0.
 */
export const resizeImage = (image: Image, height: number, width: number, resample = 2): Image => {
  if (resample !== 0 && !(resample in filters))
    throw new UsageError('BadResample', `resample is ${resample}; expected 0 to 4`)
  if (!(Number.isInteger(height) && Number.isInteger(width) && height > 0 && width > 0))
    throw new UsageError(
      'BadImageSize',
      `a size of ${height} x ${width}; expected whole numbers of at least 1`,
    )
  return transpose(resizeRows(transpose(resizeRows(image, width, resample)), height, resample))
}

/** The middle `height` x `width` of an image; black where the image is smaller. */
export const centerCrop = (image: Image, height: number, width: number): Image => {
  const data = new Uint8Array(height * width * channels)
  // Floor where there is enough, ceiling of the padding where there is not: as Transformers rounds.
  const top = Math.floor((image.height - height) / 2)
  const left = Math.floor((image.width - width) / 2)
  for (let y = Math.max(0, -top); y < Math.min(height, image.height - top); y++)
    for (let x = Math.max(0, -left); x < Math.min(width, image.width - left); x++)
      for (let c = 0; c < channels; c++)
        data[(y * width + x) * channels + c] = image.data[((y + top) * image.width + x + left) * channels + c]
  return { width, height, data }
}
