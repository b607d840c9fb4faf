/** @file LoRA's keys of adapter_config.json, and what PEFT's LoRA does to the base that they are to be read against. */
import type { JsonObject } from '../../checkpoint/index.js'
import type { Model } from '../../models/index.js'
import { allLinear, matcher } from '../../models/targets.js'
import { loraHarmless, loraVariants } from '../core/lora-keys.js'
import { type PeftTable, says, unsupported } from '../core/peft-table.js'
import { tokenKey } from '../core/token-options.js'
import { embeddingAndTied } from '../core/token-rows.js'
import type { LoraOptions } from './options.js'

/** Starts of A and B that leave the base as it is, and those that the base's weights undo: see starts.ts. */
const starts: readonly string[] = ['gaussian', 'eva', 'orthogonal', 'mica', 'pissa', 'olora']

/** Combinations that PEFT's own classes refuse, and starts that changed the base in ways that its weights do not tell. */
const check = (config: JsonObject): void => {
  const { init_lora_weights: start } = config
  if (typeof start === 'string' && says(start) && !starts.includes(start.toLowerCase()))
    throw unsupported(
      'lora',
      'init_lora_weights',
      start,
      'It changed the weights of the base too. Save it with PEFT as plain LoRA: path_initial_model_for_weight_conversion.',
    )
  for (const key of ['use_dora', 'target_parameters'])
    if (says(config.lora_bias) && says(config[key]))
      throw unsupported('lora', 'lora_bias', config.lora_bias, `PEFT has it with no ${key}.`)
}

const embeddingNames: ReadonlySet<string> = new Set(['embed_tokens', 'lm_head'])
const isEmbedding = (name: string): boolean => embeddingNames.has(name.slice(name.lastIndexOf('.') + 1))

/** Whether `end` names `module`, or one that it lies in. */
const isWithin = (module: string, end: string): boolean => `.${module}.`.includes(`.${end}.`)

/** `names` with the embedding and all that is tied to it, in the place of those of them that there are. */
const together = (
  names: readonly string[],
  { embedding, tied }: ReturnType<typeof embeddingAndTied>,
): string[] => {
  const all = [embedding, ...tied]
  return [...names.filter((name) => !all.some((module) => isWithin(module, name))), ...all]
}

/** With `ensure_weight_tying` the head follows the embedding: the file holds the same of both. */
const tiedToo = (options: LoraOptions, config: JsonObject, base: Model): LoraOptions => {
  const tie = embeddingAndTied(base)
  if (!says(config.ensure_weight_tying) || tie.tied.length === 0) return options
  const { modulesToSave = [], targets } = options
  if (modulesToSave.some(isEmbedding)) return { ...options, modulesToSave: together(modulesToSave, tie) }
  if (typeof targets === 'object' && targets.some(isEmbedding))
    return { ...options, targets: together(targets, tie) }
  if (typeof targets !== 'string' || targets === allLinear) return options
  if (![...embeddingNames].some(matcher(targets))) return options
  const names = [tie.embedding, ...tie.tied].map((name) => name.replaceAll('.', '\\.'))
  return { ...options, targets: [targets, ...names].map((part) => `(?:${part})`).join('|') }
}

/** LoRA's keys. */
export const loraTable: PeftTable<LoraOptions> = {
  keys: {
    alpha_pattern: 'alphaPattern',
    lora_alpha: 'alpha',
    lora_bias: 'updateBias',
    lora_dropout: 'dropout',
    r: 'rank',
    rank_pattern: 'rankPattern',
    trainable_token_indices: tokenKey,
    use_dora: 'dora',
    use_rslora: 'rslora',
    // PEFT leaves the base's rounding to who loads the base; it passes over these two keys.
    weft_base: { option: 'base', write: (base) => (base === 'nf4' ? base : undefined) },
    weft_base_double: {
      option: 'doubleQuantization',
      write: (double, { base }) => (base === 'nf4' ? double : undefined),
    },
  },
  missing: { alpha: 8 },
  derived: ({ sites }) => ({
    fan_in_fan_out: sites.some(({ kind, transposed }) => kind === 'linear' && transposed),
  }),
  unused: { ...loraVariants, target_parameters: null },
  harmless: { ...loraHarmless, ensure_weight_tying: false, init_lora_weights: true },
  check,
  adjust: (options, config, { base }) => tiedToo(options, config, base),
}
