/** @file SCE: select the elements that vary most, weigh models by energy, erase minority signs. */
import { z } from 'zod'
import { offsetsInPlace } from '../core/gram.js'
import { type AlignedTensor, type Block, merge, type MergeMethod } from '../core/method.js'
import { countEqual, roomBeside } from '../../stream/kernels/index.js'
import { indexOfEqual, type KeyPasses, ranked } from '../../stream/kernels/select.js'

const { fround } = Math

const leastWeight = fround(1e-6)

/** A tensor's blocks as the method looks at them, in memory that the next block uses again. */
class Views {
  private readonly differences = offsetsInPlace()
  private readonly room = roomBeside()

  /** The models' differences from the base. */
  offsets(block: Block): Float32Array[] {
    return this.differences(block)
  }

  /** Their variance at each element, as integers of the same order. */
  variances(offsets: readonly Float32Array[]): Uint32Array {
    const out = this.room(offsets[0])
    const models = offsets.length
    for (let i = 0; i < out.length; i++) {
      let sum = 0
      let squares = 0
      for (let m = 0; m < models; m++) sum += offsets[m][i]
      const mean = sum / models
      for (let m = 0; m < models; m++) {
        const away = offsets[m][i] - mean
        squares += away * away
      }
      out[i] = squares / models
    }
    return new Uint32Array(out.buffer, out.byteOffset, out.length)
  }

  /** The differences where they are selected, else 0. */
  selected(block: Block, { low, last }: Selection): Float32Array[] {
    const offsets = this.offsets(block)
    if (low === 0) return offsets
    const keys = this.variances(offsets)
    for (let i = 0; i < keys.length; i++)
      if (keys[i] < low || (keys[i] === low && block.first + i > last))
        for (let m = 0; m < offsets.length; m++) offsets[m][i] = 0
    return offsets
  }
}

/** Elements are selected from this variance on; of those equal to it, the ones up to an index. */
interface Selection {
  readonly low: number
  readonly last: number
}

/** The share `topk` of the elements whose variance is not zero. */
const select = async (tensor: AlignedTensor, views: Views, topk: number): Promise<Selection> => {
  if (topk >= 1) return { low: 0, last: Infinity }
  let nonzero = 0
  const passes: KeyPasses = async function* () {
    for await (const block of tensor.blocks())
      yield { first: block.first, keys: [views.variances(views.offsets(block))] }
  }
  for await (const { keys } of passes()) nonzero += keys[0].length - countEqual(keys[0], 0)
  const kept = Math.floor(nonzero * topk)
  if (kept <= 0) return { low: Infinity, last: -1 }
  const [[bound]] = await ranked(passes, [[tensor.count - kept]])
  const quota = kept - (tensor.count - bound.below - bound.equal)
  if (quota === bound.equal) return { low: bound.key, last: Infinity }
  const [[last]] = await indexOfEqual(passes, [[{ key: bound.key, nth: quota }]])
  return { low: bound.key, last }
}

/** Each model's share of the squares of what is selected. */
const energies = async (tensor: AlignedTensor, views: Views, selection: Selection): Promise<Float32Array> => {
  const sums = new Float64Array(tensor.models)
  for await (const block of tensor.blocks())
    views.selected(block, selection).forEach((offset, m) => {
      let sum = sums[m]
      for (let i = 0; i < offset.length; i++) sum += offset[i] * offset[i]
      sums[m] = sum
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
    const views = new Views()
    const selection = await select(tensor, views, topk)
    return { views, selection, weights: await energies(tensor, views, selection) }
  },
  tensor: (out, block, _, { views, selection, weights }) => {
    const offsets = views.selected(block, selection)
    const base = block.base!
    const models = offsets.length
    for (let i = 0; i < out.length; i++) {
      let sum = 0
      for (let m = 0; m < models; m++) sum = fround(sum + offsets[m][i])
      let merged = 0
      let weight = 0
      for (let m = 0; m < models; m++) {
        const x = offsets[m][i]
        if (x === 0 || x > 0 !== sum >= 0) continue
        merged = fround(merged + fround(x * weights[m]))
        weight = fround(weight + weights[m])
      }
      out[i] = base[i] + fround(merged / Math.max(weight, leastWeight))
    }
  },
})
