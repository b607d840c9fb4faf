/**
 * @file DeepWeightFlow (2026, arXiv 2601.05052): trained models of one architecture are brought into one order of their
 * units and taken as points; a flow learned on them makes new points, and each is a complete model that works.
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import type { Checkpoint, JsonObject } from '../../checkpoint/index.js'
import { UsageError } from '../../errors.js'
import { type Matrix, matrix } from '../../linalg/index.js'
import { type Model, openModel } from '../../models/index.js'
import type { Value } from '../../tensor/index.js'
import { batchesOf } from '../../train/data.js'
import type { Batch } from '../../train/loss.js'
import { card } from './card.js'
import { type FlowShape, flowParameters, sampleFlow, trainFlow } from './flow.js'
import { type Coordinates, plainCoordinates, principalCoordinates } from './pca.js'
import { openZoo, type Zoo } from './zoo.js'
import { modelOf, readTensors, saveTensors, specsOf } from '../../units/permutation/index.js'
import { recalibrated, statisticsOf } from '../../observe/statistics.js'
import { withoutContext, type Procedure, procedure, type ProcedureContext } from '../core/procedure.js'
import { maxOf, minOf } from '../../tensor/numbers.js'

const count = z.number().int().positive()

const options = z.strictObject({
  samples: count.default(1).describe('how many new models; several go into folders 0, 1, ...'),
  components: z
    .union([count, z.literal('none')])
    .optional()
    .describe('principal components that the flow works in (as many as the models span); none: the weights'),
  align: z.boolean().default(true).describe('bring units into the order of the first model'),
  statistics: z.boolean().default(false).describe('let running statistics count when units are compared'),
  steps: count.default(30_000).describe('training steps of the flow'),
  batch: count.default(8).describe('points in a step'),
  learningRate: z.number().positive().default(5e-4).describe('highest learning rate of the flow'),
  width: count.default(512).describe('width of the velocity network'),
  source: z
    .number()
    .positive()
    .default(0.05)
    .describe("standard deviation of the noise that samples come from, in the points' own"),
  jitter: z.number().min(0).default(0.001).describe('noise on the way, in the same unit'),
  integrator: z.enum(['rk4', 'euler']).default('rk4').describe('how the flow is integrated'),
  points: z.number().int().min(2).default(100).describe('time points of the integration, ends included'),
  batches: count.default(100).describe('most batches for the statistics of batch norms'),
  scores: z
    .array(z.number())
    .optional()
    .describe('how good each model is, higher is better: those far below the median are told (library only)'),
})

/** Options of `deepweightflow`, all with defaults. */
export interface DeepWeightFlowOptions {
  /** How many new models; several go into folders 0, 1, .... Default 1. */
  readonly samples: number
  /** Bring units into the order of the first model. Default true. */
  readonly align: boolean
  /** Let running statistics count when units are compared. Default false. */
  readonly statistics: boolean
  /** Training steps of the flow. Default 30_000. */
  readonly steps: number
  /** Points in a step. Default 8. */
  readonly batch: number
  /** Highest learning rate of the flow. Default 5e-4. */
  readonly learningRate: number
  /** Width of the velocity network. Default 512. */
  readonly width: number
  /** Standard deviation of the noise that samples come from, in the points' own. Default 0.05. */
  readonly source: number
  /** Noise on the way, in the same unit. Default 0.001. */
  readonly jitter: number
  /** How the flow is integrated. Default 'rk4'. */
  readonly integrator: 'rk4' | 'euler'
  /** Time points of the integration, ends included. Default 100. */
  readonly points: number
  /** Most batches for the statistics of batch norms. Default 100. */
  readonly batches: number
  /** Principal components that the flow works in (as many as the models span); none: the weights. */
  readonly components?: number | 'none'
  /** How good each model is, higher is better: those far below the median are told (library only). */
  readonly scores?: readonly number[]
}

/** A learned flow over a zoo of models. */
export interface WeightFlow {
  readonly zoo: Zoo
  readonly coordinates: Coordinates
  /** Of the velocity network. */
  readonly parameters: Readonly<Record<string, Value>>
  readonly report: JsonObject
  readonly notes: readonly string[]
  /** New points, [count, size], in the units of the coordinates. Point i depends on the seed and i alone. */
  sample(count: number, seed?: number | string): Promise<Matrix>
  /** The model at a point: complete, its running statistics found anew on the data where it has such. */
  modelAt(point: ArrayLike<number>): Promise<Model>
  /** Distance from a point to the nearest member, in the median of the members' distances to their nearest. */
  novelty(point: ArrayLike<number>): number
}

