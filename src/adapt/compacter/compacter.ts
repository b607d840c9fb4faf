/**
 * @file Compacter (Karimi Mahabadi et al. 2021, arXiv 2106.04647): serial adapters whose projections are sums of n Kronecker
 * products, W = Σ A_i ⊗ B_i in R^{in x out}, with A_i: [n, n] (slow: one set for all projections of the model) and
 * B_i = s_i t_i of rank r, s_i: [in / n, r], t_i: [r, out / n] (fast: of each). Its options span a family: only behind the
 * feed-forward part it is Compacter++; with A of each projection's own and a full B the PHM adapter; with n = 1, where there
 * is no A, the low-rank adapter, and with a full B besides the dense one.
 */
import { z } from 'zod'
import { UsageError } from '../../errors.js'
import type { Model } from '../../models/index.js'
import { einsum, type Tensor, type Value } from '../../tensor/index.js'
import { adapter } from '../core/adapter.js'
import { classifiers } from '../core/plan.js'
import {
  type BottleneckOptions,
  bottleneckOptions,
  type BottleneckSettings,
  bottleneckSpec,
  type Projections,
} from '../core/bottleneck.js'
import { card } from './card.js'
import { houlsby } from '../houlsby/houlsby.js'
import { type Initial, normalWith, uniformWithin, zeros } from '../core/initial.js'
import { computed } from '../core/virtual-tokens.js'
import { requireRank, type Site, sitesOf } from '../../models/sites.js'
import type {
  AdaptedModel,
  AdapterMethod,
  AdapterSpec,
  Named,
  ParameterSpec,
  SharedSpec,
} from '../core/spec.js'
import { endsOfParts } from '../../models/sublayers.js'
import { minOf } from '../../tensor/numbers.js'

/** Options of Compacter. */
export interface CompacterOptions extends BottleneckOptions {
  /** Number n of Kronecker products of which a projection is the sum. Default 4. */
  readonly divisions: number
  /** Rank r of each B_i, or 'full' for one matrix in place of two factors. Default 1. */
  readonly rank: number | 'full'
  /** Sharing of the A_i: one set for all projections, or one for each. Default 'shared'. */
  readonly slow: 'shared' | 'own'
  /** True to train the base's norms, and save them with the adapter. Default true. */
  readonly norms: boolean
}

interface Settings extends BottleneckSettings {
  readonly divisions: number
  readonly rank: number | 'full'
  readonly slow: 'shared' | 'own'
}

/** Like all bottlenecks' but for its defaults: `reduction` 32, rounded to a multiple of n, and the approximation of GELU by tanh. */
const options: z.ZodObject = bottleneckOptions('serial', 'both').extend({
  reduction: z
    .number()
    .positive()
    .optional()
    .describe('width divided by the inner width (default: about 32, so that divisions divides)'),
  activation: bottleneckOptions('serial', 'both').shape.activation.default('gelu_new'),
  divisions: z.number().int().positive().default(4).describe('number n of Kronecker products in a sum'),
  rank: z
    .union([z.number().int().positive(), z.literal('full')])
    .default(1)
    .describe("rank of the factors of each projection, or 'full'"),
  slow: z
    .enum(['shared', 'own'])
    .default('shared')
    .describe('whether the n x n factors are one set for all projections'),
  norms: z.boolean().default(true).describe("whether the base's norms train too"),
})

const divisors = (...sizes: readonly number[]): number[] =>
  Array.from({ length: minOf(sizes) }, (_, i) => i + 1).filter((n) => sizes.every((s) => s % n === 0))

const settings = (usual: BottleneckSettings, o: CompacterOptions, site: Site): Settings => {
  const { in: width, bottleneck } = usual
  const { divisions: n, rank, slow } = o
  const fail = (what: string, legal: readonly number[]): never => {
    throw new UsageError(
      'BadDivisions',
      `compacter: ${what} is not divisible by n=${n}; legal n: ${legal.join(',')}`,
      { hint: `n is the option divisions; ${site.name} is ${width} wide.` },
    )
  }
  if (width % n) fail(`width ${width}`, divisors(width))
  if (bottleneck % n) fail(`bottleneck ${bottleneck}`, divisors(width, bottleneck))
  if (rank !== 'full') requireRank('compacter', rank, { ...site, in: width / n, out: bottleneck / n })
  return { ...usual, divisions: n, rank, slow }
}

