/**
 * @file OFT (Qiu et al. 2023, arXiv 2306.07280), as PEFT has it: W (x R) + b, with R block-diagonal and orthogonal. Each
 * block is the Cayley transform (I - Q) (I + Q)⁻¹ of a skew-symmetric Q, of which the entries above the diagonal train,
 * zero at first.
 */
import { z } from 'zod'
import { UsageError } from '../../errors.js'
import { concat, full, type Tensor, tensor, withGradient } from '../../tensor/index.js'
import { adapter } from '../core/adapter.js'
import { zeros } from '../core/initial.js'
import { card } from './card.js'
import type { Site } from '../../models/sites.js'
import { type AdapterMethod, type AdapterSpec, type CommonOptions, commonOptions } from '../core/spec.js'

/** Options of OFT. */
export interface OftOptions extends CommonOptions {
  /** Width of a block; where it does not divide a module's inputs, the nearest divisor (the lower of two). Default 32. */
  readonly blockSize: number
  /** Number of blocks, in place of their width; adjusted likewise. Default 0: by width. */
  readonly blocks: number
  /** Terms of the Neumann series by which PEFT may approximate the transform. Default 0: the transform itself. */
  readonly series: number
  /** Probability that a block is left unrotated, in training. Default 0. */
  readonly dropout: number
}

interface Settings {
  readonly blocks: number
  readonly size: number
  readonly series: number
  readonly dropout: number
}

const count = z.number().int().nonnegative()

const options: z.ZodObject = commonOptions.extend({
  blockSize: z
    .number()
    .int()
    .min(2)
    .default(32)
    .describe('width of the rotated blocks, or the nearest divisor'),
  blocks: count.default(0).describe('how many blocks, in place of their width'),
  series: count.default(0).describe("terms of PEFT's series for the rotation (0: exact)"),
  dropout: z.number().min(0).lt(1).default(0).describe('share of blocks left unrotated in training'),
})

/** The divisor of `width` that is nearest to `wanted`, the lower of two. */
const nearestDivisor = (width: number, wanted: number): number => {
  const divides = (n: number): boolean => width % n === 0
  let [low, high] = [Math.min(wanted, width), Math.min(wanted, width)]
  while (!divides(low)) low--
  while (!divides(high)) high++
  return wanted - low <= high - wanted ? low : high
}

const settings = (
  { blockSize, blocks, series, dropout }: OftOptions,
  { name, in: width }: Site,
): Settings => {
  const size = blocks ? width / nearestDivisor(width, blocks) : nearestDivisor(width, blockSize)
  if (size >= 2) return { size, blocks: width / size, series, dropout }
  throw new UsageError('BadBlocks', `oft: blocks of ${name}, ${width} wide, would have width ${size}`, {
    hint: 'A rotation needs at least 2: choose another blockSize, or fewer blocks.',
  })
}

const identity = (size: number): Tensor =>
  tensor(
    Array.from({ length: size * size }, (_, i) => (i % (size + 1) === 0 ? 1 : 0)),
    [size, size],
  )

/** Q from the entries above its diagonal, row by row. v: [blocks, size (size - 1) / 2] -> [blocks, size, size]. */
const skew = (v: Tensor, size: number): Tensor => {
  const [blocks, above] = v.shape
  const index = new Int32Array(size * size)
  let next = 1
  for (let i = 0; i < size; i++)
    for (let j = i + 1; j < size; j++, next++) {
      index[i * size + j] = next
      index[j * size + i] = next + above
    }
  const entries = concat([full([blocks, 1], 0), v, v.neg()], 1)
  return entries.gather(tensor(index, [size * size], 'int32'), 1).reshape([blocks, size, size])
}

const swapped = (m: Tensor): Tensor => m.transpose([0, 2, 1])

/** Enough for the inverse of I + Q to float32's precision where the absolute row sums of Q are up to about 100. */
const iterations = 20

