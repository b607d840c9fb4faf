/**
 * @file MoS (Mixture of Shards, arXiv 2410.00938): LoRA whose vectors are put together from shards of a pool. Modules of
 * one kind and shape form a group of L; a group has two pools of e L l shards, PA: [e L l, in / l] and PB: [e L l, out / l],
 * which are all that trains: as many numbers as LoRA of rank e has. Each module has a table of r l shards of PA, which laid
 * end to end are A: [r, in], and one of PB for Bᵀ: [r, out]; its update is (α / r) B A, of rank r > e. The tables are
 * drawn from the seed alone: p l shards are a module's own, the others are drawn from those that belong to nobody.
 */
import { z } from 'zod'
import { CheckpointError, UsageError } from '../../errors.js'
import { Stream } from '../../random/index.js'
import { type Tensor, tensor } from '../../tensor/index.js'
import { adapter } from '../core/adapter.js'
import { uniformWithin, zeros } from '../core/initial.js'
import { card } from './card.js'
import type { Site } from '../../models/sites.js'
import {
  type AdapterMethod,
  type AdapterSpec,
  type CommonOptions,
  commonOptions,
  type LoraFactors,
  type Named,
} from '../core/spec.js'
import { minOf } from '../../tensor/numbers.js'

/**
 * Four things keep modules from being alike, each with its switch: a module sees a part of its pool only (a `rank` below
 * 'all'), A and B pick pairs by themselves (`dissociate`), vectors are made of parts (`shards` above 1), some shards are a
 * module's own (`privateRank` above 0). With none of them every module has the same update: pure sharing.
 */
export interface MosOptions extends CommonOptions {
  /** Budget e: as many numbers train as LoRA of this rank has. Default 2. */
  readonly budget: number
  /** Rank r of each update; 'all': the highest there is. Default: 4 e, or the highest where that is less. */
  readonly rank?: number | 'all'
  /** Part p of the budget that each module has for itself. Default 1. */
  readonly privateRank: number
  /** Number l of shards that make a vector. Default 4. */
  readonly shards: number
  /** True to give A and B tables of their own. Default true. */
  readonly dissociate: boolean
  /** True to multiply between A and B with N(0, 1), drawn once for each module. Default false. */
  readonly randomScaling: boolean
  /** Scale α: the update is multiplied by α / r. Default 16. */
  readonly alpha: number
  /** Dropout probability on the update's input, in [0, 1). Default 0.1. */
  readonly dropout: number
}

interface Settings {
  readonly pools: readonly [A: string, B: string]
  /** Rows of the pools: [r l]. */
  readonly tables: readonly [A: Int32Array, B: Int32Array]
  readonly rank: number
  readonly in: number
  readonly out: number
  readonly alpha: number
  readonly dropout: number
  /** [r]. */
  readonly diagonal?: Float32Array
}

const count = z.number().int().positive()

const options: z.ZodObject = commonOptions.extend({
  budget: count.default(2).describe('as many numbers train as LoRA of this rank has'),
  rank: z
    .union([count, z.literal('all')])
    .optional()
    .describe("rank of each module's update, or 'all' that its pool allows (default: 4 times the budget)"),
  privateRank: z
    .number()
    .int()
    .nonnegative()
    .default(1)
    .describe('how much of the budget a module keeps to itself'),
  shards: count.default(4).describe('parts that make a vector; they divide the widths of all modules'),
  dissociate: z.boolean().default(true).describe('whether A and B choose their shards by themselves'),
  randomScaling: z.boolean().default(false).describe('multiply between A and B with fixed random numbers'),
  alpha: z.number().positive().default(16).describe('the update is scaled by alpha / rank'),
  dropout: z.number().min(0).lt(1).default(0.1).describe("dropout on the update's input"),
})

/** How tables follow from a seed; another way of drawing would be another number. */
const tableVersion = 1

/** What the modules that share a pool have in common: the last part of their names, and their shape. */
const groupOf = ({ name, in: width, out }: Site): string => {
  const type = name.split('.').findLast((part) => !/^\d+$/.test(part))
  return `${type}_${out}x${width}`
}

const modulesOf = (group: string, sites: readonly Site[]): Site[] =>
  sites.filter((site) => groupOf(site) === group)

/** r - p vectors are drawn from (e - p) L. */
const highestRank = ({ budget: e, privateRank: p }: MosOptions, modules: number): number =>
  p + (e - p) * modules

/** r at `site`. A rank that nobody chose is the same in every group. */
const rankOf = (o: MosOptions, site: Site, sites: readonly Site[]): number => {
  const highest = (group: string): number => highestRank(o, modulesOf(group, sites).length)
  if (o.rank === 'all') return highest(groupOf(site))
  return o.rank ?? minOf(new Set(sites.map((other) => highest(groupOf(other)))), 4 * o.budget)
}

/** Throws UsageError unless r, e, p and l fit the module and each other. */
const check = (o: MosOptions, site: Site, rank: number, modules: number): void => {
  const { budget: e, privateRank: p, shards } = o
  const fail = (code: string, message: string, hint: string): never => {
    throw new UsageError(code, `mos: ${message}`, { hint })
  }
  if (site.in % shards || site.out % shards)
    fail(
      'BadShards',
      `${shards} shards do not divide ${site.name}, whose weight is ${site.out} x ${site.in}`,
      'Choose a number that divides all widths (shards), or leave the module out (exclude).',
    )
  if (p > e) fail('BadBudget', `privateRank ${p} is above the budget ${e}`, `It can be at most ${e}.`)
  if (p === e && rank !== e)
    fail(
      'BadBudget',
      `rank ${rank} with privateRank ${p}, which is the whole budget: nothing is left to share`,
      `The rank is then ${e}; or give less to each module (privateRank).`,
    )
  if (rank < p) fail('BadRank', `rank ${rank} is below privateRank ${p}`, `It is at least ${p}.`)
  if (rank - p > (e - p) * modules)
    fail(
      'BadRank',
      `rank ${rank} at ${site.name}: rank - privateRank is ${rank - p}, above (budget - privateRank) x modules ` +
        `= (${e} - ${p}) x ${modules} (those of the name and shape ${groupOf(site)})`,
      `The highest rank there is ${highestRank(o, modules)}.`,
    )
}