/** Each member's distance to the one nearest to it. */
const nearestDistances = ({ distances: { rows: n, data } }: Coordinates): Float64Array =>
  Float64Array.from({ length: n }, (_, i) => {
    let least = Infinity
    for (let j = 0; j < n; j++) if (j !== i) least = Math.min(least, data[i * n + j])
    return Math.sqrt(least)
  })

const median = (numbers: ArrayLike<number>): number => {
  const sorted = Float64Array.from(numbers).sort()
  return (sorted[Math.floor((sorted.length - 1) / 2)] + sorted[Math.ceil((sorted.length - 1) / 2)]) / 2
}

/** What a user should know of the zoo. */
const notesOf = (
  checkpoints: readonly Checkpoint[],
  coordinates: Coordinates,
  { components, scores }: DeepWeightFlowOptions,
): string[] => {
  const notes: string[] = []
  if (typeof components === 'number' && components > coordinates.size)
    notes.push(
      `components = ${components}: the models span ${coordinates.size}, so ${coordinates.size} are used.`,
    )
  const nearest = nearestDistances(coordinates)
  const scale = maxOf(nearest)
  nearest.forEach((distance, i) => {
    if (distance <= 1e-3 * scale)
      notes.push(`${checkpoints[i].folder} is the same as another model, up to order.`)
  })
  if (scores) {
    const middle = median(scores)
    const spread = median(scores.map((s) => Math.abs(s - middle)))
    scores.forEach((score, i) => {
      if (score < middle - Math.max(5 * spread, 0.1 * Math.abs(middle)))
        notes.push(`${checkpoints[i]?.folder}: score ${score} is far below the median ${middle}.`)
    })
  }
  return notes
}

/** The root mean square of all numbers: one unit for all coordinates keeps the shape of the set. */
const scaleOf = ({ data }: Matrix): number =>
  Math.sqrt(data.reduce((sum, x) => sum + x * x, 0) / data.length) || 1

const times = (m: Matrix, factor: number): Matrix =>
  matrix(
    m.rows,
    m.cols,
    m.data.map((x) => x * factor),
  )

/** Throws UsageError for fewer than two models, and for models with batch norms without data. */
const checkZoo = async (checkpoints: readonly Checkpoint[], hasData: boolean): Promise<void> => {
  if (checkpoints.length < 2)
    throw new UsageError(
      'ModelCount',
      `deepweightflow: given ${checkpoints.length} models; two at least are needed`,
    )
  const model = await openModel(checkpoints[0], { buffers: true })
  if (statisticsOf(model).length > 0 && !hasData)
    throw new UsageError(
      'NoData',
      `deepweightflow: ${model.checkpoint.folder} has batch norms, whose statistics must be found anew for every sample`,
      { hint: 'Give some inputs as data.' },
    )
}

/** The models aligned, as points. Throws UsageError where they are all the same. */
const openPoints = async (
  checkpoints: readonly Checkpoint[],
  { align, statistics, components }: DeepWeightFlowOptions,
  { seed, signal, onProgress }: ProcedureContext,
): Promise<{ zoo: Zoo; coordinates: Coordinates }> => {
  const zoo = await openZoo(checkpoints, { align, statistics, seed, signal, onProgress })
  const coordinates =
    components === 'none' ? await plainCoordinates(zoo) : await principalCoordinates(zoo, components)
  if (coordinates.distances.data.some((d) => d > 0)) return { zoo, coordinates }
  throw new UsageError(
    'IdenticalModels',
    `deepweightflow: all ${zoo.count} models are the same, up to order`,
    {
      hint: 'Give models that were trained from different seeds.',
    },
  )
}

