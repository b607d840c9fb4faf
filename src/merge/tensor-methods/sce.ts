/** @file SCE: select the elements that vary most, weigh models by energy, erase minority signs. */
import { z } from 'zod'
import { offsetOf } from '../core/gram.js'
import { type AlignedTensor, type Block, merge, type MergeMethod } from '../core/method.js'
import { indexOfEqual, type KeyPasses, ranked } from '../../stream/kernels/select.js'

const { fround } = Math

/** The variance of the models' offsets at each element, as integers of the same order. */
const variances = (offsets: readonly Float32Array[]): Uint32Array => {
  const out = new Float32Array(offsets[0].length)
  for (let i = 0; i < out.length; i++) {
    let sum = 0
    let squares = 0
    for (const offset of offsets) sum += offset[i]
    const mean = sum / offsets.length
    for (const offset of offsets) squares += (offset[i] - mean) ** 2
    out[i] = squares / offsets.length
  }
  return new Uint32Array(out.buffer)
}

const offsetsOf = ({ base, models }: Block): Float32Array[] => models.map((model) => offsetOf(model, base!))

/** Elements are selected from this variance on; of those equal to it, the ones up to an index. */
interface Selection {
  readonly low: number
  readonly last: number
}

/** The share `topk` of the elements whose variance is not zero. */
const select = async (tensor: AlignedTensor, topk: number): Promise<Selection> => {
  if (topk >= 1) return { low: 0, last: Infinity }
  let nonzero = 0
  const passes: KeyPasses = async function* () {
    for await (const block of tensor.blocks())
      yield { first: block.first, keys: [variances(offsetsOf(block))] }
  }
  for await (const { keys } of passes()) for (const key of keys[0]) if (key) nonzero++
  const kept = Math.floor(nonzero * topk)
  if (kept <= 0) return { low: Infinity, last: -1 }
  const [[bound]] = await ranked(passes, [[tensor.count - kept]])
  const quota = kept - (tensor.count - bound.below - bound.equal)
  if (quota === bound.equal) return { low: bound.key, last: Infinity }
  const [[last]] = await indexOfEqual(passes, [[{ key: bound.key, nth: quota }]])
  return { low: bound.key, last }
}

const selected = (block: Block, { low, last }: Selection): Float32Array[] => {
  const offsets = offsetsOf(block)
  if (low === 0) return offsets
  const keys = variances(offsets)
  for (let i = 0; i < keys.length; i++)
    if (keys[i] < low || (keys[i] === low && block.first + i > last))
      for (const offset of offsets) offset[i] = 0
  return offsets
}

/** Each model's share of the squares of what is selected. */
const energies = async (tensor: AlignedTensor, selection: Selection): Promise<Float32Array> => {
  const sums = new Float64Array(tensor.models)
  for await (const block of tensor.blocks())
    selected(block, selection).forEach((offset, m) => {
      for (let i = 0; i < offset.length; i++) sums[m] += offset[i] * offset[i]
    })
  const means = sums.map((sum) => sum / tensor.count)
  const total = means.reduce((sum, mean) => sum + mean, 0)
  return Float32Array.from(means, (mean) => (total < 1e-6 ? 1 / means.length : mean / total))
}

/** Wan et al., "FuseChat: Knowledge Fusion of Chat Models", 2024: select, calculate, erase. */
export const sce: MergeMethod = merge({
  name: 'sce',
  summary: 'the changes in which models vary most, weighed by their energy, where their signs agree',
  module: import.meta.url,
  base: 'required',
  example: { select_topk: 0.5 },
  global: {
    select_topk: z
      .number()
      .min(0)
      .max(1)
      .default(1)
      .describe('share of elements, by their variance, that count'),
    // How mergekit stores its masks, which Weft has none of: accepted, without effect.
    int8_mask: z.boolean().default(false).describe("mergekit's storage of masks; no effect here"),
  },
  prepare: async (tensor, { select_topk: topk }) => {
    const selection = await select(tensor, topk)
    return { selection, weights: await energies(tensor, selection) }
  },
  tensor: (out, block, _, { selection, weights }) => {
    const offsets = selected(block, selection)
    for (let i = 0; i < out.length; i++) {
      let sum = 0
      for (const offset of offsets) sum = fround(sum + offset[i])
      let merged = 0
      let weight = 0
      for (let m = 0; m < offsets.length; m++) {
        const x = offsets[m][i]
        if (x === 0 || x > 0 !== sum >= 0) continue
        merged = fround(merged + fround(x * weights[m]))
        weight = fround(weight + weights[m])
      }
      out[i] = block.base![i] + fround(merged / Math.max(weight, fround(1e-6)))
    }
  },
})