/** Xavier's uniform numbers, times sqrt(2), of each of n matrices: [n, rows, columns]. */
const glorot = uniformWithin(([, rows, columns]) => Math.sqrt(12 / (rows + columns)))

/** A product of three small factors begins near zero by A; where A is no such factor, the second projection's last one is zero. */
const lastInitial = ({ divisions, slow }: Settings, part: 'down' | 'up'): Initial =>
  part === 'up' && (divisions === 1 || slow === 'own') ? zeros : glorot

/** The parameters of one projection: `rule` A (where it is its own), `left` s and `right` t or `full` B, `bias`. */
const projection = (
  part: 'down' | 'up',
  from: number,
  to: number,
  s: Settings,
): Record<string, ParameterSpec> => {
  const { divisions: n, rank, slow } = s
  const spec = (key: string, shape: number[], initial: Initial): ParameterSpec => ({
    key: `adapter_${part}.${key}`,
    shape,
    initial,
  })
  const [rows, columns] = [from / n, to / n]
  const last = lastInitial(s, part)
  return {
    ...(slow === 'own' && n > 1 && { [`${part}Rule`]: spec('rule', [n, n, n], normalWith(0.01)) }),
    ...(rank === 'full'
      ? { [`${part}Full`]: spec('full', [n, rows, columns], last) }
      : {
          [`${part}Left`]: spec('left', [n, rows, rank], glorot),
          [`${part}Right`]: spec('right', [n, rank, columns], last),
        }),
    [`${part}Bias`]: spec('bias', [to], zeros),
  }
}

/** Σ A_i ⊗ B_i: entry [a P + p, c Q + q] is Σ A_i[a, c] B_i[p, q]. A: [n, n, n] (absent: 1), B: [n, P, Q] -> [n P, n Q]. */
export const kroneckerSum = (A: Tensor | undefined, B: Tensor): Tensor => {
  const [n, rows, columns] = B.shape
  return (A ? einsum('iac,ipq->apcq', A, B) : B).reshape([n * rows, n * columns])
}

/**
 * x Σ A_i ⊗ (s_i t_i) without the matrix: n in + n³ + n out products a token in place of in x out. x: [..., in],
 * A: [n, n, n] (absent: 1), s: [n, in / n, r], t: [n, r, out / n] -> [..., out].
 */
export const kroneckerProduct = (x: Tensor, A: Tensor | undefined, s: Tensor, t: Tensor): Tensor => {
  const [n, rows] = s.shape
  const inner = einsum('zap,ipr->zair', x.reshape([-1, n, rows]), s)
  const mixed = A ? einsum('zair,iac->zcir', inner, A) : inner
  return einsum('zcir,irq->zcq', mixed, t).reshape([...x.shape.slice(0, -1), n * t.shape[2]])
}

const ruleOf = (p: Named<Tensor>, part: 'down' | 'up', { divisions }: Settings): Tensor | undefined =>
  divisions === 1 ? undefined : (p[`${part}Rule`] ?? p.rule)

const projected = (x: Tensor, p: Named<Tensor>, part: 'down' | 'up', s: Settings): Tensor => {
  const rule = ruleOf(p, part, s)
  const y =
    s.rank === 'full'
      ? x.matmul(kroneckerSum(rule, p[`${part}Full`]))
      : kroneckerProduct(x, rule, p[`${part}Left`], p[`${part}Right`])
  return y.add(p[`${part}Bias`])
}

const projections: Projections<CompacterOptions, Settings> = {
  settings,
  parameters: (s) => ({
    ...projection('down', s.in, s.bottleneck, s),
    ...projection('up', s.bottleneck, s.out, s),
  }),
  shared: ({ divisions: n, slow }): Named<SharedSpec> =>
    slow === 'own' || n === 1
      ? {}
      : { rule: { key: 'phm_rule', shape: [n, n, n], initial: normalWith(1e-4), frozen: false } },
  down: (x, p, s) => projected(x, p, 'down', s),
  up: (h, p, s) => projected(h, p, 'up', s),
}

