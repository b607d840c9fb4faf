/** @file Sums of task vectors (fine-tuned minus base), whole or sparse, with or without an election of signs. */
import { z } from 'zod'
import { offsetsInPlace } from '../core/gram.js'
import { divide, divideEach, elect, plus, roomBeside, scaled } from '../../stream/kernels/index.js'
import { type AlignedTensor, type Block, merge, type MergeMethod } from '../core/method.js'
import { atRandom, byMagnitude, byRank, type Mask, type Sparsifier } from './sparsify.js'

const { fround } = Math

interface Variant {
  readonly name: string
  readonly summary: string
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
  /** Further parameters of the merge. */
  readonly global?: Partial<typeof masks>
  readonly unlessGiven?: Readonly<Record<string, number | boolean>>
}

/** Parameters of the masks of Model Breadcrumbs. */
const masks = {
  paper_masks: z
    .boolean()
    .default(false)
    .describe(
      "the paper's masks, not mergekit's, which empty tensors of which gamma is less than an element",
    ),
  row_wise: z
    .boolean()
    .default(false)
    .describe("of the paper's masks: rank each row of the last axis by itself, as its code does"),
  mask_vectors: z.boolean().default(true).describe("of the paper's masks: mask vectors (biases, norms) too"),
}

/** A model's mask, and the factor that gives what it keeps the sum of magnitudes that there was. */
interface Sparse {
  readonly mask?: Mask
  readonly scale: number
}

/** What is known of a tensor after the first pass. */
interface State {
  readonly sparse: readonly Sparse[]
  readonly offsets: (block: Block) => Float32Array[]
  readonly room: (block: Float32Array) => Float32Array
}

/** Each model's task vector in a block, sparse, times its weight. */
const vectorsOf = (block: Block, { sparse, offsets }: State, weights: Float32Array): Float32Array[] => {
  const vectors = offsets(block)
  vectors.forEach((delta, m) => {
    const { mask, scale } = sparse[m]
    mask?.(delta, block.first)
    if (scale !== 1) scaled(delta, delta, scale)
    if (weights[m] !== 1) scaled(delta, delta, weights[m])
  })
  return vectors
}

const sumOfMagnitudes = (delta: Float32Array): number => {
  let sum = 0
  for (let i = 0; i < delta.length; i++) sum += Math.abs(delta[i])
  return sum
}

const rescaled = async (tensor: AlignedTensor, masks: readonly (Mask | undefined)[]): Promise<Sparse[]> => {
  const before = masks.map(() => 0)
  const after = masks.map(() => 0)
  const offsets = offsetsInPlace()
  for await (const block of tensor.blocks())
    offsets(block).forEach((delta, m) => {
      const mask = masks[m]
      if (!mask) return
      before[m] += sumOfMagnitudes(delta)
      mask(delta, block.first)
      after[m] += sumOfMagnitudes(delta)
    })
  return masks.map((mask, m) => ({
    mask,
    scale: before[m] < 1e-7 || after[m] < 1e-7 ? 1 : fround(before[m] / after[m]),
  }))
}

/** out = the sum of the vectors, each addition rounded to float32. */
const sum = (out: Float32Array, vectors: readonly Float32Array[]): void => {
  out.set(vectors[0])
  for (const vector of vectors.slice(1)) plus(out, vector)
}

/** Zeroes what does not have the sign of `total`, and gives the sum of the weights of what is left at each element. */
const elected = (
  vectors: readonly Float32Array[],
  total: Float32Array,
  weights: Float32Array,
  divisors: Float32Array,
): Float32Array => {
  divisors.fill(0)
  vectors.forEach((vector, m) => elect(vector, total, divisors, weights[m]))
  return divisors
}

interface Mixing {
  readonly weights: Float32Array
  readonly election: boolean
  readonly normalize: boolean
  readonly factor: number
  /** Numbers to work with, as many as in a block. */
  readonly room: (block: Float32Array) => Float32Array
}

/** out = base + factor * mix, where mix is the sum of the weighted vectors (or their average, with `normalize`). */
const mix = (
  out: Float32Array,
  base: Float32Array,
  vectors: readonly Float32Array[],
  { weights, election, normalize, factor, room }: Mixing,
): void => {
  sum(out, vectors)
  const divisors = election ? elected(vectors, out, weights, room(out)) : undefined
  if (election) sum(out, vectors)
  const total = weights.reduce((a, b) => fround(a + b), 0)
  const whole = Math.abs(total) < 1e-8 ? 1 : total
  if (normalize && divisors) divideEach(out, divisors)
  else if (normalize && whole !== 1) divide(out, whole)
  if (factor !== 1) scaled(out, out, factor)
  plus(out, base)
}

const density = z.number().min(0).max(1).default(1).describe('share of the elements that is kept')