/** How a point becomes a model: its weights, and running statistics found anew where the models have such. */
const modelMaker = async (
  { reference }: Zoo,
  { tensorsAt }: Coordinates,
  count: number,
  { data, tokenizer }: ProcedureContext,
): Promise<WeightFlow['modelAt']> => {
  const buffers = await buffersOf(reference)
  const batches = async function* (): AsyncGenerator<Batch> {
    let left = count
    for await (const one of await batchesOf(reference, data!, { batch: 32, tokenizer })) {
      yield one as Batch
      if (--left === 0) return
    }
  }
  return async (point) => {
    const tensors = { ...(await tensorsAt(point)), ...buffers }
    const model = await modelOf(reference.checkpoint.config, tensors)
    return data ? model.with(await recalibrated(model, model.parameters, batches())) : model
  }
}

/**
 * Aligns the checkpoints, takes coordinates and learns a flow on them. The checkpoints must stay open. Throws UsageError
 * for fewer than two, for models with batch norms without data, and for models that are all the same; CheckpointError
 * for models that do not fit each other.
 */
export const learnWeightFlow = async (
  checkpoints: readonly Checkpoint[],
  given: Partial<DeepWeightFlowOptions> & ProcedureContext = {},
): Promise<WeightFlow> => {
  const { own, context } = withoutContext<DeepWeightFlowOptions>(given)
  const { data, seed = 0, signal, onProgress } = context
  const all = options.parse(own)
  await checkZoo(checkpoints, data !== undefined)
  const { zoo, coordinates } = await openPoints(checkpoints, all, context)
  const { size, points, explained } = coordinates
  const shape: FlowShape = { size, width: all.width, deep: zoo.transformer }
  const unit = scaleOf(points)
  const { steps, batch, learningRate, source, jitter } = all
  const training = { steps, batch, learningRate, source, jitter, seed, signal, onProgress }
  const { parameters, loss } = await trainFlow(shape, times(points, 1 / unit), training)
  const nearest = median(nearestDistances(coordinates)) || 1
  return {
    zoo,
    coordinates,
    parameters,
    report: {
      ...{ models: zoo.count, weights: zoo.size, components: size, explained, loss },
      distance: { ...zoo.distance },
      parameters: flowParameters(shape),
    },
    notes: notesOf(checkpoints, coordinates, all),
    sample: async (count, from = seed) => {
      const sampling = { count, source, steps: all.points - 1, integrator: all.integrator, seed: from }
      return times(matrix(count, size, await sampleFlow(shape, parameters, sampling)), unit)
    },
    modelAt: await modelMaker(zoo, coordinates, all.batches, context),
    novelty: (point) => minOf(coordinates.distancesOf(point)) / nearest,
  }
}

/** The running statistics of a model, and whatever else of it does not train. */
const buffersOf = async ({ architecture, config, checkpoint }: Model): Promise<Record<string, Value>> => {
  const names = architecture.table(config).flatMap(({ name, kind }) => (kind === 'buffer' ? [name] : []))
  if (names.length === 0) return {}
  const tensors = await readTensors(checkpoint)
  return Object.fromEntries(names.map((name) => [name, tensors[name]]))
}

export const deepweightflow: Procedure<DeepWeightFlowOptions> = procedure({
  paper: card,
  summary: 'new models sampled from a flow over the aligned weights of many trained ones',
  base: 'none',
  data: 'optional',
  counts: [2, Infinity],
  options,
  run: async (models, own, context) => {
    const flow = await learnWeightFlow(models, { ...own, ...context })
    const points = await flow.sample(own.samples)
    const rows = Array.from({ length: own.samples }, (_, i) =>
      points.data.subarray(i * points.cols, (i + 1) * points.cols),
    )
    const novelty = rows.map(flow.novelty)
    return {
      report: { ...flow.report, novelty },
      notes: [
        ...flow.notes,
        `Samples are ${median(novelty).toFixed(2)} (median) times as far from the nearest model as the models are from each other: far below 1 they repeat the models.`,
      ],
      save: async (folder) => {
        for (const [i, point] of rows.entries()) {
          const target = own.samples === 1 ? folder : join(folder, String(i))
          await mkdir(target, { recursive: true })
          const { parameters: tensors } = await flow.modelAt(point)
          await saveTensors(target, models[0], models[0].config, specsOf(tensors), (name) => tensors[name])
          context.onProgress?.({
            status: 'progress',
            name: 'save',
            done: i + 1,
            total: rows.length,
            unit: 'models',
          })
        }
      },
    }
  },
})