/** Ends of self-attention and of feed-forward parts; a decoder's attention to an encoder has none. */
const placesIn = (base: Model, { placement }: Pick<CompacterOptions, 'placement'>): string[] => {
  const parts = placement === 'both' ? (['attention', 'feed-forward'] as const) : [placement]
  const places = endsOfParts(base, parts).filter((name) => !name.includes('EncDecAttention'))
  if (places.length) return places
  throw new UsageError(
    'NotApplicable',
    `compacter: ${base.architecture.name} has no ${parts.join(' or ')} part for an adapter to follow`,
    { hint: 'Name the modules that adapters stand at: targets.' },
  )
}

/** What the options leave open: the bottleneck, and which norms train. */
const resolve = (base: Model, o: CompacterOptions): Promise<CompacterOptions> => {
  const { divisions: n, bottleneck, reduction, norms, modulesToSave = classifiers(base) } = o
  const names = norms ? sitesOf(base, ['norm']).map(({ name }) => name) : []
  const saved = { ...o, modulesToSave: [...modulesToSave, ...names] }
  if (bottleneck !== undefined || reduction !== undefined) return Promise.resolve(saved)
  const place = o.targets === undefined ? placesIn(base, o)[0] : undefined
  const sites = sitesOf(base, ['linear'])
  const width = (sites.find(({ name }) => name === place) ?? sites[0]).out
  return Promise.resolve({ ...saved, bottleneck: n * Math.max(1, Math.round(width / 32 / n)) })
}

const spec: AdapterSpec<CompacterOptions, Settings> = {
  ...bottleneckSpec<CompacterOptions, Settings>({
    paper: card,
    peftType: 'COMPACTER',
    options,
    arrangement: 'serial',
    projections,
    keys: { divisions: 'divisions', rank: 'rank', slow: 'slow' },
  }),
  size: {
    option: 'bottleneck',
    kind: 'count',
    values: [4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384],
  },
  defaultTargets: placesIn,
  resolve,
}

/**
 * Compacter on `base`, a checkpoint or an open model: 2 (k + b) + k + b numbers an adapter of a width k and bottleneck b at
 * rank 1, n³ once, and the norms. Throws UsageError for a target that matches nothing, an n that divides no width or
 * bottleneck, and a rank above B_i's.
 */
export const compacter: AdapterMethod<CompacterOptions> = adapter(spec)

/**
 * The ordinary serial adapter that does the same, its Kronecker sums multiplied out: k b numbers a projection. It is what
 * programs without Kronecker sums can load. Throws UsageError for a model that no Compacter made.
 */
export const toHoulsby = async ({ plan, parameters }: AdaptedModel): Promise<AdaptedModel> => {
  if (plan.method.peftType !== spec.peftType)
    throw new UsageError('NoBottleneck', `${plan.method.paper.id} has no Kronecker sums to multiply out`)
  const { bottleneck, reduction, activation, scale, modulesToSave, bias } = plan.options as CompacterOptions
  const targets = plan.sites.map(({ site }) => site.name)
  const more = { bottleneck, reduction, activation, scale, modulesToSave, bias }
  const houlsbyOptions = Object.fromEntries(Object.entries(more).filter(([, x]) => x !== undefined))
  const dense = await houlsby(plan.base, { targets, ...houlsbyOptions })
  const values: Record<string, Value> = Object.fromEntries(plan.whole.map((name) => [name, parameters[name]]))
  for (const { site, settings: s, parameters: siteParameters } of plan.sites) {
    const p: Record<string, Value> = Object.fromEntries(
      Object.entries(siteParameters).map(([k, { key }]) => [k, parameters[`${site.name}.${key}`]]),
    )
    const all = 'phm_rule' in parameters ? { ...p, rule: parameters.phm_rule } : p
    for (const part of ['down', 'up'] as const) {
      const name = `${site.name}.adapter_${part}`
      values[`${name}.weight`] = await computed((p) => matrixOf(p, part, s as Settings).t(), all)
      values[`${name}.bias`] = p[`${part}Bias`]
    }
  }
  return dense.with(values)
}

const matrixOf = (p: Named<Tensor>, part: 'down' | 'up', s: Settings): Tensor =>
  kroneckerSum(
    ruleOf(p, part, s),
    s.rank === 'full' ? p[`${part}Full`] : p[`${part}Left`].matmul(p[`${part}Right`]),
  )
