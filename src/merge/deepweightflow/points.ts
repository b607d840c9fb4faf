/** @file The models of a zoo as points: aligned, in coordinates, and what a user should know of them. */
import type { Checkpoint } from '../../checkpoint/index.js'
import { UsageError } from '../../errors.js'
import { openModel } from '../../models/index.js'
import { statisticsOf } from '../../observe/index.js'
import { maxOf, medianOf } from '../../tensor/numbers.js'
import type { ProcedureContext } from '../core/procedure.js'
import type { DeepWeightFlowOptions } from './options.js'
import { type Coordinates, plainCoordinates, principalCoordinates } from './pca.js'
import { openZoo, type Zoo } from './zoo.js'

/** Each member's distance to the one nearest to it. */
export const nearestDistances = ({ distances: { rows: n, data } }: Coordinates): Float64Array =>
  Float64Array.from({ length: n }, (_, i) => {
    let least = Infinity
    for (let j = 0; j < n; j++) if (j !== i) least = Math.min(least, data[i * n + j])
    return Math.sqrt(least)
  })

/** What a user should know of the zoo. */
export const notesOf = (
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
    const middle = medianOf(scores)
    const spread = medianOf(scores.map((s) => Math.abs(s - middle)))
    scores.forEach((score, i) => {
      if (score < middle - Math.max(5 * spread, 0.1 * Math.abs(middle)))
        notes.push(`${checkpoints[i]?.folder}: score ${score} is far below the median ${middle}.`)
    })
  }
  return notes
}

/** Throws UsageError for fewer than two models, and for models with batch norms without data. */
export const checkZoo = async (checkpoints: readonly Checkpoint[], hasData: boolean): Promise<void> => {
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
export const openPoints = async (
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
