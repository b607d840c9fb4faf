/** @file Sums of task vectors (fine-tuned minus base), whole or sparse, with or without an election of signs. */
import { z } from 'zod'
import { offsetOf } from './gram.js'
import { type AlignedTensor, type Block, merge, type MergeMethod } from './method.js'
import { atRandom, byMagnitude, byRank, type Mask, type Sparsifier } from './sparsify.js'

const { fround } = Math

interface Variant {
  readonly name: string
  readonly sparsifier?: Sparsifier
  /** Elements whose sign is not that of the weighted sum are left out. */
  readonly election?: boolean
  readonly normalize?: boolean
  readonly rescale?: boolean
  /** Further parameters of each model. */
  readonly perModel?: {
    readonly gamma?: z.ZodDefault<z.ZodNumber>
    readonly epsilon?: z.ZodDefault<z.ZodNumber>
  }
}

/** A model's mask, and the factor that gives what it keeps the sum of magnitudes that there was. */
interface Sparse {
  readonly mask?: Mask
  readonly scale: number
}

/** Each model's task vector in a block, sparse. */
const vectorsOf = ({ base, models, first }: Block, sparse: readonly Sparse[]): Float32Array[] =>
  models.map((model, m) => {
    const delta = offsetOf(model, base!)
    const { mask, scale } = sparse[m]
    mask?.(delta, first)
    if (scale !== 1) for (let i = 0; i < delta.length; i++) delta[i] *= scale
    return delta
  })

const sumOfMagnitudes = (delta: Float32Array): number => {
  let sum = 0
  for (let i = 0; i < delta.length; i++) sum += Math.abs(delta[i])
  return sum
}

const rescaled = async (tensor: AlignedTensor, masks: readonly (Mask | undefined)[]): Promise<Sparse[]> => {
  const [before, after] = [masks.map(() => 0), masks.map(() => 0)]
  for await (const { base, models, first } of tensor.blocks())
    models.forEach((model, m) => {
      if (!masks[m]) return
      const delta = offsetOf(model, base!)
      before[m] += sumOfMagnitudes(delta)
      masks[m](delta, first)
      after[m] += sumOfMagnitudes(delta)
    })
  return masks.map((mask, m) => ({
    mask,
    scale: before[m] < 1e-7 || after[m] < 1e-7 ? 1 : fround(before[m] / after[m]),
  }))
}

interface Mixing {
  readonly weights: Float32Array
  readonly election: boolean
  readonly normalize: boolean
  readonly factor: number
}

/** out = base + factor * mix, where mix is the weighted sum of the vectors (or their average, with `normalize`). */
const mix = (
  out: Float32Array,
  base: Float32Array,
  vectors: readonly Float32Array[],
  { weights, election, normalize, factor }: Mixing,
): void => {
  let total = 0
  for (const weight of weights) total = fround(total + weight)
  const whole = Math.abs(total) < 1e-8 ? 1 : total
  const count = vectors.length
  for (let i = 0; i < out.length; i++) {
    let sum = 0
    for (let m = 0; m < count; m++) sum = fround(sum + fround(vectors[m][i] * weights[m]))
    let divisor = whole
    if (election) {
      const positive = sum >= 0
      sum = 0
      divisor = 0
      for (let m = 0; m < count; m++) {
        const weighted = fround(vectors[m][i] * weights[m])
        if (weighted === 0 || weighted > 0 !== positive) continue
        sum = fround(sum + weighted)
        divisor = fround(divisor + weights[m])
      }
      if (divisor === 0) divisor = 1
    }
    if (normalize) sum = fround(sum / divisor)
    out[i] = base[i] + fround(sum * factor)
  }
}

const variant = ({
  name,
  sparsifier,
  election = false,
  normalize = false,
  rescale = false,
  perModel = {},
}: Variant): MergeMethod =>
  merge({
    name,
    base: 'required',
    rows: sparsifier === byRank,
    perModel: { weight: z.number(), density: z.number().min(0).max(1).default(1), ...perModel } as {
      weight: z.ZodNumber
      density: z.ZodDefault<z.ZodNumber>
      gamma: z.ZodDefault<z.ZodNumber>
      epsilon: z.ZodDefault<z.ZodNumber>
    },
    global: {
      normalize: z.boolean().default(normalize),
      rescale: z.boolean().default(rescale),
      lambda: z.number().default(1),
      // How mergekit stores its masks, which Weft has none of: accepted, without effect.
      int8_mask: z.boolean().default(false),
    },
    prepare: async (tensor, p): Promise<Sparse[]> => {
      const masks = sparsifier ? await sparsifier(tensor, p) : p.weight.map(() => undefined)
      const rescales = p.rescale && masks.some((mask) => mask)
      return rescales ? rescaled(tensor, masks) : masks.map((mask) => ({ mask, scale: 1 }))
    },
    tensor: (out, block, p, sparse) =>
      mix(out, block.base!, vectorsOf(block, sparse), {
        weights: Float32Array.from(p.weight),
        election,
        normalize: p.normalize,
        factor: fround(p.lambda),
      }),
  })

const gamma = z.number().min(0).max(1).default(0.01)
const epsilon = z.number().min(0).max(1).default(0.15)

/** Ilharco et al., "Editing Models with Task Arithmetic", 2022. */
export const taskArithmetic: MergeMethod = variant({ name: 'task_arithmetic' })
/** Trim by magnitude, elect signs, average what agrees: Yadav et al., "TIES-Merging", 2023. */
export const ties: MergeMethod = variant({
  name: 'ties',
  sparsifier: byMagnitude,
  election: true,
  normalize: true,
})
/** Drop at random and rescale: Yu et al., "Language Models are Super Mario", 2023. */
export const dareLinear: MergeMethod = variant({ name: 'dare_linear', sparsifier: atRandom, rescale: true })
/** DARE's dropping with TIES' election. */
export const dareTies: MergeMethod = variant({
  name: 'dare_ties',
  sparsifier: atRandom,
  election: true,
  rescale: true,
})
/** Without the smallest and the largest changes: Davari and Belilovsky, "Model Breadcrumbs", 2023. */
export const breadcrumbs: MergeMethod = variant({
  name: 'breadcrumbs',
  sparsifier: byMagnitude,
  perModel: { gamma },
})
/** Breadcrumbs' masks with TIES' election. */
export const breadcrumbsTies: MergeMethod = variant({
  name: 'breadcrumbs_ties',
  sparsifier: byMagnitude,
  election: true,
  perModel: { gamma },
})
/** Drop at random, the small more often: Deep et al., "DELLA-Merging", 2024. */
export const della: MergeMethod = variant({
  name: 'della',
  sparsifier: byRank,
  election: true,
  normalize: true,
  rescale: true,
  perModel: { epsilon },
})
/** DELLA's dropping without an election. */
export const dellaLinear: MergeMethod = variant({
  name: 'della_linear',
  sparsifier: byRank,
  rescale: true,
  perModel: { epsilon },
})
