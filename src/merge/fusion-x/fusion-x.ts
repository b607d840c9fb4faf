/**
 * @file Fusion-X (arXiv 2505.23844): one target taught by several sources of any shape and tokenizer, of which a selection
 * network chooses for each row who is heard and how much.
 */
import { z } from 'zod'
import type { JsonObject } from '../../checkpoint/index.js'
import { type Model, openModel } from '../../models/index.js'
import { evaluate } from '../../train/index.js'
import { card } from './card.js'
import { trainFusionX } from './train.js'
import { rowsOf, teachings, teachingsFor } from '../../distil/teachings.js'
import { type Procedure, procedure, type ProcedureContext } from '../core/procedure.js'

const share = z.number().min(0).max(1)
const whole = z.number().int().positive()

const options = z.strictObject({
  self: z.boolean().default(true).describe('the target as it was is a source too'),
  labels: share.default(0.5).describe('share of the labels in the loss (published: 0.9)'),
  balance: z.number().nonnegative().default(0.05).describe('weight of the feedback loss (published: 0.5)'),
  threshold: share
    .optional()
    .describe('what the gate must give a source for it to be heard (0.75 / sources)'),
  gateLoss: z
    .enum(['gold', 'gold-masked', 'paper'])
    .default('gold')
    .describe(
      'what teaches the gate: the labels, with all sources or those that are heard; or the student, as published',
    ),
  divergence: z
    .enum(['cross-entropy', 'kl'])
    .default('cross-entropy')
    .describe('how the target is held against the fused distribution'),
  gateRate: z.number().positive().default(1e-2).describe('learning rate of the gate'),
  standardise: z.boolean().default(false).describe('the gate sees standardised log-likelihoods'),
  top: whole.default(10).describe('tokens kept of each distribution'),
  exact: z
    .boolean()
    .default(false)
    .describe('tokens of other vocabularies only where they are spelled the same'),
  steps: whole.optional().describe('steps (once through the data)'),
  batch: whole.default(8).describe('rows in a batch'),
  learningRate: z.number().positive().default(1e-5).describe('learning rate of the target'),
})

/** The options of `fusionX`. */
export interface FusionXOptions {
  /** The target as it was is a source too. Default true. */
  readonly self: boolean
  /** Share of the labels in the loss (published: 0.9). Default 0.5. */
  readonly labels: number
  /** Weight of the feedback loss (published: 0.5). Default 0.05. */
  readonly balance: number
  /** What teaches the gate: the labels, with all sources or those that are heard; or the student, as published. Default 'gold'. */
  readonly gateLoss: 'gold' | 'gold-masked' | 'paper'
  /** How the target is held against the fused distribution. Default 'cross-entropy'. */
  readonly divergence: 'cross-entropy' | 'kl'
  /** Learning rate of the gate. Default 1e-2. */
  readonly gateRate: number
  /** The gate sees standardised log-likelihoods. Default false. */
  readonly standardise: boolean
  /** Tokens kept of each distribution. Default 10. */
  readonly top: number
  /** Tokens of other vocabularies only where they are spelled the same. Default false. */
  readonly exact: boolean
  /** Rows in a batch. Default 8. */
  readonly batch: number
  /** Learning rate of the target. Default 1e-5. */
  readonly learningRate: number
  /** What the gate must give a source for it to be heard (0.75 / sources). */
  readonly threshold?: number
  /** Steps (once through the data). */
  readonly steps?: number
}

const heldOut = async (
  before: Model,
  after: Model,
  { evaluation, tokenizer, signal }: ProcedureContext,
): Promise<JsonObject> => {
  if (!evaluation) return {}
  const loss = async (model: Model): Promise<number> =>
    (await evaluate(model, evaluation, { tokenizer, signal })).loss
  return { heldOut: { before: await loss(before), after: await loss(after) } }
}

/**
 * Teaches the first model with the others (and, unless `self` is false, with itself as it was). Distributions are read
 * once, cut to their likeliest tokens; tokens are aligned where tokenizers differ. Only the target is written: the gate is
 * of the training alone. Throws CheckpointError for vocabularies that cannot be brought together.
 */
export const fusionX: Procedure<FusionXOptions> = procedure<FusionXOptions>({
  paper: card,
  summary: 'one model taught by several of any shape, a gate choosing who is heard',
  base: 'none',
  data: 'required',
  counts: [2, Infinity],
  options,
  run: async ([first, ...others], given, context) => {
    const { tokenizer, seed, signal, onProgress } = context
    const target = await openModel(first, { trainable: true })
    const rows = await rowsOf(target, context.data!, { tokenizer, batch: given.batch })
    const reading = { top: given.top, batch: given.batch, exact: given.exact, tokenizer, signal, onProgress }
    const said = given.self ? [await teachings(target, rows, reading)] : []
    for (const checkpoint of others)
      said.push(await teachingsFor(await openModel(checkpoint), target, rows, { ...reading, first: said[0] }))
    const taught = rows.map((row, r) => ({ ...row, sources: said.map((one) => one[r]) }))
    const { model, selection, loss } = await trainFusionX(target, taught, {
      ...given,
      seed,
      signal,
      onProgress,
    })
    const names = [...(given.self ? [first.folder] : []), ...others.map(({ folder }) => folder)]
    const used = names.map((name, k) => `${name} ${(100 * selection.usage[k]).toFixed(0)} %`)
    return {
      report: {
        target: first.folder,
        rows: rows.length,
        loss,
        sources: names.map((source, k) => ({ source, usage: selection.usage[k] })),
        ...{ entropy: selection.entropy, heard: selection.heard, hit: selection.hit },
        ...(await heldOut(target, model, context)),
      },
      notes: [`Heard: ${used.join(', ')}`],
      save: (folder) => model.save(folder),
    }
  },
})
