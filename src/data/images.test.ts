import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { encode as encodePng } from 'fast-png'
import jpeg from 'jpeg-js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { toNumbers } from '../tensor/value.js'
import { imageBatches, imageFolder } from './image-folder.js'
import { centerCrop, decodeImage, type Image, resizeImage } from './image.js'
import { openPreprocessor, preprocess } from './preprocess.js'

const image = (width: number, height: number, at: (x: number, y: number) => number[]): Image => ({
  width,
  height,
  data: Uint8Array.from(
    Array.from({ length: height * width }, (_, i) => at(i % width, Math.floor(i / width))).flat(),
  ),
})
const gradient = image(6, 4, (x, y) => [x * 40, y * 60, 128])
const red = (i: Image): number[] => Array.from({ length: i.width * i.height }, (_, k) => i.data[k * 3])
const grey = (width: number, height: number, values: number[]): Image =>
  image(width, height, (x, y) => Array<number>(3).fill(values[y * width + x]))

describe('decoding', () => {
  test('a PNG gives its pixels: colour, alpha dropped, grey repeated, 16 bits cut to 8', () => {
    const { width, height, data } = gradient
    expect(decodeImage(encodePng({ width, height, data, channels: 3 }))).toEqual(gradient)
    const alpha = Uint8Array.from({ length: 96 }, (_, i) =>
      i % 4 === 3 ? 9 : data[Math.floor(i / 4) * 3 + (i % 4)],
    )
    expect(decodeImage(encodePng({ width, height, data: alpha, channels: 4 }))).toEqual(gradient)
    const one = encodePng({ width: 3, height: 1, data: Uint8Array.of(5, 6, 7), channels: 1 })
    expect(decodeImage(one)).toEqual(grey(3, 1, [5, 6, 7]))
    const deep = encodePng({
      width: 2,
      height: 1,
      data: Uint16Array.of(0x1234, 0xffff),
      channels: 1,
      depth: 16,
    })
    expect(decodeImage(deep)).toEqual(grey(2, 1, [0x12, 0xff]))
  })

  test('a JPEG gives its pixels within its loss', () => {
    const flat = new Uint8Array(16 * 16 * 4)
      .fill(255)
      .map((x, i) => (i % 4 === 0 ? 200 : i % 4 === 1 ? 100 : x))
    const { width, data } = decodeImage(jpeg.encode({ width: 16, height: 16, data: flat }, 95).data)
    expect(width).toBe(16)
    for (let i = 0; i < 256; i++) {
      expect(Math.abs(data[i * 3] - 200)).toBeLessThan(6)
      expect(Math.abs(data[i * 3 + 1] - 100)).toBeLessThan(6)
    }
  })

  test('what is no image, cut off, or claims more pixels than it can have is refused by name', () => {
    const png = encodePng({ ...gradient, channels: 3 })
    const huge = Uint8Array.from(png)
    new DataView(huge.buffer).setUint32(16, 2 ** 30)
    expect(() => decodeImage(Uint8Array.of(1, 2), 'a.png')).toThrow('a.png: neither')
    for (const broken of [png.slice(0, 20), png.slice(0, 50), huge, Uint8Array.of(0xff, 0xd8, 1)])
      expect(() => decodeImage(broken, 'a.png')).toThrow(
        expect.objectContaining({ code: 'BrokenImage', exitCode: 3 }),
      )
  })
})