const variant = ({
  sparsifier,
  election = false,
  normalize = false,
  rescale = false,
  perModel = {},
  global = {},
  ...about
}: Variant): MergeMethod =>
  merge({
    ...about,
    module: import.meta.url,
    base: 'required',
    rows: sparsifier === byRank || 'row_wise' in global,
    random: sparsifier === atRandom || sparsifier === byRank,
    example: sparsifier ? { weight: 0.5, density: 0.5 } : { weight: 0.5 },
    perModel: {
      weight: z.number().describe("each model's weight"),
      // Without a mask there is nothing that a density could say.
      ...(sparsifier && { density }),
      ...perModel,
    } as {
      weight: z.ZodNumber
      density: z.ZodDefault<z.ZodNumber>
      gamma: z.ZodDefault<z.ZodNumber>
      epsilon: z.ZodDefault<z.ZodNumber>
    },
    global: {
      normalize: z.boolean().default(normalize).describe('divide by the sum of the weights'),
      rescale: z
        .boolean()
        .default(rescale)
        .describe('give what is kept the sum of magnitudes that there was'),
      lambda: z.number().default(1).describe('factor of the merged task vector'),
      // How mergekit stores its masks, which Weft has none of: accepted, without effect.
      int8_mask: z.boolean().default(false).describe("mergekit's storage of masks; no effect here"),
      ...(global as typeof masks),
    },
    remark: (count, { density, gamma, paper_masks: isPaper }) =>
      !isPaper && gamma?.some((share, m) => density[m] < 1 && Math.floor(share * count) === 0)
        ? 'gamma is less than one element, so that (as in mergekit) the whole task vector is left out'
        : undefined,
    prepare: async (tensor, p): Promise<State> => {
      const masks = sparsifier ? await sparsifier(tensor, p) : p.weight.map(() => undefined)
      const rescales = p.rescale && masks.some((mask) => mask)
      const sparse = rescales ? await rescaled(tensor, masks) : masks.map((mask) => ({ mask, scale: 1 }))
      return { sparse, offsets: offsetsInPlace(), room: roomBeside() }
    },
    tensor: (out, block, p, state) => {
      const weights = Float32Array.from(p.weight)
      mix(out, block.base!, vectorsOf(block, state, weights), {
        weights,
        election,
        normalize: p.normalize,
        factor: fround(p.lambda),
        room: state.room,
      })
    },
  })

const gamma = z
  .number()
  .min(0)
  .max(1)
  .default(0.01)
  .describe('share of the largest elements that is left out')
const epsilon = z
  .number()
  .min(0)
  .max(1)
  .default(0.15)
  .describe('how far chances of being kept spread around the density')

/** What holds where Breadcrumbs is named without a recipe: the paper's masks and shares. */
const byPaper = { paper_masks: true, density: 0.15, gamma: 0.006 }

/** Ilharco et al., "Editing Models with Task Arithmetic", 2022. */
export const taskArithmetic: MergeMethod = variant({
  name: 'task_arithmetic',
  summary: "the base plus the weighted sum of the models' changes",
})
/** Trim by magnitude, elect signs, average what agrees: Yadav et al., "TIES-Merging", 2023. */
export const ties: MergeMethod = variant({
  name: 'ties',
  summary:
    "of each model's change the largest numbers; a sign is elected for each place, and those that agree are averaged",
  sparsifier: byMagnitude,
  election: true,
  normalize: true,
})
/** Drop at random and rescale: Yu et al., "Language Models are Super Mario", 2023. */
export const dareLinear: MergeMethod = variant({
  name: 'dare_linear',
  summary: "of each model's change a random share, scaled up, in a weighted sum",
  sparsifier: atRandom,
  rescale: true,
})
/** DARE's dropping with TIES' election. */
export const dareTies: MergeMethod = variant({
  name: 'dare_ties',
  summary: "of each model's change a random share, scaled up, where the elected sign is theirs",
  sparsifier: atRandom,
  election: true,
  rescale: true,
})
/**
 * Without the smallest and the largest changes: Davari and Belilovsky, "Model Breadcrumbs", 2023. A recipe gets mergekit's
 * masks, unless it says `paper_masks: true`; the method by its name gets the paper's, unless it is told otherwise.
 */
export const breadcrumbs: MergeMethod = variant({
  name: 'breadcrumbs',
  summary: "of each model's change neither the smallest nor the very largest numbers, in a weighted sum",
  sparsifier: byMagnitude,
  perModel: { gamma },
  global: masks,
  unlessGiven: byPaper,
})
/** Breadcrumbs' masks with TIES' election. */
export const breadcrumbsTies: MergeMethod = variant({
  name: 'breadcrumbs_ties',
  summary:
    "of each model's change neither the smallest nor the very largest numbers, where the elected sign is theirs",
  sparsifier: byMagnitude,
  election: true,
  perModel: { gamma },
  global: masks,
  unlessGiven: byPaper,
})
/** Drop at random, the small more often: Deep et al., "DELLA-Merging", 2024. */
export const della: MergeMethod = variant({
  name: 'della',
  summary:
    "of each model's change a random share, large numbers with more chance, where the elected sign is theirs",
  sparsifier: byRank,
  election: true,
  normalize: true,
  rescale: true,
  perModel: { epsilon },
})
/** DELLA's dropping without an election. */
export const dellaLinear: MergeMethod = variant({
  name: 'della_linear',
  summary: "of each model's change a random share, large numbers with more chance, in a weighted sum",
  sparsifier: byRank,
  rescale: true,
  perModel: { epsilon },
})
