/** @file What decides between candidates: their score on data, and the search as a report has it. */
import type { Checkpoint, JsonObject } from '../../checkpoint/index.js'
import { UsageError } from '../../errors.js'
import { openModel } from '../../models/index.js'
import { batchesOf } from '../../train/data.js'
import { type Batch, type Evaluation, evaluator } from '../../train/index.js'
import type { ProcedureContext } from '../core/procedure.js'
import { decodeGenome } from './genome.js'
import type { UnconstrainedOptions } from './options.js'
import type { Score, SearchResult } from './search.js'

/** Judges candidates of one shape on data: programs are compiled once, only weights change. Throws UsageError for data without the wanted score. */
export const judge = async (
  like: Checkpoint,
  data: NonNullable<ProcedureContext['data']>,
  { score, batch }: Pick<UnconstrainedOptions, 'score' | 'batch'>,
  { tokenizer, signal }: ProcedureContext,
): Promise<{ evaluate: (candidate: Checkpoint) => Promise<Evaluation>; score: Score }> => {
  const model = await openModel(like, { trainable: true })
  const settings = { tokenizer, batch, signal }
  const fixed: Batch[] = []
  // Read once; multiple choice needs the records themselves.
  if (score === 'loss' && typeof data !== 'function')
    for await (const b of await batchesOf(model, data, settings)) fixed.push(b)
  const evaluateOn = evaluator(model, fixed.length ? () => fixed : data, settings)
  const evaluate = async (candidate: Checkpoint): Promise<Evaluation> =>
    evaluateOn((await openModel(candidate, { trainable: true })).parameters)
  return {
    evaluate,
    score: async (candidate) => {
      const { loss, accuracy } = await evaluate(candidate)
      if (score === 'loss') return -loss
      if (accuracy !== undefined) return accuracy
      throw new UsageError('NoAccuracy', 'the data give no accuracy: they have neither choices nor classes', {
        hint: 'Score by loss (-p score=loss), which is also smoother.',
      })
    },
  }
}

/** What a score stands for: of losses the lowest has the highest score. Null where it is none. */
export const valueOf = (score: number, metric: UnconstrainedOptions['score']): number | null =>
  !Number.isFinite(score) ? null : metric === 'loss' ? -score : score

/** A search as the report has it. */
export const searchReport = (
  { layout, best, recipe, log }: SearchResult,
  metric: UnconstrainedOptions['score'],
): JsonObject => ({
  operator: layout.operator,
  models: [...layout.models],
  groups: layout.groups.map(({ name }) => name),
  coefficients: decodeGenome(layout, best.genome).map((group) => group.map((c) => ({ ...c }))),
  genome: [...best.genome],
  metric,
  value: valueOf(best.score, metric),
  evaluations: log.length,
  log: log.map(({ score }) => valueOf(score, metric)),
  recipe: recipe as unknown as JsonObject,
})
