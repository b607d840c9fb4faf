/**
 * @file A base of four bits, as QLoRA has it (Dettmers et al. 2023, arXiv 2305.14314): the weights of linear modules in NF4,
 * blocks of 64 with a magnitude each, which are themselves rounded to eight bits in blocks of 256 where quantisation is
 * double. The packed weights are what programs hold; products and their gradients unpack them as they go. The head, and
 * tensors that are tied to others, stay as they are.
 */
import { UsageError } from '../../errors.js'
import { answering, layoutsOf, type Model } from '../../models/index.js'
import {
  bound,
  dequantizeBnb4,
  dequantizeBnb4Weights,
  matmulBnb4,
  type MemorySource,
  quantizeBnb4,
  type Tensor,
  value,
  type Value,
} from '../../tensor/index.js'
import { baseTensor, type Rewritten, transposed } from '../../models/stored.js'
import { heads, type Site, sitesOf } from '../../models/sites.js'

/** Options of rounding to NF4. */
export interface Nf4Options {
  /** Round the blocks' magnitudes too. Default true. */
  readonly double?: boolean
}

/** Of one weight [out, in]. */
interface Packed {
  readonly site: Site
  readonly codes: MemorySource
  /** The magnitude of each block of 64; or eight bits of it, with a step for each 256 and what to add to all. */
  readonly magnitudes: MemorySource
  readonly steps?: MemorySource
  readonly mean: number
}

const blockSize = 64
const magnitudeBlock = 256

const held = (v: Value): MemorySource => ({ kind: 'memory', dtype: v.dtype, shape: v.shape, value: v })

/** Magnitudes in 255 steps around their mean, a step for each `magnitudeBlock`. */
const rounded = (magnitudes: Float32Array): Pick<Packed, 'magnitudes' | 'steps' | 'mean'> => {
  const mean = Math.fround(magnitudes.reduce((sum, x) => sum + x, 0) / magnitudes.length)
  const steps = new Float32Array(Math.ceil(magnitudes.length / magnitudeBlock))
  for (const [i, x] of magnitudes.entries()) {
    const block = Math.floor(i / magnitudeBlock)
    steps[block] = Math.max(steps[block], Math.abs(x - mean) / 127)
  }
  const codes = Uint8Array.from(magnitudes, (x, i) => {
    const step = steps[Math.floor(i / magnitudeBlock)]
    return step ? Math.round((x - mean) / step) + 128 : 128
  })
  return {
    magnitudes: held(value(codes, [codes.length], 'uint8')),
    steps: held(value(steps, [steps.length], 'float32')),
    mean,
  }
}

/** The magnitudes, as numbers. */
const magnitudesOf = ({ magnitudes, steps, mean }: Packed): Float32Array => {
  const { data } = magnitudes.value
  if (!steps) return data as Float32Array
  const step = steps.value.data as Float32Array
  return Float32Array.from(data as Uint8Array, (code, i) =>
    Math.fround(Math.fround((code - 128) * step[Math.floor(i / magnitudeBlock)]) + mean),
  )
}

/** The same in a program. */
const magnitudesIn = ({ magnitudes, steps, mean }: Packed): Tensor => {
  const codes = bound(magnitudes)
  if (!steps) return codes
  const [count] = codes.shape
  const [blocks] = steps.shape
  const each = bound(steps).unsqueeze(1).expand([blocks, magnitudeBlock]).reshape([-1]).slice(0, 0, count)
  return codes.cast('float32').sub(128).mul(each).add(mean)
}

const pack = async (base: Model, site: Site, { double = true }: Nf4Options): Promise<Packed> => {
  const stored = await baseTensor(base, `${site.name}.weight`)
  const { data, shape } = site.transposed ? transposed(stored) : stored
  const { packed, absmax } = quantizeBnb4(data as Float32Array, [shape[0], shape[1]], { blockSize })
  const codes = held(packed)
  if (double) return { site, codes, ...rounded(absmax.data as Float32Array) }
  return { site, codes, magnitudes: held(absmax), mean: 0 }
}

/** What programs hold of it. */
const bytesOf = ({ codes, magnitudes, steps }: Packed): number =>
  [codes, magnitudes, steps].reduce((sum, source) => sum + (source?.value.data.byteLength ?? 0), 0)

/** A model whose linear weights are packed. */
export interface Nf4Model extends Model, Rewritten {
  /** Bytes that programs hold of the linear module `name`; undefined where it is as it was. */
  bytes(name: string): number | undefined
}

/** The weight that is computed with, in the layout of the file. */
const unpacked = (packed: Packed): Value => {
  const { site, codes } = packed
  const absmax = magnitudesOf(packed)
  const shape = [site.out, site.in] as const
  const stored = { packed: codes.value, absmax: value(absmax, [absmax.length], 'float32') }
  const W = value(dequantizeBnb4(stored, shape, { blockSize }), shape, 'float32')
  return site.transposed ? transposed(W) : W
}

/**
 * `base` with the weights of its linear modules in NF4. Its tensors, and what is folded into them, are the rounded ones.
 * Throws UsageError for a base that trains, and for an adapted one.
 */
export const nf4 = async (base: Model & Rewritten, options: Nf4Options = {}): Promise<Nf4Model> => {
  if ('plan' in base || Object.keys(base.parameters).length > 0)
    throw new UsageError('CannotQuantize', `${base.checkpoint.folder}: a base that trains is not quantised`, {
      hint: 'Save or fold it first, and open the folder.',
    })
  const table = base.architecture.table(base.config)
  const tied = new Set(table.flatMap(({ name, tied }) => (tied === undefined ? [] : [name, tied])))
  const sites = sitesOf(base, ['linear']).filter(
    ({ name }) => !heads.has(name) && !tied.has(`${name}.weight`),
  )
  const packed = new Map<string, Packed>()
  for (const site of sites) packed.set(site.name, await pack(base, site, options))
  const byWeight = new Map([...packed].map(([name, weight]) => [`${name}.weight`, weight]))
  const assemble = (): Nf4Model => ({
    ...base,
    bytes: (name) => (packed.has(name) ? bytesOf(packed.get(name)!) : undefined),
    rewritten: (name) => {
      const packedWeight = byWeight.get(name)
      return packedWeight ? unpacked(packedWeight) : base.rewritten?.(name)
    },
    with: () => assemble(),
    weights(parameters, trace) {
      const below = base.weights(parameters, trace)
      const tensor = (name: string): Tensor => {
        const packedWeight = byWeight.get(name)
        if (!packedWeight) return below.tensor(name)
        const { site } = packedWeight
        const operands = { packed: bound(packedWeight.codes), absmax: magnitudesIn(packedWeight) }
        const W = dequantizeBnb4Weights(operands, [site.out, site.in], { blockSize })
        return site.transposed ? W.t() : W
      }
      const linear = (name: string, x: Tensor): Tensor => {
        const packedWeight = packed.get(name)
        if (!packedWeight) return below.linear(name, x)
        const y = matmulBnb4(
          x,
          { packed: bound(packedWeight.codes), absmax: magnitudesIn(packedWeight) },
          packedWeight.site.out,
          {
            blockSize,
          },
        )
        return below.has(`${name}.bias`) ? y.add(below.tensor(`${name}.bias`)) : y
      }
      return answering(below, { tensor, linear }, layoutsOf(table))
    },
  })
  return assemble()
}
