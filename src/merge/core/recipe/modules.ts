/** @file The parts of an architecture that may have recipes of their own, as `modules` of a recipe names them. */
import type { JsonObject } from '../../../checkpoint/index.js'
import { nearest, UsageError } from '../../../errors.js'
import type { Recipe, RecipeModule } from './recipe.js'

/** A part of an architecture. */
export interface ArchitecturePart {
  readonly name: string
  /** Other names that recipes have for it. */
  readonly aliases: readonly string[]
  /** Whether the tensor of this name is in it. */
  readonly holds: (tensor: string) => boolean
  /** Where config.json counts its layers: the first of these that is there. */
  readonly layerKeys: readonly string[]
}

/** A part with its recipe. */
export interface RecipePart {
  readonly part: ArchitecturePart
  readonly recipe: RecipeModule
}

const whole: ArchitecturePart = {
  name: 'default',
  aliases: ['text_decoder'],
  holds: () => true,
  layerKeys: ['num_hidden_layers', 'n_layer', 'num_layers'],
}

const isEncoder = (tensor: string): boolean => /(^|\.)encoder\./.test(tensor)

const encoderAndDecoder: readonly ArchitecturePart[] = [
  { name: 'encoder', aliases: [], holds: isEncoder, layerKeys: ['num_layers', 'encoder_layers'] },
  {
    name: 'decoder',
    aliases: [],
    holds: (name) => !isEncoder(name),
    layerKeys: ['num_decoder_layers', 'decoder_layers'],
  },
]

/** A config.json that counts the layers of a decoder by themselves has an encoder beside it. */
const partsOf = (config: JsonObject): readonly ArchitecturePart[] =>
  config.is_encoder_decoder === true || encoderAndDecoder[1].layerKeys.some((key) => key in config)
    ? encoderAndDecoder
    : [whole]

/**
 * The recipe of each part of the architecture that `config` (config.json) describes; of the whole where the recipe has
 * no `modules`. Throws UsageError for modules that it lacks, and where one of its own has no recipe.
 */
export const recipeParts = (recipe: Recipe, config: JsonObject): RecipePart[] => {
  const { modules, models, slices } = recipe
  if (modules === undefined) return [{ part: whole, recipe: { models, slices } }]
  const parts = partsOf(config)
  const type = String(config.model_type)
  const names = parts.map(({ name }) => name)
  const nameOf = (part: ArchitecturePart): string | undefined =>
    Object.keys(modules).find((name) => name === part.name || part.aliases.includes(name))
  const known = new Set(parts.map(nameOf))
  for (const name of Object.keys(modules))
    if (!known.has(name))
      throw new UsageError('NoSuchModule', `modules.${name}: the architecture ${type} has no such module`, {
        hint: `It has: ${names.join(', ')}. Nearest: ${nearest(name, names, 1).join('')}.`,
      })
  return parts.map((part) => {
    const name = nameOf(part)
    if (name !== undefined) return { part, recipe: modules[name] }
    throw new UsageError('MissingModule', `modules: the architecture ${type} also has ${part.name}`, {
      hint: `A model needs all of: ${names.join(', ')}.`,
    })
  })
}
