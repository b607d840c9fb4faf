/** @file Images and their texts: pairs that a contrastive model brings together (Radford et al. 2021, arXiv 2103.00020). */
import { WeftError } from '../errors.js'
import { type Dense, engineMatmul } from '../linalg/index.js'
import { full } from '../tensor/index.js'
import type { Measures } from '../train/index.js'
import { textOf } from './classify.js'
import { checkStored, imageOfRow, pixelsOf, preprocessing, type StoredImage } from './images.js'
import { encodedWithin, paddedIds, padOf } from './rows.js'
import type { TaskFormat, TaskModel } from './task.js'

/** An image and a text about it. */
export interface ImageAndText extends StoredImage {
  readonly text: string
}

/** Rows of similarities that are made at a time. */
const blockRows = 256

/** Embeddings of several batches as one matrix: [rows, width]. */
const stacked = (batches: readonly Float32Array[], rows: number): Dense => {
  const length = batches.reduce((sum, { length }) => sum + length, 0)
  const data = new Float32Array(length)
  let offset = 0
  for (const batch of batches) {
    data.set(batch, offset)
    offset += batch.length
  }
  return { rows, cols: length / rows, data }
}

/**
 * Shares of the rows of `from` ([n, width]) whose own row of `to` is among the first 1 and 5 by likeness; rows that are as
 * like as the own one do not stand before it.
 */
const recalls = async (from: Dense, to: Dense): Promise<{ first: number; five: number }> => {
  const product = engineMatmul()
  const { rows, cols } = from
  const hits = { first: 0, five: 0 }
  for (let start = 0; start < rows; start += blockRows) {
    const count = Math.min(blockRows, rows - start)
    const block = { rows: count, cols, data: from.data.subarray(start * cols, (start + count) * cols) }
    const { data } = await product(block, to, { transposeB: true })
    for (let i = 0; i < count; i++) {
      const own = data[i * rows + start + i]
      let before = 0
      for (let j = 0; j < rows; j++) if (data[i * rows + j] > own) before++
      hits.first += Number(before < 1)
      hits.five += Number(before < 5)
    }
  }
  return { first: hits.first / rows, five: hits.five / rows }
}

/** Recall at 1 and 5, of texts by images and of images by texts, over all pairs that were evaluated. */
const retrieval: Measures = {
  tensors: ({ embeddings }) => {
    if (embeddings) {
      const { image, text } = embeddings
      return { image, text, count: full([1], image.shape[0]) }
    }
    throw new WeftError('NoEmbeddings', 'a contrastive model gives embeddings of images and texts')
  },
  start() {
    const images: Float32Array[] = []
    const texts: Float32Array[] = []
    let rows = 0
    return {
      add({ image, text, count }) {
        images.push(Float32Array.from(image as ArrayLike<number>))
        texts.push(Float32Array.from(text as ArrayLike<number>))
        rows += Number(count[0])
      },
      async result() {
        const image = stacked(images, rows)
        const text = stacked(texts, rows)
        const ofText = await recalls(image, text)
        const ofImage = await recalls(text, image)
        return {
          textRecall: ofText.first,
          imageRecall: ofImage.first,
          textRecall5: ofText.five,
          imageRecall5: ofImage.five,
        }
      },
    }
  },
}

/** Rows with `image` and `text`. */
export const pairs = (model: TaskModel): TaskFormat<ImageAndText> => {
  const config = preprocessing(model.folder)
  return {
    fields: ['image', 'text'],
    text: 'text',
    reading: (folder) => (row, where) => ({
      ...imageOfRow(row, folder, where),
      text: textOf(row, 'text', where),
    }),
    check: checkStored,
    async batch(records) {
      const tokenizer = await model.tokenizer()
      const rows = records.map(({ text }) => encodedWithin(tokenizer, text, model.length))
      return { ...paddedIds(rows, padOf(tokenizer), model), pixels: await pixelsOf(records, await config()) }
    },
    measures: retrieval,
  }
}
