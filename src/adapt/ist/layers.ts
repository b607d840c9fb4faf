/** @file Layers of an adapter, how many of them train in a step, and how many of the lowest keep nothing for it. */
import { z } from 'zod'
import { UsageError } from '../../errors.js'
import { isAdditive } from '../core/plan.js'
import type { AdaptedModel } from '../core/spec.js'
import { maxOf } from '../../tensor/numbers.js'
import { combinations } from './importance.js'

/** How layers are drawn. */
export interface LayerSampling {
  /** Number N_u of layers that train in a step. Default a quarter of them. */
  readonly trained?: number
  /** Steps T between updates of the importance; 0 for none, which is random sparse tuning. Default 10. */
  readonly every: number
  /** Number N_c of sets that are suppressed in turn. Default 3, or as many as there are. */
  readonly candidates?: number
  /** Number N_v of layers in such a set. Default half of them. */
  readonly suppressed?: number
  /** Factor beta on the adapter's output in a suppressed layer. Default 0.25. */
  readonly suppression: number
  /** Learning rate eta of the importance. Default 10. */
  readonly importanceRate: number
  /** Whether advantages are divided by their spread. Default false, as in the paper. */
  readonly normalized: boolean
  /**
   * Number of the lowest layers that keep nothing of the forward pass: a step that trains one of them, or a layer below it,
   * computes it again, and any other ends its backward pass above it. Default as many as leave half of the passes that can be
   * spared so (5 of 12, 6 of 32); all of them need the least memory.
   */
  readonly skippable?: number
}

/** The schema of `LayerSampling`, as options of a method. */
export const samplingOptions = {
  trained: z.number().int().positive().optional().describe('layers that train in a step (a quarter)'),
  every: z
    .number()
    .int()
    .nonnegative()
    .default(10)
    .describe('steps between updates of importance; 0: random layers'),
  candidates: z.number().int().min(2).optional().describe('sets of layers that are suppressed in turn (3)'),
  suppressed: z.number().int().positive().optional().describe('layers in such a set (half)'),
  suppression: z.number().min(0).max(1).default(0.25).describe("factor of the adapter's output there"),
  importanceRate: z.number().positive().default(10).describe('how fast importance moves'),
  skippable: z
    .number()
    .int()
    .nonnegative()
    .optional()
    .describe('lowest layers that keep nothing, and have no backward pass in steps that train above them'),
  normalized: z.boolean().default(false).describe('divide the advantages by their spread'),
}

/** Layers in which an adapter stands. */
export interface AdapterLayers {
  readonly count: number
  /** Place of a module among them; undefined for modules outside layers, which always train. */
  place(name: string): number | undefined
}

/** The error of a method whose layers cannot be trained and suppressed by themselves. */
export const notPerLayer = (method: string): UsageError =>
  new UsageError('NotPerLayer', `ist: ${method} does more than add to linear modules`, {
    hint: 'Layers are trained and suppressed by themselves where a method adds to linear modules: LoRA, serial adapters.',
  })

/** The layers of an adapter. Throws UsageError for one that does more than add to linear modules, or stands in no layers. */
export const layersOf = ({ plan }: AdaptedModel): AdapterLayers => {
  if (!isAdditive(plan.method)) throw notPerLayer(plan.method.paper.id)
  const numberOf = (name: string): string | undefined => /(?:^|\.)(\d+)\./.exec(`${name}.`)?.[1]
  const numbers = new Set(plan.sites.flatMap(({ site }) => numberOf(site.name) ?? []))
  const order = new Map([...numbers].sort((a, b) => Number(a) - Number(b)).map((n, i) => [n, i]))
  if (order.size === 0)
    throw new UsageError('NoLayers', 'ist: the adapter stands in no layers, of which some could train', {
      hint: 'It needs a method with modules in every layer, as LoRA or bottleneck adapters; prompts have none.',
    })
  return { count: order.size, place: (name) => order.get(numberOf(name) ?? '') }
}

/** All of how layers are drawn, and how many there are. */
export interface Sampling extends Required<LayerSampling> {
  readonly layers: number
}

/** `options` with their defaults for so many layers. Throws UsageError for more layers, or more sets of them, than there are. */
export const samplingFor = (layers: number, options: LayerSampling): Sampling => {
  const trained = options.trained ?? Math.max(1, Math.floor(layers / 4))
  const suppressed = options.suppressed ?? Math.max(1, Math.floor(layers / 2))
  for (const [name, n] of Object.entries({ trained, suppressed, skippable: options.skippable ?? 0 }))
    if (n > layers)
      throw new UsageError('BadOption', `ist: ${name} is ${n}; the adapter stands in ${layers} layers`)
  const most = combinations(layers, suppressed)
  const candidates = options.candidates ?? Math.max(2, Math.min(3, most))
  if (options.every > 0 && candidates > most)
    throw new UsageError(
      'BadOption',
      `ist: ${candidates} sets of ${suppressed} layers out of ${layers}; there are ${most}`,
      {
        hint: 'Compare fewer sets (candidates), of another number of layers (suppressed), or none (every: 0).',
      },
    )
  const skippable = options.skippable ?? skippableFor(layers, trained)
  return { ...options, layers, trained, suppressed, candidates, skippable }
}

/** The chance that a uniform draw of `trained` out of so many layers holds one of the lowest `low`. */
const chanceAmong = (layers: number, trained: number, low: number): number =>
  low > layers - trained ? 1 : 1 - combinations(layers - low, trained) / combinations(layers, trained)

/**
 * How many of the lowest layers keep nothing by default. In passes through one layer, a backward pass taking two: a layer spares
 * two in the steps that need it not, and costs one in the others. The sum is greatest after three or four layers; half of it
 * is spent on more of them, for memory.
 */
export const skippableFor = (layers: number, trained: number): number => {
  const spared = [0]
  for (let low = 1; low <= layers; low++)
    spared.push(spared[low - 1] + 2 - 3 * chanceAmong(layers, trained, low))
  const half = maxOf(spared) / 2
  return half > 0 ? spared.findLastIndex((sum) => sum >= half) : 0
}
