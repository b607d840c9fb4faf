/**
 * @file DeepWeightFlow (2026, arXiv 2601.05052): trained models of one architecture are brought into one order of their
 * units and taken as points; a flow learned on them makes new points, and each is a complete model that works.
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Checkpoint, JsonObject } from '../../checkpoint/index.js'
import { type Matrix, matrix } from '../../linalg/index.js'
import type { Model } from '../../models/index.js'
import type { Value } from '../../tensor/index.js'
import { card } from './card.js'
import { options, type DeepWeightFlowOptions } from './options.js'
import { type FlowShape, flowParameters, sampleFlow, trainFlow } from './flow.js'
import type { Coordinates } from './pca.js'
import { checkZoo, nearestDistances, notesOf, openPoints } from './points.js'
import type { Zoo } from './zoo.js'
import { modelOf, readTensors, saveTensors, specsOf } from '../../units/permutation/index.js'
import { batchesAtMost, recalibrated } from '../../observe/index.js'
import { withoutContext, type Procedure, procedure, type ProcedureContext } from '../core/procedure.js'
import { medianOf, minOf } from '../../tensor/numbers.js'

/** A learned flow over a zoo of models. */
export interface WeightFlow {
  readonly zoo: Zoo
  readonly coordinates: Coordinates
  /** Parameters of the velocity network. */
  readonly parameters: Readonly<Record<string, Value>>
  readonly report: JsonObject
  readonly notes: readonly string[]
  /** New points, [count, size], in the units of the coordinates. Point i depends on the seed and i alone. */
  sample(count: number, seed?: number | string): Promise<Matrix>
  /** The model at a point: complete, its running statistics found anew on the data where it has such. point: [size]. */
  modelAt(point: ArrayLike<number>): Promise<Model>
  /**
   * Distance from a point to the nearest member, in the median of the members' distances to their nearest. point:
   * [size].
   */
  novelty(point: ArrayLike<number>): number
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

/** How a point becomes a model: its weights, and running statistics found anew where the models have such. */
const modelMaker = async (
  { reference }: Zoo,
  { tensorsAt }: Coordinates,
  count: number,
  { data, tokenizer }: ProcedureContext,
): Promise<WeightFlow['modelAt']> => {
  const buffers = await buffersOf(reference)
  const batches = batchesAtMost(count, reference, data, { batch: 32, tokenizer })
  return async (point) => {
    const tensors = { ...(await tensorsAt(point)), ...buffers }
    const model = await modelOf(reference.checkpoint.config, tensors)
    return data ? model.with(await recalibrated(model, model.parameters, batches)) : model
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
  const nearest = medianOf(nearestDistances(coordinates)) || 1
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

/** Samples new models from a flow that is learned over the given ones. Throws as `learnWeightFlow` does. */
export const deepweightflow: Procedure<DeepWeightFlowOptions> = procedure({
  paper: card,
  summary: 'new models sampled from a flow over the aligned weights of many trained ones',
  base: 'none',
  data: 'optional',
  example: { options: { steps: 2, width: 8, points: 3 } },
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
        `Samples are ${medianOf(novelty).toFixed(2)} (median) times as far from the nearest model as the models are from each other: far below 1 they repeat the models.`,
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
