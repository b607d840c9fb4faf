/** @file Trained models of one architecture in one coordinate system: aligned to the first, and read as long vectors. */
import type { Checkpoint } from '../../checkpoint/index.js'
import { CheckpointError } from '../../errors.js'
import { type Model, openModel, type WeightSpec } from '../../models/index.js'
import type { OnProgress } from '../../progress.js'
import { sizeOf, type Value, value } from '../../tensor/index.js'
import {
  checkSameTensors,
  matchWeights,
  type Orders,
  permutationGroups,
  readTensors,
  reordered,
  type Tensors,
} from '../../units/permutation/index.js'

/** Some of the tensors of every member, aligned. */
export interface ZooBlock {
  readonly specs: readonly WeightSpec[]
  /** One a member: the tensors' numbers end to end. */
  readonly members: readonly Float32Array[]
}

/** Aligned models. */
export interface Zoo {
  /** The one that the others are aligned to. */
  readonly reference: Model
  readonly count: number
  /** Whether the models have attention heads. */
  readonly transformer: boolean
  /** What a vector holds: trained tensors, weights and then biases; running statistics are not among them. */
  readonly specs: readonly WeightSpec[]
  /** Numbers in a vector. */
  readonly size: number
  /** Mean distance to the reference before and after aligning. */
  readonly distance: { readonly before: number; readonly after: number }
  /** All vectors, some tensors at a time. */
  blocks(): AsyncIterable<ZooBlock>
}

export interface ZooOptions {
  /** Default true. */
  readonly align?: boolean
  /** Whether running statistics count when units are compared. Default false. */
  readonly statistics?: boolean
  readonly seed?: number | string
  readonly signal?: AbortSignal
  readonly onProgress?: OnProgress
}

/** What of a model is in a vector, weights before biases. */
const vectorSpecs = ({ architecture, config }: Model): WeightSpec[] => {
  const trained = architecture
    .table(config)
    .filter(({ kind, tied }) => kind !== 'buffer' && tied === undefined)
  const isBias = ({ name }: WeightSpec): boolean => name.endsWith('bias')
  return [...trained.filter((spec) => !isBias(spec)), ...trained.filter(isBias)]
}

/** The numbers of the named tensors end to end. */
export const flatten = (tensors: Tensors, specs: readonly WeightSpec[]): Float32Array => {
  const out = new Float32Array(specs.reduce((n, { shape }) => n + sizeOf(shape), 0))
  let at = 0
  for (const { name } of specs) {
    out.set(tensors[name].data as Float32Array, at)
    at += tensors[name].data.length
  }
  return out
}

/** The tensors that `flatten` laid end to end. */
export const unflatten = (numbers: Float32Array, specs: readonly WeightSpec[]): Record<string, Value> => {
  const out: Record<string, Value> = {}
  let at = 0
  for (const { name, shape } of specs) {
    out[name] = value(numbers.slice(at, at + sizeOf(shape)), shape, 'float32')
    at += sizeOf(shape)
  }
  return out
}

const distance = (a: Tensors, b: Tensors, specs: readonly WeightSpec[]): number => {
  let sum = 0
  for (const { name } of specs) {
    const [x, y] = [a[name].data as Float32Array, b[name].data as Float32Array]
    for (let i = 0; i < x.length; i++) sum += (x[i] - y[i]) ** 2
  }
  return Math.sqrt(sum)
}

/** Throws CheckpointError naming the member and the tensor that holds NaN or infinity. */
const checkFinite = ({ folder }: Checkpoint, tensors: Tensors, specs: readonly WeightSpec[]): void => {
  for (const { name } of specs)
    if (!(tensors[name].data as Float32Array).every(Number.isFinite))
      throw new CheckpointError(
        'NotFinite',
        `${folder}: tensor ${JSON.stringify(name)} holds NaN or infinity.`,
      )
}

