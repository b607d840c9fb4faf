/**
 * @file S2FT (Yang et al. 2024, arXiv 2412.06289): of a matrix W only the columns S of chosen heads or channels are trained
 * (or its rows): W x + V x[S], with V: [out, |S|] zero at first. The weight's gradient is Vᵀ's alone, dYᵀ X[:, S], so that
 * of X nothing but the chosen entries is kept for it, and the optimiser's state has V's size. The paper permutes coupled
 * matrices so that S is one range; here the entries are gathered into a dense block where they lie, which takes no permuted
 * copy of the base: its weights stay mapped, and several adapters can stand on one.
 */
import { z } from 'zod'
import { UsageError } from '../../errors.js'
import type { Model } from '../../models/index.js'
import { oneHot, type Shape, type Tensor, tensor } from '../../tensor/index.js'
import type { Batch } from '../../train/index.js'
import { adapter } from '../core/adapter.js'
import { zeros } from '../core/initial.js'
import { byPattern } from '../core/patterns.js'
import { card } from './card.js'
import { chooseUnits, requireUnits, type Selection, selections } from './selection.js'
import { entriesOf, type UnitAxis, unitsByEntry } from '../../units/index.js'
import { heads, type Site, sitesOf } from '../../models/sites.js'
import { targetSites } from '../../models/targets.js'
import {
  type AdapterMethod,
  type AdapterSpec,
  type CommonOptions,
  commonOptions,
  type ParameterSpec,
} from '../core/spec.js'

/** Options of `s2ft`. */
export interface S2ftOptions extends CommonOptions {
  /** The share of a target's heads or channels that trains. Default 0.03. */
  readonly ratio: number
  /** Other ratios, by regular expressions for the end of a module's name. */
  readonly ratioPattern: Readonly<Record<string, number>>
  /** Quantity by which they are chosen. Default 'random'; 'activation', 'score' and 'gradient' look at `calibration`. */
  readonly select: Selection
  /** Default 'largest'. */
  readonly order: 'largest' | 'smallest'
  /** Choose over all layers together, so that they get different numbers, or in each. Default 'model'. */
  readonly per: 'model' | 'layer'
  /** Batches to choose by; they are not saved. */
  readonly calibration?: readonly Batch[]
  /** The units by module, where they are known already. */
  readonly units?: Readonly<Record<string, readonly number[]>>
}

/** What trains in one module. */
export interface S2ftSettings {
  readonly side: UnitAxis
  readonly units: readonly number[]
  /** Of the side's axis: ascending, each once. */
  readonly entries: readonly number[]
}

const share = z.number().min(0).max(1)
const unitLists = z.record(z.string(), z.array(z.number().int().nonnegative()))

const options = commonOptions.extend({
  ratio: share.default(0.03).describe('share of the heads or channels of a target that trains'),
  ratioPattern: z.record(z.string(), share).default({}).describe('other shares: module=ratio'),
  select: z.enum(selections).default('random').describe('by what heads and channels are chosen'),
  order: z.enum(['largest', 'smallest']).default('largest').describe('which end of that order trains'),
  per: z.enum(['model', 'layer']).default('model').describe('choose over all layers together or in each'),
  calibration: z.custom<readonly Batch[]>(Array.isArray).optional(),
  units: z.custom<S2ftOptions['units']>((lists) => unitLists.safeParse(lists).success).optional(),
})

/** The matrices that read an MLP's hidden channels: what the paper's settings train. */
const readers = (base: Model): string[] =>
  sitesOf(base, ['linear'])
    .filter(({ name, inputUnits }) => inputUnits?.unit === 1 && !heads.has(name))
    .map(({ name }) => name)

const settings = ({ units }: S2ftOptions, site: Site): S2ftSettings => {
  const side = requireUnits(site)
  const chosenUnits = units?.[site.name] ?? []
  if (chosenUnits.length === 0)
    throw new UsageError('BadUnits', `s2ft: no units of ${site.name} are given to train`)
  const wrong = chosenUnits.find((u, i) => u >= side.count || (i > 0 && u <= chosenUnits[i - 1]))
  if (wrong !== undefined)
    throw new UsageError('BadUnits', `s2ft: unit ${wrong} of ${site.name}, which has ${side.count}`, {
      hint: 'Units count from 0, each once, in ascending order.',
    })
  return { side, units: chosenUnits, entries: entriesOf(side, chosenUnits) }
}

const ids = (entries: readonly number[], shape: readonly number[] = [entries.length]): Tensor =>
  tensor([...entries], shape, 'int32')

/** `whole` with `part` added at the entries of `axis`. */
const addAt = (whole: Tensor, part: Tensor, entries: readonly number[], axis: number): Tensor => {
  const along = part.shape.map((d, i) => (i === axis ? d : 1))
  return whole.scatter(ids(entries, along).expand(part.shape), part, { axis, add: true })
}

const spec: AdapterSpec<S2ftOptions, S2ftSettings> = {
  paper: card,
  peftType: 'S2FT',
  options,
  size: { option: 'ratio', kind: 'share' },
  kinds: ['linear'],
  defaultTargets: readers,
  async resolve(base, o) {
    if (o.units) return o
    const sites = targetSites('s2ft', base, ['linear'], { ...o, targets: o.targets ?? readers(base) })
    const ratio = (module: string): number => byPattern(o.ratioPattern, module) ?? o.ratio
    const units = await chooseUnits(base, sites, { ...o, ratio })
    const chosen = Object.keys(units)
    return { ...o, units, ...(chosen.length < sites.length && { targets: chosen }) }
  },
  settings,
  parameters({ in: width, out }, { side, entries: { length } }) {
    const [shape, axes]: [Shape, ParameterSpec['axes']] =
      side.axis === 'in'
        ? [
            [out, length],
            ['out', undefined],
          ]
        : [
            [length, width],
            [undefined, 'in'],
          ]
    return { V: { key: 's2ft_V', shape, axes, initial: zeros } }
  },
  linear(y, x, { V }, { side, entries }) {
    if (side.axis === 'out') return addAt(y, x.matmul(V.t()), entries, y.rank - 1)
    return y.add(x.gather(ids(entries), -1).matmul(V.t()))
  },
  fold: (W, { V }, { side, entries }) => addAt(W, V, entries, side.axis === 'in' ? 1 : 0),
  blocks: ({ side }) => [side.axis === 'in' ? 'out' : 'in'],
  asLora({ V }, { side, entries }) {
    const chosen = oneHot(ids(entries), unitsByEntry(side).length)
    const [A, B] = side.axis === 'in' ? [chosen, V] : [V, chosen.t()]
    return { A, B, alpha: entries.length }
  },
  peft: {
    keys: {
      ratio: 'ratio',
      ratio_pattern: 'ratioPattern',
      select: 'select',
      order: 'order',
      per: 'per',
      units: 'units',
    },
  },
}

/**
 * S2FT on `base`, a checkpoint or an open model: a model whose parameters are the changes V of the chosen rows or columns
 * of every target. Targets: by default the matrices that read an MLP's channels; with both up and down (and one ratio) the
 * same channels train on both sides. Throws UsageError for a target that matches nothing or has no heads or channels, a
 * share that chooses none, and a selection that needs batches without any.
 */
export const s2ft: AdapterMethod<S2ftOptions> = adapter(spec)
