/** @file What the soups share: their ingredients scored and ranked, and what came of them written. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Checkpoint, JsonObject } from '../../checkpoint/index.js'
import type { Value } from '../../tensor/index.js'
import type { Analysis, Pot } from '../core/averaging/pot.js'
import { type ModelWeights, writeWeighted } from '../core/averaging/weighted.js'
import type { Merged, ProcedureContext } from '../core/procedure.js'

/** What a soup's recipe came to, ready to be written. */
export interface Soup {
  readonly name: string
  readonly models: readonly Checkpoint[]
  readonly names: readonly string[]
  readonly weights: ModelWeights
  readonly replaced?: ReadonlyMap<string, Value>
  readonly report: JsonObject
  readonly notes: readonly string[]
  readonly analysis: Analysis
}

/** A soup as procedures give them: weights and, beside them, the pictures of its analysis. */
export const served = ({
  name,
  models,
  names,
  weights,
  replaced,
  report,
  notes,
  analysis,
}: Soup): Merged => ({
  report: { ...report, ...(Object.keys(analysis.report).length ? { analysis: analysis.report } : {}) },
  notes: [...notes, ...analysis.notes],
  plots: analysis.plots,
  async save(folder) {
    await writeWeighted(models, weights, folder, { title: name, names, replaced })
    await mkdir(folder, { recursive: true })
    for (const [file, text] of Object.entries(analysis.files)) await writeFile(join(folder, file), text)
  },
})

/** The score of every ingredient as it is, in the order given. One is in memory at a time. */
export const scoresOf = async (
  pot: Pot,
  count: number,
  { onProgress }: ProcedureContext,
  name: string,
): Promise<number[]> => {
  const scores: number[] = []
  for (let i = 0; i < count; i++) {
    onProgress?.({ status: 'progress', name, done: i, total: 2 * count - 1, unit: 'evaluations' })
    scores.push(await pot.score(await pot.parameters(i)))
  }
  return scores
}

/** Indices from the best score to the worst; equal ones as they were given. */
export const ranking = (scores: readonly number[], { better }: Pot): number[] =>
  [...scores.keys()].sort((a, b) =>
    better(scores[a], scores[b]) ? -1 : better(scores[b], scores[a]) ? 1 : a - b,
  )

/** Models beside their scores, for a report. */
export const ranked = (names: readonly string[], scores: readonly number[]): JsonObject[] =>
  names.map((model, i) => ({ model, score: scores[i] }))
