/**
 * @file AdaLoRA (Zhang et al. 2023, arXiv 2303.10512): W x + (α / r) P diag(λ) Q x, with P: [out, r], Q: [r, in] and λ: [r]
 * zero at first. While it trains, the least important of all triplets (a column of P, its λ, a row of Q) lose their λ, until
 * there are `target` a module on average; a penalty keeps P and Q near orthogonal.
 */
import { z } from 'zod'
import type { JsonObject } from '../../checkpoint/index.js'
import { UsageError } from '../../errors.js'
import { tensor, type Tensor, toNumbers, value, type Value } from '../../tensor/index.js'
import type { Objective, Training } from '../../train/index.js'
import { adapter } from '../core/adapter.js'
import { card } from './card.js'
import { type Allocation, scored, triplets, type TripletNames } from './allocation.js'
import { normalWith, zeros } from '../core/initial.js'
import { loraHarmless, loraVariants } from '../core/lora-keys.js'
import { tokenKey, type TokenOptions, tokenOptions } from '../core/token-options.js'
import { requireRank, type Site } from '../../models/sites.js'
import {
  type AdapterMethod,
  type AdapterSpec,
  type CommonOptions,
  commonOptions,
  type Named,
  type Plan,
} from '../core/spec.js'

/** Options of AdaLoRA. */
export interface AdaloraOptions extends CommonOptions, Allocation, TokenOptions {
  /** Rank r of every module before anything is pruned. Default 12. */
  readonly rank: number
  /** Scale α: the update is multiplied by α / r, with the first r. Default 8. */
  readonly alpha: number
  /** Dropout probability on the update's input, in [0, 1). Default 0. */
  readonly dropout: number
  /** Weight of the penalty on P and Q, the mean of their distances from orthogonal ones. Default 0.5. */
  readonly orthogonality: number
  /** Triplets that modules still have, by their names: those of an adapter that was pruned. */
  readonly kept: Readonly<Record<string, readonly boolean[]>>
}

interface Settings {
  /** How many triplets there are. */
  readonly rank: number
  /** s. */
  readonly scale: number
  readonly dropout: number
}

const count = z.number().int().nonnegative()
const decay = z.number().gt(0).lt(1)

const options: z.ZodObject = commonOptions.extend({
  rank: z.number().int().positive().default(12).describe('rank r of every module at first'),
  target: z.number().int().positive().default(8).describe('mean rank of the modules at the end'),
  alpha: z.number().positive().default(8).describe('the update is scaled by alpha / rank'),
  dropout: z.number().min(0).lt(1).default(0).describe("dropout on the update's input"),
  initialSteps: count.optional().describe('steps before anything is pruned (default: a tenth)'),
  finalSteps: count.optional().describe('steps after everything is pruned (default: three tenths)'),
  interval: z.number().int().positive().default(1).describe('steps from one pruning to the next'),
  totalSteps: z.number().int().positive().optional().describe('length of the schedule (default: of the run)'),
  sensitivityDecay: decay.default(0.85).describe('of the running mean of sensitivities'),
  uncertaintyDecay: decay.default(0.85).describe('of the running mean of their uncertainty'),
  orthogonality: z
    .number()
    .nonnegative()
    .default(0.5)
    .describe('weight of the penalty that keeps P and Q orthogonal'),
  ...tokenOptions,
  kept: z.record(z.string(), z.array(z.boolean())).default({}).describe('triplets that modules still have'),
})

const settings = (o: AdaloraOptions, site: Site): Settings => {
  if (o.target > o.rank)
    throw new UsageError(
      'BadOption',
      `adalora: target ${o.target} is above the rank ${o.rank} from which it prunes`,
    )
  const rank = o.kept[site.name]?.filter(Boolean).length ?? o.rank
  return { rank, scale: o.alpha / (o.rank + 1e-5), dropout: o.dropout }
}

const keys = { A: 'lora_A', E: 'lora_E', B: 'lora_B' } as const

const namesAt = ({ site }: { readonly site: Site }): TripletNames => ({
  A: `${site.name}.${keys.A}`,
  E: `${site.name}.${keys.E}`,
  B: `${site.name}.${keys.B}`,
})

/** ||M - 1||, the root of the sum of squares, for a square matrix M. */
const distanceFromIdentity = (M: Tensor): Tensor => {
  const [n] = M.shape
  const identity = tensor(
    Array.from({ length: n * n }, (_, i) => Number(i % (n + 1) === 0)),
    [n, n],
  )
  return M.sub(identity.cast(M.dtype)).square().sum().sqrt()
}

/** Σ (||Q Qᵀ - 1|| + ||Pᵀ P - 1||) / (2 modules): the mean over the matrices. */
const penalty = ({ sites }: Plan, parameters: Named<Tensor>): Tensor =>
  sites
    .map(namesAt)
    .flatMap(({ A, B }) => [
      distanceFromIdentity(parameters[A].matmul(parameters[A].t())),
      distanceFromIdentity(parameters[B].t().matmul(parameters[B])),
    ])
    .reduce((sum, d) => sum.add(d))
    .div(2 * sites.length)

const training = (plan: Plan, o: AdaloraOptions): Training => {
  const sites = plan.sites.map(namesAt)
  return {
    objective: (usual): Objective => ({
      ...usual,
      loss(parameters, batch, trace) {
        const loss = usual.loss(parameters, batch, trace)
        return { ...loss, loss: loss.loss.add(penalty(plan, parameters).mul(o.orthogonality)) }
      },
      optimizer: scored(usual.optimizer, sites, o),
    }),
    ...triplets(sites, o),
  }
}