/** (I + Q)⁻¹ by Newton's iteration X ← X (2 I - M X), which doubles the digits; Q skew-symmetric, [blocks, size, size]. */
const inverse = withGradient(
  (M) => {
    const bound = M.abs().sum(-1, { keep: true }).max([1, 2], { keep: true }).square()
    const two = identity(M.shape[1]).mul(2)
    let X = swapped(M).div(bound)
    for (let i = 0; i < iterations; i++) X = X.matmul(two.sub(M.matmul(X)))
    return X
  },
  (g, _, X) => [swapped(X).matmul(g).matmul(swapped(X)).neg()],
)

/** PEFT's series: I + 2 Q + 2 Q² + ..., the last power counted once. It turns the other way than the exact transform. */
const seriesOf = (Q: Tensor, terms: number): Tensor => {
  const I = identity(Q.shape[1])
  if (terms < 2) return I.expand(Q.shape)
  const first = I.add(Q.mul(2))
  if (terms === 2) return first
  let power = Q.matmul(Q)
  let sum = first.add(power.mul(2))
  for (let n = 3; n < terms - 1; n++) {
    power = power.matmul(Q)
    sum = sum.add(power.mul(2))
  }
  return sum.add(power.matmul(Q))
}

/** The blocks of R: [blocks, size, size]. With X = (I + Q)⁻¹, (I - Q) X is 2 X - I. */
const rotation = (v: Tensor, { size, series }: Settings): Tensor => {
  const Q = skew(v, size)
  const I = identity(size)
  return series ? seriesOf(Q, series) : inverse(Q.add(I)).mul(2).sub(I)
}

/** Each block of the last axis times its matrix. x: [..., blocks * size], R: [blocks, size, size]. */
const rotated = (x: Tensor, R: Tensor): Tensor => {
  const [blocks, size] = R.shape
  const parts = x.reshape([-1, blocks, size]).transpose([1, 0, 2])
  return parts.matmul(R).transpose([1, 0, 2]).reshape(x.shape)
}

const spec: AdapterSpec<OftOptions, Settings> = {
  paper: card,
  peftType: 'OFT',
  options,
  kinds: ['linear'],
  settings,
  parameters: (_, { blocks, size }) => ({
    v: { key: 'oft_R.weight', shape: [blocks, (size * (size - 1)) / 2], initial: zeros },
  }),
  linear(_, x, { v }, s, { base, dropout }) {
    const R = rotation(v, s)
    if (!s.dropout) return base(rotated(x, R))
    const kept = dropout(full([s.blocks, 1, 1], 1), s.dropout)
      .greater(0)
      .cast('float32')
    const I = identity(s.size)
    return base(rotated(x, R.sub(I).mul(kept).add(I)))
  },
  fold: (W, { v }, s) => rotated(W, swapped(rotation(v, s))),
  blocks: () => ['out'],
  peft: {
    keys: {
      module_dropout: 'dropout',
      oft_block_size: {
        option: 'blockSize',
        write: (size, { blocks }) => (blocks ? 0 : size),
        read: (json) => (json === 0 ? undefined : (json as number)),
      },
      r: 'blocks',
      num_cayley_neumann_terms: { option: 'series', write: (terms) => terms || 5, read: () => undefined },
      use_cayley_neumann: {
        option: 'series',
        write: (terms) => terms > 0,
        read: (used, { num_cayley_neumann_terms: terms }) => (used ? ((terms as number | null) ?? 5) : 0),
      },
    },
    derived: ({ sites }) => ({ fan_in_fan_out: sites.some(({ transposed }) => transposed) }),
    missing: { series: 5 },
    unused: { block_share: false, coft: false },
    harmless: { eps: 6e-5, init_weights: true },
  },
}

/**
 * OFT on `base`, a checkpoint or an open model: a model whose parameters are the entries of Q of every target. Throws
 * UsageError for a target that matches nothing and blocks of a single number.
 */
export const oft: AdapterMethod<OftOptions> = adapter(spec)
