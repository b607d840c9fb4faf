/**
 * @file Fusion-X (arXiv 2505.23844): one target taught by several sources of any shape and tokenizer, of which a selection
 * network chooses for each row who is heard and how much.
 */
import type { JsonObject } from '../../checkpoint/index.js'
import { type Model, openModel } from '../../models/index.js'
import { evaluate } from '../../train/index.js'
import { card } from './card.js'
import { options, type FusionXOptions } from './options.js'
import { trainFusionX } from './train.js'
import { exampleRows, teachings, teachingsFor } from '../../distil/index.js'
import { type Procedure, procedure, type ProcedureContext } from '../core/procedure.js'

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
  example: { models: 'decoders', options: { steps: 1, batch: 2 } },
  evaluation: 'optional',
  counts: [2, Infinity],
  options,
  run: async ([first, ...others], given, context) => {
    const { tokenizer, seed, signal, onProgress } = context
    const target = await openModel(first, { trainable: true })
    const rows = await exampleRows(target, context.data!, { tokenizer, batch: given.batch })
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