test('an image with any bytes replaced or cut off is refused as such, or decodes', () => {
  const pixels = Uint8Array.from({ length: 12 * 10 * 4 }, (_, i) => (i * 37) % 256)
  const files = [
    encodePng({ width: 12, height: 10, data: pixels, channels: 4 }),
    Uint8Array.from(jpeg.encode({ width: 12, height: 10, data: pixels }, 60).data),
  ]
  fc.assert(
    fc.property(
      fc.constantFrom(...files),
      fc.array(fc.tuple(fc.nat(2000), fc.nat(255)), { maxLength: 4 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (file, changes, kept) => {
        const broken = Uint8Array.from(file.slice(0, Math.ceil(kept * file.length)))
        for (const [at, byte] of changes) if (broken.length > 0) broken[at % broken.length] = byte
        try {
          const { width, height, data } = decodeImage(broken)
          expect(data).toHaveLength(width * height * 3)
        } catch (error) {
          expect(error).toMatchObject({ exitCode: 3 })
        }
      },
    ),
    { numRuns: 500 },
  )
})

describe('resizing', () => {
  test('keeps a flat image flat, and an image of its own size', () => {
    for (const resample of [0, 1, 2, 3, 4]) {
      const flat = grey(5, 7, Array<number>(35).fill(77))
      expect(new Set(red(resizeImage(flat, 3, 11, resample)))).toEqual(new Set([77]))
      expect(resizeImage(gradient, 4, 6, resample)).toEqual(gradient)
    }
  })

  test('bilinear and box halves are weighted means, and doubling interpolates between centres', () => {
    expect(red(resizeImage(grey(4, 1, [0, 100, 200, 100]), 1, 2, 4))).toEqual([50, 150])
    // Weights of a triangle of width 4 around 1 and 3: 3, 3, 1 from the border in.
    expect(red(resizeImage(grey(4, 1, [0, 70, 140, 70]), 1, 2, 2))).toEqual([50, 100])
    expect(red(resizeImage(grey(2, 1, [0, 100]), 1, 4, 2))).toEqual([0, 25, 75, 100])
  })

  test('bicubic doubling weighs by the cubic of a = -0.5, and is cut to bytes', () => {
    // At distances 1.25, 0.25, 0.75, 1.75 the kernel is -0.0703125, 0.8671875, 0.2265625, -0.0234375.
    const wide = resizeImage(grey(6, 1, [0, 0, 0, 255, 255, 255]), 1, 12, 3)
    expect(red(wide).slice(3, 9)).toEqual([0, 0, 52, 203, 255, 255])
  })

  test('an unknown resample code is refused', () => {
    expect(() => resizeImage(gradient, 2, 2, 7)).toThrow('expected 0 to 4')
  })
})

test('the centre crop takes the middle, and surrounds a smaller image with black', () => {
  expect(red(centerCrop(grey(4, 1, [1, 2, 3, 4]), 1, 2))).toEqual([2, 3])
  expect(red(centerCrop(grey(1, 1, [9]), 3, 3))).toEqual([0, 0, 0, 0, 9, 0, 0, 0, 0])
})

describe('preprocessing', () => {
  test('rescales and normalises per channel into [3, height, width]', () => {
    const config = { do_resize: false, image_mean: [0.1, 0.2, 0.3], image_std: [0.5, 0.25, 2] }
    const pixels = preprocess(gradient, config)
    expect(pixels.shape).toEqual([3, 4, 6])
    const numbers = toNumbers(pixels)
    expect(numbers[5]).toBeCloseTo((200 / 255 - 0.1) / 0.5, 6)
    expect(numbers[24 + 18]).toBeCloseTo((180 / 255 - 0.2) / 0.25, 6)
    expect(numbers[48]).toBeCloseTo((128 / 255 - 0.3) / 2, 6)
    const raw = preprocess(gradient, { do_resize: false, do_rescale: false, do_normalize: false })
    expect(toNumbers(raw).slice(0, 6)).toEqual(Float64Array.of(0, 40, 80, 120, 160, 200))
  })

  test.each([
    [{ size: { height: 8, width: 10 } }, [8, 10]],
    [{ size: 5 }, [5, 5]],
    [{ size: { shortest_edge: 10 } }, [10, 15]],
    [{ size: 10, feature_extractor_type: 'CLIPFeatureExtractor' }, [10, 15]],
    [{ size: 10, image_processor_type: 'BitImageProcessor', do_center_crop: true, crop_size: 8 }, [8, 8]],
    [{ size: 10, image_processor_type: 'ViTImageProcessor' }, [10, 10]],
    [{ size: { shortest_edge: 10, longest_edge: 12 } }, [8, 12]],
    [{ size: { shortest_edge: 10 }, do_center_crop: true, crop_size: { height: 7, width: 9 } }, [7, 9]],
    [{ size: { shortest_edge: 10 }, do_center_crop: true, crop_size: 4 }, [4, 4]],
    [{ size: { shortest_edge: 224 }, crop_pct: 0.875 }, [224, 224]],
    [{ size: { shortest_edge: 384 }, crop_pct: 0.875 }, [384, 384]],
  ])('%o of 4 x 6 pixels gives %o', (config, shape) => {
    expect(preprocess(gradient, config).shape).toEqual([3, ...shape])
  })

  test('a config that makes no sense is refused by key', () => {
    expect(() => preprocess(gradient, { size: {} })).toThrow('"size"')
    expect(() => preprocess(gradient, { do_center_crop: true })).toThrow('"crop_size"')
    expect(() => preprocess(gradient, { image_mean: [1] })).toThrow('"image_mean"')
  })
})

test('a preprocessor config is read from its folder, or refused by path', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'weft-preprocessor-'))
  try {
    await expect(openPreprocessor(folder)).rejects.toMatchObject({ code: 'NoPreprocessor', exitCode: 3 })
    await writeFile(join(folder, 'preprocessor_config.json'), '{"size": 3}')
    expect(preprocess(gradient, await openPreprocessor(folder)).shape).toEqual([3, 3, 3])
    await writeFile(join(folder, 'preprocessor_config.json'), '[]')
    await expect(openPreprocessor(folder)).rejects.toThrow('preprocessor_config.json')
  } finally {
    await rm(folder, { recursive: true })
  }
})

