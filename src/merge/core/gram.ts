/** @file Inner products between the models' tensors, and the merges that are combinations found from them alone. */
import { difference, distances, roomBeside } from '../../stream/kernels/index.js'
import type { AlignedTensor, Block } from './method.js'

/** Inner products of k vectors, [k][k]. */
export type Gram = readonly Float64Array[]

/**
 * The inner products of a tensor's models (`of: 'models'`), of base and models with the base first (`'all'`), or of the
 * models' differences from the base (`'offsets'`); added up in float64.
 */
export const gramOf = async (tensor: AlignedTensor, of: 'models' | 'all' | 'offsets'): Promise<Gram> => {
  const size = tensor.models + (of === 'all' ? 1 : 0)
  const gram = Array.from({ length: size }, () => new Float64Array(size))
  for await (const block of tensor.blocks()) addGram(gram, vectorsOf(block, of))
  return gram
}

const vectorsOf = ({ base, models }: Block, of: 'models' | 'all' | 'offsets'): readonly Float32Array[] => {
  if (of === 'models' || !base) return models
  return of === 'all' ? [base, ...models] : models.map((model) => offsetOf(model, base))
}

/** model - base. */
export const offsetOf = (model: Float32Array, base: Float32Array): Float32Array => {
  const out = new Float32Array(model.length)
  for (let i = 0; i < out.length; i++) out[i] = model[i] - base[i]
  return out
}

/** Of every model, what `of` makes of it and the base in memory that its next call uses again: fresh arrays would cost more. */
const inPlace = <T>(
  of: (room: Float32Array, model: Float32Array, base: Float32Array) => T,
): ((block: Block) => T[]) => {
  const rooms: ((x: Float32Array) => Float32Array)[] = []
  return ({ base, models }) => models.map((model, m) => of((rooms[m] ??= roomBeside())(model), model, base!))
}

/** A function that gives the models' differences from the base in a block, in memory that its next call uses again. */
export const offsetsInPlace = (): ((block: Block) => Float32Array[]) =>
  inPlace((room, model, base) => {
    difference(room, model, base)
    return room
  })

/** The same of the bits of their magnitudes, which are integers of the same order. */
export const distancesInPlace = (): ((block: Block) => Uint32Array[]) => inPlace(distances)

const addGram = (gram: Gram, vectors: readonly Float32Array[]): void => {
  for (let a = 0; a < vectors.length; a++)
    for (let b = a; b < vectors.length; b++) {
      const x = vectors[a]
      const y = vectors[b]
      let sum = 0
      for (let i = 0; i < x.length; i++) sum += x[i] * y[i]
      gram[a][b] += sum
      if (a !== b) gram[b][a] += sum
    }
}

/** The squared length of the combination `c` of the vectors. */
export const squaredNorm = (gram: Gram, c: readonly number[]): number =>
  Math.max(
    0,
    c.reduce((sum, ca, a) => sum + ca * c.reduce((inner, cb, b) => inner + gram[a][b] * cb, 0), 0),
  )

/** The inner product of vector `index` with the combination `c`. */
export const innerWith = (gram: Gram, index: number, c: readonly number[]): number =>
  c.reduce((sum, value, b) => sum + gram[index][b] * value, 0)

/** out = the sum of coefficients[m] * vectors[m], added up in float64 and rounded once. */
export const combine = (
  out: Float32Array,
  vectors: readonly Float32Array[],
  coefficients: readonly number[],
): void => {
  for (let i = 0; i < out.length; i++) {
    let sum = 0
    for (let m = 0; m < vectors.length; m++) sum += coefficients[m] * vectors[m][i]
    out[i] = sum
  }
}

/** out = base + the sum of coefficients[m] * (models[m] - base); without a base, of coefficients[m] * models[m]. */
export const combineAround = (
  out: Float32Array,
  { base, models }: Block,
  coefficients: readonly number[],
): void => {
  if (!base) return combine(out, models, coefficients)
  const rest = 1 - coefficients.reduce((sum, c) => sum + c, 0)
  combine(out, [base, ...models], [rest, ...coefficients])
}