/** Columns (axis 1) or rows (axis 0) of a matrix that are kept. */
const selected = ({ data, shape: [rows, columns] }: Value, kept: readonly boolean[], axis: 0 | 1): Value => {
  const stays = (i: number): boolean => kept[axis === 0 ? Math.floor(i / columns) : i % columns]
  const count = kept.filter(Boolean).length
  const numbers = Float32Array.from(data as Float32Array).filter((_, i) => stays(i))
  return value(numbers, axis === 0 ? [count, columns] : [rows, count], 'float32')
}

/** The adapter without the triplets whose λ is zero; nothing is left out before training moved any. */
const pruned = (plan: Plan, parameters: Readonly<Record<string, Value>>, o: AdaloraOptions) => {
  const sites = plan.sites.map((at) => ({ name: at.site.name, ...namesAt(at) }))
  const alive = (name: string): boolean[] => Array.from(toNumbers(parameters[name]), (x) => x !== 0)
  const untrained = !sites.some(({ E }) => alive(E).includes(true))
  if (untrained || sites.every(({ E }) => !alive(E).includes(false))) return { options: {}, parameters }
  const left = { ...parameters }
  const kept: Record<string, boolean[]> = {}
  for (const { name, A, E, B } of sites) {
    const directions = alive(E)
    // A module that lost all keeps one that does nothing: an empty tensor would be no adapter.
    if (!directions.includes(true)) directions[0] = true
    const before = o.kept[name] ?? directions.map(() => true)
    const places = before.flatMap((was, i) => (was ? [i] : []))
    kept[name] = before.map((_, i) => directions[places.indexOf(i)] ?? false)
    for (const [parameter, axis] of [
      [A, 0],
      [E, 0],
      [B, 1],
    ] as const)
      left[parameter] = selected(parameters[parameter], directions, axis)
  }
  return { options: { kept }, parameters: left }
}

/** By module, from PEFT's 'module.lora_E' (which may carry the adapter's name). */
const keptFrom = (pattern: unknown): Record<string, boolean[]> =>
  Object.fromEntries(
    Object.entries((pattern ?? {}) as Record<string, boolean[]>).map(([name, kept]) => [
      name.replace(/\.lora_E(\.\w+)?$/, ''),
      kept,
    ]),
  )

const rankPattern = (kept: AdaloraOptions['kept'] = {}): JsonObject | null => {
  const entries = Object.entries(kept).map(([name, bits]): [string, boolean[]] => [
    `${name}.${keys.E}`,
    [...bits],
  ])
  return entries.length ? Object.fromEntries(entries) : null
}

/** What LoRA of PEFT has beside its variants, and AdaLoRA has not. */
const otherVariants: JsonObject = {
  ensure_weight_tying: false,
  lora_bias: false,
  target_parameters: null,
  use_dora: false,
  use_rslora: false,
}

const spec: AdapterSpec<AdaloraOptions, Settings> = {
  paper: card,
  peftType: 'ADALORA',
  options,
  size: { option: 'rank', kind: 'count' },
  kinds: ['linear'],
  tokens: ({ trainableTokens }) => trainableTokens,
  fits: ({ rank }, site) => requireRank('adalora', rank, site),
  settings,
  parameters: ({ in: width, out }, { rank: r }) => ({
    A: { key: keys.A, shape: [r, width], initial: normalWith(0.02), axes: [undefined, 'in'] },
    E: { key: keys.E, shape: [r, 1], initial: zeros },
    B: { key: keys.B, shape: [out, r], initial: normalWith(0.02), axes: ['out', undefined] },
  }),
  linear: (y, x, { A, E, B }, s, { dropout }) =>
    y.add(dropout(x, s.dropout).matmul(A.mul(E).t()).matmul(B.t()).mul(s.scale)),
  fold: (W, { A, E, B }, { scale }) => W.add(B.matmul(A.mul(E)).mul(scale)),
  blocks: () => ['in', 'out'],
  asLora: ({ A, E, B }, { scale, rank }) => ({ A: A.mul(E), B, alpha: scale * rank }),
  training,
  export: (plan, parameters, o) => Promise.resolve(pruned(plan, parameters, o)),
  peft: {
    keys: {
      beta1: 'sensitivityDecay',
      beta2: 'uncertaintyDecay',
      deltaT: 'interval',
      init_r: 'rank',
      lora_alpha: 'alpha',
      lora_dropout: 'dropout',
      orth_reg_weight: 'orthogonality',
      rank_pattern: { option: 'kept', write: rankPattern, read: keptFrom },
      target_r: 'target',
      tfinal: { option: 'finalSteps', write: (steps) => steps ?? 0 },
      tinit: { option: 'initialSteps', write: (steps) => steps ?? 0 },
      trainable_token_indices: tokenKey,
      total_step: {
        option: 'totalSteps',
        // PEFT wants a length that leaves room between the two.
        write: (steps, { initialSteps = 0, finalSteps = 0 }) => steps ?? initialSteps + finalSteps + 1,
      },
    },
    derived: ({ sites }) => ({ fan_in_fan_out: sites.some(({ transposed }) => transposed) }),
    unused: { ...loraVariants, ...otherVariants },
    harmless: { ...loraHarmless, alpha_pattern: {}, init_lora_weights: true, r: 8 },
  },
}

/**
 * AdaLoRA on `base`, a checkpoint or an open model: a model whose parameters are P, λ and Q at every target. Throws
 * UsageError for a target that matches nothing and a rank that a matrix cannot have; `fit` for a schedule that leaves no
 * step to prune in.
 */
export const adalora: AdapterMethod<AdaloraOptions> = adapter(spec)