describe('an image folder', () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'weft-images-'))
    for (const [name, level] of [
      ['b/1.png', 10],
      ['b/2.PNG', 20],
      ['a/3.png', 30],
      ['a/notes.txt', 0],
    ] as const) {
      await mkdir(join(folder, name.slice(0, 1)), { recursive: true })
      await writeFile(
        join(folder, name),
        encodePng({ ...grey(2, 2, Array<number>(4).fill(level)), channels: 3 }),
      )
    }
  })
  afterAll(() => rm(folder, { recursive: true }))

  test('gives each image with the class of its subfolder', async () => {
    const dataset = await imageFolder(folder)
    expect(dataset.classes).toEqual(['a', 'b'])
    const found: [number, number][] = []
    for await (const { label, image } of dataset) found.push([label, image.data[0]])
    expect(found).toEqual([
      [0, 30],
      [1, 10],
      [1, 20],
    ])
  })

  test('is batched in an order that the seed chooses, from any batch on', async () => {
    const dataset = await imageFolder(folder)
    const run = async (startAt: number): Promise<string[]> => {
      const seen: string[] = []
      const config = { size: 2, do_normalize: false }
      for await (const b of imageBatches(dataset, config, { batch: 2, seed: 1, epochs: 4, startAt })) {
        expect(b.pixels.shape.slice(1)).toEqual([3, 2, 2])
        seen.push(`${[...toNumbers(b.labels)]} ${[...toNumbers(b.pixels)]}`)
      }
      return seen
    }
    const whole = await run(0)
    expect(whole).toHaveLength(6)
    expect(await run(4)).toEqual(whole.slice(4))
  })

  test('without images, with one of another format or a broken one is refused; the broken one can be skipped', async () => {
    await expect(imageFolder(join(folder, 'a'))).rejects.toMatchObject({ code: 'EmptyDataset', exitCode: 3 })
    await expect(imageFolder(join(folder, 'none'))).rejects.toMatchObject({ code: 'NoSuchFolder' })
    await writeFile(join(folder, 'a', '4.png'), 'no image')
    const read = async (skipMalformed: boolean): Promise<number> => {
      const dataset = await imageFolder(folder, { skipMalformed })
      let n = 0
      for await (const { path } of dataset) n += path ? 1 : 0
      expect(dataset.skipped).toBe(1)
      return n
    }
    await expect(read(false)).rejects.toThrow('4.png')
    expect(await read(true)).toBe(3)
    await writeFile(join(folder, 'a', '5.webp'), '')
    await expect(imageFolder(folder)).rejects.toThrow('5.webp: this format is not read')
  })
})
