/**
 * @file Diversity-rewarded CFG distillation (arXiv 2410.06084): a model learns what guidance makes of it, once for quality
 * and once for variety, and the two are interpolated.
 */
import { join } from 'node:path'
import type { JsonObject } from '../../checkpoint/index.js'
import { UsageError } from '../../errors.js'
import { type Model, openModel } from '../../models/index.js'
import type { Example, Tokenizer } from '../../text/index.js'
import { ignored } from '../../text/index.js'
import { card } from './card.js'
import { options, type CfgDistillationOptions } from './options.js'
import { type Distilled, distilGuidance, type DistilOptions } from './train.js'
import { exampleRows, tokenizerIn } from '../../distil/index.js'
import { type Merged, type Procedure, procedure, type ProcedureContext } from '../core/procedure.js'
import type { Recipe } from '../core/recipe/recipe.js'
import { mergeRecipe } from '../tensor-methods/recipes.js'

/**
 * The recipe of (1 - mix) quality + mix variety. At the ends it is one of the two, bit for bit. `quality`, `variety`: as
 * recipes name models.
 */
export const interpolation = (quality: string, variety: string, mix: number): Recipe => {
  const weighted = (model: string, weight: number) => ({ model, parameters: { weight } })
  if (mix === 0 || mix === 1)
    return { merge_method: 'passthrough', models: [{ model: mix ? variety : quality }] }
  return {
    merge_method: 'linear',
    models: [weighted(quality, 1 - mix), weighted(variety, mix)],
    parameters: { normalize: false },
  }
}

/** What stands before the tokens that count; of a text that counts whole, the text itself. */
const promptOf = ({ ids, labels }: Example, eos: number | undefined): number[] => {
  const first = labels.findIndex((label) => label !== ignored)
  if (first > 0) return ids.slice(0, first)
  return ids.at(-1) === eos ? ids.slice(0, -1) : ids
}

const checkMix = ({ mix, extrapolate }: CfgDistillationOptions): string[] => {
  if (mix >= 0 && mix <= 1) return []
  if (extrapolate) return [`a mix of ${mix} extrapolates beyond the two students`]
  throw new UsageError('BadMix', `mix is ${mix}; expected 0 to 1`, { hint: 'To go beyond: extrapolate.' })
}

/** The tokens of the negative prompt: at least the one that every text begins with. */
const negativeTokens = (text: string, tokenizer: Tokenizer | undefined): number[] => {
  const ids = text === '' ? [] : (tokenizer?.encode(text) ?? [])
  if (ids.length > 0) return ids
  const start = tokenizer?.bos ?? tokenizer?.eos
  if (start !== undefined) return [start]
  throw new UsageError(
    'NoNegative',
    'the tokenizer has no token that begins a text, to stand for an empty prompt',
    {
      hint: 'Give a negative prompt (negative).',
    },
  )
}

const settingsFor = async (
  base: Model,
  given: CfgDistillationOptions,
  { seed, signal, onProgress, tokenizer }: ProcedureContext,
): Promise<DistilOptions & { tokenizer?: Tokenizer }> => {
  const { guidance, negative, tokens, steps, prompts, samples, learningRate, temperature, direction } = given
  const own = tokenizer ?? (await tokenizerIn(base.checkpoint))
  return {
    guidance: { scale: guidance, negative: negativeTokens(negative, own) },
    ...{ tokens, steps, prompts, samples, learningRate, temperature, direction, seed, signal, onProgress },
    ends: new Set(own?.eos === undefined ? [] : [own.eos]),
    tokenizer: own,
  }
}

const found = ({ kl, diversity }: Distilled): JsonObject => ({ kl, diversity })

/**
 * Distils the guidance of a conditional generator into its weights, twice: for quality, and with a reward for unlike samples
 * of a prompt. Writes the mix of both, and beside it the two students (folders `quality` and `variety`) with the recipe,
 * so that another mix is a merge away. Only the prompts of `data` are used. With a diversity of 0 there is one student.
 */
export const cfgDistillation: Procedure<CfgDistillationOptions> = procedure<CfgDistillationOptions>({
  paper: card,
  summary: 'guidance distilled into the weights, for quality and for variety, and a dial between both',
  base: 'none',
  data: 'required',
  example: { models: 'decoders', options: { steps: 1, prompts: 1, samples: 2, tokens: 2 } },
  counts: [1, 1],
  options,
  run: async ([checkpoint], given, context): Promise<Merged> => {
    const notes = checkMix(given)
    const [base, teacher] = [await openModel(checkpoint, { trainable: true }), await openModel(checkpoint)]
    const { tokenizer, ...settings } = await settingsFor(base, given, context)
    const rows = await exampleRows(base, context.data!, { tokenizer })
    const room = Number(
      base.checkpoint.config.max_position_embeddings ?? base.checkpoint.config.n_positions ?? Infinity,
    )
    const all = rows.map((row) => promptOf(row, tokenizer?.eos))
    const prompts = all.filter(({ length }) => length > 0 && length + given.tokens <= room)
    if (prompts.length < all.length)
      notes.push(
        `${all.length - prompts.length} of ${all.length} prompts are empty or too long, and left out`,
      )
    const quality = await distilGuidance(base, teacher, prompts, settings)
    if (given.diversity === 0)
      return { report: { quality: found(quality) }, notes, save: (folder) => quality.model.save(folder) }
    const variety = await distilGuidance(base, teacher, prompts, { ...settings, diversity: given.diversity })
    const recipe = interpolation('./quality', './variety', given.mix)
    notes.push(
      'For another mix change the weights in mergekit_config.yml, and merge it from inside its folder.',
    )
    return {
      report: {
        base: checkpoint.folder,
        prompts: prompts.length,
        ...{ quality: found(quality), variety: found(variety), mix: given.mix },
        recipe: recipe as unknown as JsonObject,
      },
      notes,
      save: async (folder) => {
        await quality.model.save(join(folder, 'quality'))
        await variety.model.save(join(folder, 'variety'))
        await mergeRecipe(recipe, folder, { folder, signal: context.signal, onProgress: context.onProgress })
      },
    }
  },
})