/** The shards of one module: first drawn ones, each once, then its own. */
const tableOf = (o: MosOptions, rank: number, modules: number, module: number, key: string): Int32Array => {
  const { budget: e, privateRank: p, shards: l } = o
  const free = (e - p) * modules * l
  const table = new Int32Array(rank * l)
  const drawn = (rank - p) * l
  table.set(new Stream(`${o.seed ?? 0}/mos ${key}`).permutation(free).subarray(0, drawn))
  for (let i = 0; i < p * l; i++) table[drawn + i] = free + module * p * l + i
  return table
}

const settings = (o: MosOptions, site: Site, sites: readonly Site[]): Settings => {
  const group = groupOf(site)
  const modules = modulesOf(group, sites)
  const rank = rankOf(o, site, sites)
  check(o, site, rank, modules.length)
  const [name, module] = [(part: string) => `${group} ${module} ${part}`, modules.indexOf(site)]
  const table = (part: string): Int32Array => tableOf(o, rank, modules.length, module, name(part))
  const A = table('A')
  const random = new Stream(`${o.seed ?? 0}/mos ${name('scaling')}`)
  return {
    pools: [`A ${group}`, `B ${group}`],
    tables: [A, o.dissociate ? table('B') : A],
    rank,
    in: site.in,
    out: site.out,
    alpha: o.alpha,
    dropout: o.dropout,
    ...(o.randomScaling && { diagonal: Float32Array.from({ length: rank }, () => random.normal()) }),
  }
}

/** The module's vectors from their pool. -> [r, width]. */
const assembled = (pool: Tensor, table: Int32Array, rank: number): Tensor =>
  pool.gather(tensor(table, [table.length], 'int32'), 0).reshape([rank, -1])

/** A: [r, in] and B: [out, r] of one module. */
const factors = (
  p: Named<Tensor>,
  { pools, tables, rank, diagonal, alpha, dropout }: Settings,
): LoraFactors => {
  const [A, rows] = pools.map((pool, i) => assembled(p[pool], tables[i], rank))
  return { A, B: (diagonal ? rows.mul(tensor(diagonal, [rank, 1], 'float32')) : rows).t(), alpha, dropout }
}

const spec: AdapterSpec<MosOptions, Settings> = {
  paper: card,
  peftType: 'MOS',
  options,
  size: { option: 'budget', kind: 'count' },
  kinds: ['linear'],
  defaultTargets: () => 'all-linear',
  settings,
  parameters: () => ({}),
  shared({ budget, shards }, sites) {
    const groups = [...new Set(sites.map(groupOf))].flatMap((group) => {
      const [{ in: width, out }, { length }] = [modulesOf(group, sites)[0], modulesOf(group, sites)]
      const rows = budget * length * shards
      // The bound is that of whole vectors, whose width is the fan-in.
      const start = uniformWithin(() => 1 / Math.sqrt(width))
      const pool = (part: string, size: number) => ({
        key: `mos_${part}.${group}`,
        shape: [rows, size / shards],
      })
      return [
        [`A ${group}`, { ...pool('A', width), initial: start, frozen: false }],
        [`B ${group}`, { ...pool('B', out), initial: zeros, frozen: false }],
      ] as const
    })
    return Object.fromEntries(groups)
  },
  linear(y, x, p, s, { dropout }) {
    const { A, B } = factors(p, s)
    return y.add(
      dropout(x, s.dropout)
        .matmul(A.t())
        .matmul(B.t())
        .mul(s.alpha / s.rank),
    )
  },
  fold(W, p, s) {
    const { A, B } = factors(p, s)
    return W.add(B.matmul(A).mul(s.alpha / s.rank))
  },
  asLora: factors,
  peft: {
    keys: {
      equivalent_rank: 'budget',
      mos_alpha: 'alpha',
      mos_dropout: 'dropout',
      pair_dissociation: 'dissociate',
      private_rank: 'privateRank',
      r: {
        option: 'rank',
        write: (rank, options, { sites }) => rank ?? (sites.length ? rankOf(options, sites[0], sites) : null),
      },
      random_scaling: 'randomScaling',
      seed: 'seed',
      shards_per_vector: 'shards',
    },
    harmless: { table_version: tableVersion },
    check({ table_version: version = null }) {
      if (version === tableVersion) return
      throw new CheckpointError(
        'UnsupportedAdapter',
        `adapter_config.json: table_version is ${JSON.stringify(version)}; this Weft draws tables of version ${tableVersion}.`,
      )
    },
  },
}

/**
 * MoS on `base`, a checkpoint or an open model: a model whose parameters are the pools; tables follow from the seed, which
 * its folder keeps. Throws UsageError for a target that matches nothing, shards that do not divide a module's widths, and
 * ranks that do not fit each other.
 */
export const mos: AdapterMethod<MosOptions> = adapter(spec)
