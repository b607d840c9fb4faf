/**
 * @file LoKr (KronA, Edalati et al. 2022, arXiv 2212.10650, as LyCORIS and PEFT have it): W + (α / r) C ⊗ D, with
 * C: [l, m] and D: [k, n] where l k = out and m n = in. D is a product [k, r] [r, n] where that is smaller, and with
 * `decomposeBoth` C too. C is zero at first.
 */
import { z } from 'zod'
import { UsageError } from '../../errors.js'
import type { Tensor } from '../../tensor/index.js'
import { adapter } from '../core/adapter.js'
import { kaimingUniform, zeros } from '../core/initial.js'
import { card } from './card.js'
import {
  type LycorisOptions,
  lycorisOptions,
  type LycorisSettings,
  lycorisSettings,
  lycorisTable,
  withoutSome,
} from '../core/lycoris.js'
import type { Site } from '../../models/sites.js'
import type { AdapterMethod, AdapterSpec, Named } from '../core/spec.js'

/** Options of LoKr. */
export interface LokrOptions extends LycorisOptions {
  /** Rows and columns of C: a divisor of every width; -1 (the default): the divisor below and nearest to its root. */
  readonly factor: number
  /** True to take the nearest divisor below where `factor` does not divide, as PEFT does. Default false: an error. */
  readonly nearestFactor: boolean
  /** True to make C a low-rank product too. Default false. */
  readonly decomposeBoth: boolean
}

interface Settings extends LycorisSettings {
  readonly l: number
  readonly k: number
  readonly m: number
  readonly n: number
  readonly decomposeBoth: boolean
}

const options: z.ZodObject = lycorisOptions.extend({
  factor: z
    .number()
    .int()
    .default(-1)
    .describe("rows and columns of the left factor (-1: about the width's root)"),
  nearestFactor: z.boolean().default(false).describe('where factor does not divide, take the nearest below'),
  decomposeBoth: z.boolean().default(false).describe('make the left factor a low-rank product too'),
})

/** `size` as a product of two, the first the largest divisor that is at most its root and `most`. */
const nearestDivisors = (size: number, most: number): [number, number] => {
  let first = 1
  for (let d = 2; d * d <= size && d <= most; d++) if (size % d === 0) first = d
  return [first, size / first]
}

const divided = (size: number, { factor, nearestFactor }: LokrOptions, name: string): [number, number] => {
  if (factor > 0 && size % factor === 0) return [factor, size / factor]
  if (factor === -1 || (factor > 0 && nearestFactor))
    return nearestDivisors(size, factor === -1 ? size : factor)
  throw new UsageError('BadFactor', `lokr: factor ${factor} does not divide ${size}, a width of ${name}`, {
    hint: `Divisors near it: ${nearestDivisors(size, Math.max(factor, 1)).join(' x ')}; -1 chooses by itself.`,
  })
}

/** Whether a factor of this shape is stored as a product. */
const isProduct = (rank: number, rows: number, columns: number): boolean => rank < Math.max(rows, columns) / 2

const factors = (p: Named<Tensor>): { C: Tensor; D: Tensor } => ({
  C: p.C ?? p.Ca.matmul(p.Cb),
  D: p.D ?? p.Da.matmul(p.Db),
})

const spec: AdapterSpec<LokrOptions, Settings> = {
  paper: card,
  peftType: 'LOKR',
  options,
  size: { option: 'rank', kind: 'count' },
  kinds: ['linear'],
  settings(o, site: Site) {
    const [l, k] = divided(site.out, o, site.name)
    const [m, n] = divided(site.in, o, site.name)
    return { ...lycorisSettings(o, site), l, k, m, n, decomposeBoth: o.decomposeBoth }
  },
  parameters: (_, { rank, l, k, m, n, decomposeBoth }) => ({
    ...(decomposeBoth && isProduct(rank, l, m)
      ? {
          Ca: { key: 'lokr_w1_a', shape: [l, rank], initial: zeros },
          Cb: { key: 'lokr_w1_b', shape: [rank, m], initial: kaimingUniform },
        }
      : { C: { key: 'lokr_w1', shape: [l, m], initial: zeros } }),
    ...(isProduct(rank, k, n)
      ? {
          Da: { key: 'lokr_w2_a', shape: [k, rank], initial: kaimingUniform },
          Db: { key: 'lokr_w2_b', shape: [rank, n], initial: kaimingUniform },
        }
      : { D: { key: 'lokr_w2', shape: [k, n], initial: kaimingUniform } }),
  }),
  linear(y, x, p, s, context) {
    // (C ⊗ D) x is C X Dᵀ, with X the [m, n] of x: the product is never made.
    const { C, D } = factors(p)
    const X = x.reshape([...x.shape.slice(0, -1), s.m, s.n])
    const update = C.matmul(X.matmul(D.t())).reshape(y.shape).mul(s.scale)
    return y.add(withoutSome(update, s, context))
  },
  fold(W, p, s) {
    const { C, D } = factors(p)
    const product = C.reshape([s.l, 1, s.m, 1]).mul(D.reshape([1, s.k, 1, s.n]))
    return W.add(product.reshape(W.shape).mul(s.scale))
  },
  peft: {
    ...lycorisTable,
    keys: { ...lycorisTable.keys, decompose_both: 'decomposeBoth', decompose_factor: 'factor' },
    missing: { nearestFactor: true },
    // It scales up what dropout leaves, in training.
    harmless: { ...lycorisTable.harmless, rank_dropout_scale: false },
  },
  lacks: ['bias'],
}

/**
 * LoKr on `base`, a checkpoint or an open model: a model whose parameters are the factors C and D of every target.
 * Throws UsageError for a target that matches nothing and a factor that does not divide.
 */
export const lokr: AdapterMethod<LokrOptions> = adapter(spec)
