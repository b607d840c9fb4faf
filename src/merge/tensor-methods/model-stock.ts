/** @file Model Stock: how far to go from the base to the average, from the angle between the fine-tunings. */
import { z } from 'zod'
import { type Gram, gramOf, offsetOf } from '../core/gram.js'
import { merge, type MergeMethod } from '../core/method.js'

/** t = N cos / (1 + (N - 1) cos), cos being the mean over the pairs of N offsets (Jang et al., 2024, eq. 5 and on). */
const ratio = (gram: Gram): number => {
  const n = gram.length
  let sum = 0
  let pairs = 0
  for (let a = 0; a < n; a++)
    for (let b = a + 1; b < n; b++, pairs++)
      sum += Math.min(1, Math.max(-1, gram[a][b] / Math.max(Math.sqrt(gram[a][a] * gram[b][b]), 1e-6)))
  const cosine = sum / pairs
  return (n * cosine) / (1 + (n - 1) * cosine)
}

const rowGram = (offsets: readonly Float32Array[], start: number, end: number): Gram =>
  offsets.map((a) =>
    Float64Array.from(offsets, (b) => {
      let sum = 0
      for (let i = start; i < end; i++) sum += a[i] * b[i]
      return sum
    }),
  )

/** Moves the base towards the models' average by the ratio of each tensor, or of each row with `filter_wise`. */
export const modelStock: MergeMethod = merge({
  name: 'model_stock',
  summary: "the models' average drawn to the base, by the angle between the models' changes",
  module: import.meta.url,
  base: 'required',
  counts: [2, Infinity],
  rows: true,
  global: { filter_wise: z.boolean().default(false).describe('a ratio for each row') },
  prepare: async (tensor, { filter_wise: rows }) => ({
    width: rows ? tensor.width : Infinity,
    whole: rows ? undefined : ratio(await gramOf(tensor, 'offsets')),
  }),
  tensor: (out, { base, models }, _, { width, whole }) => {
    const offsets = whole === undefined ? models.map((model) => offsetOf(model, base!)) : []
    for (let start = 0; start < out.length; start += width) {
      const end = Math.min(out.length, start + width)
      const t = whole ?? ratio(rowGram(offsets, start, end))
      for (let i = start; i < end; i++) {
        let sum = 0
        for (const model of models) sum += model[i]
        out[i] = t * (sum / models.length) + (1 - t) * base![i]
      }
    }
  },
})