/** As many tensors together as keep all members' numbers below `limit`. */
const chunksOf = (specs: readonly WeightSpec[], count: number, limit = 2 ** 26): WeightSpec[][] => {
  const chunks: WeightSpec[][] = []
  let size = Infinity
  for (const spec of specs) {
    size += count * sizeOf(spec.shape)
    if (size > limit) {
      chunks.push([])
      size = count * sizeOf(spec.shape)
    }
    chunks.at(-1)!.push(spec)
  }
  return chunks
}

/** Vectors of no more than this many numbers together are kept once read. */
const keptNumbers = 2 ** 28

const blocksOf = (
  checkpoints: readonly Checkpoint[],
  orders: readonly Orders[],
  specs: readonly WeightSpec[],
): Zoo['blocks'] => {
  const kept = new Map<WeightSpec[], ZooBlock>()
  const chunks = chunksOf(specs, checkpoints.length)
  const size = checkpoints.length * specs.reduce((n, { shape }) => n + sizeOf(shape), 0)
  const read = async (chunk: WeightSpec[]): Promise<ZooBlock> => {
    const names = new Set(chunk.map(({ name }) => name))
    const members: Float32Array[] = []
    for (const [i, checkpoint] of checkpoints.entries()) {
      const { parameters } = await openModel(checkpoint, { trainable: (name) => names.has(name) })
      const aligned = Object.entries(parameters).map(([name, v]) => [name, reordered(v, orders[i][name])])
      members.push(flatten(Object.fromEntries(aligned) as Tensors, chunk))
    }
    return { specs: chunk, members }
  }
  return async function* () {
    for (const chunk of chunks) {
      const block = kept.get(chunk) ?? (await read(chunk))
      if (size <= keptNumbers) kept.set(chunk, block)
      yield block
    }
  }
}

/**
 * Models aligned to the first of them by permuting units: weight matching (Ainsworth et al. 2022), or, where there are
 * heads, TransFusion, which matches heads by their singular values, then the dimensions inside, and leaves the residual
 * stream as it is. The checkpoints must stay open. Throws CheckpointError where architectures differ or numbers are not
 * finite.
 */
export const openZoo = async (
  checkpoints: readonly Checkpoint[],
  { align = true, statistics, seed, signal, onProgress }: ZooOptions = {},
): Promise<Zoo> => {
  const reference = await openModel(checkpoints[0])
  const specs = vectorSpecs(reference)
  const first = await readTensors(checkpoints[0])
  checkFinite(checkpoints[0], first, specs)
  const all = permutationGroups(reference)
  const hasHeads = all.some(({ insides }) => insides.length > 0)
  const groups = hasHeads ? all.filter(({ name }) => name !== 'residual') : all
  const how = hasHeads ? ({ heads: 'spectra', sweeps: 5 } as const) : {}
  const orders: Orders[] = [{}]
  let [before, after] = [0, 0]
  for (const [i, checkpoint] of checkpoints.entries()) {
    if (i === 0) continue
    checkSameTensors([reference, await openModel(checkpoint)])
    const tensors = await readTensors(checkpoint)
    checkFinite(checkpoint, tensors, specs)
    const aligned = align
      ? await matchWeights(groups, first, tensors, { ...how, statistics, seed, signal })
      : { tensors, orders: {} }
    orders.push(aligned.orders)
    before += distance(first, tensors, specs) / (checkpoints.length - 1)
    after += distance(first, aligned.tensors, specs) / (checkpoints.length - 1)
    onProgress?.({
      status: 'progress',
      name: 'align',
      done: i + 1,
      total: checkpoints.length,
      unit: 'models',
    })
  }
  return {
    reference,
    count: checkpoints.length,
    transformer: hasHeads,
    specs,
    size: specs.reduce((n, { shape }) => n + sizeOf(shape), 0),
    distance: { before, after },
    blocks: blocksOf(checkpoints, orders, specs),
  }
}
