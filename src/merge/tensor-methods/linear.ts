/** @file Merges of element and element that need no first pass: linear, nearswap, passthrough. */
import { z } from 'zod'
import { addScaled, divide, scaled } from '../../stream/kernels/index.js'
import { merge, type MergeMethod } from '../core/method.js'

const { fround } = Math

/**
 * The weighted average of the models, out = sum(w m) / sum(w); without `normalize` the weighted sum.
 * Wortsman et al., "Model soups", 2022.
 */
export const linear: MergeMethod = merge({
  name: 'linear',
  summary: 'the weighted average of the models',
  module: import.meta.url,
  base: 'none',
  perModel: { weight: z.number().describe("each model's weight") },
  global: { normalize: z.boolean().default(true).describe('divide by the sum of the weights') },
  tensor: (out, { models }, { weight, normalize }) => {
    const weights = Float32Array.from(weight)
    let total = 0
    for (const w of weights) total = fround(total + w)
    const divisor = normalize ? total : 1
    models.forEach((model, m) => (m ? addScaled : scaled)(out, model, weights[m]))
    if (divisor !== 1) divide(out, divisor)
  },
})

/**
 * Moves the base towards the other model by at most `t` in every element: where they are nearer than that, the other
 * model's number is taken. As the model card of QuartetAnemoi-70B describes it.
 */
export const nearswap: MergeMethod = merge({
  name: 'nearswap',
  summary: 'the first model, moved towards the second where the two are near each other',
  module: import.meta.url,
  base: 'required',
  counts: [1, 1],
  global: { t: z.number().describe('the most that an element of the base moves') },
  tensor: (out, { base, models: [other] }, { t }) => {
    for (let i = 0; i < out.length; i++) {
      const distance = Math.max(Math.abs(fround(base![i] - other[i])), 1e-6)
      const weight = fround(Math.min(Math.max(t / distance, 0), 1))
      out[i] = fround(weight * other[i]) + fround(fround(1 - weight) * base![i])
    }
  },
})

/** The one model's tensors as they are, times `scale`: what stacks layers of several models. */
export const passthrough: MergeMethod = merge({
  name: 'passthrough',
  summary: "one model's tensors as they are, for slices of several models one behind the other",
  module: import.meta.url,
  base: 'none',
  counts: [1, 1],
  perModel: { scale: z.number().default(1).describe('factor of the tensors') },
  tensor: (out, { models: [model] }, { scale: [scale] }) => scaled(out, model, fround(scale)),
})
