/**
 * @file The text of numbers that JavaScript would write otherwise: 30.0, 1e-05, integers above 2^53. Python tells 30.0 from
 * 30, and some of its readers refuse one for the other. The text stands beside the number, under a symbol made of its
 * key, so that `{ ...config, other: 1 }` and `const { other, ...rest } = config` carry it along.
 */

const symbols = new Map<string, symbol>()

const symbolOf = (key: string): symbol => {
  const symbol = symbols.get(key) ?? Symbol(`numeral of ${key}`)
  symbols.set(key, symbol)
  return symbol
}

type Holder = Record<string | symbol, unknown>

/** Notes that the number `holder[key]` was written as `text`; nothing where JavaScript writes the same. */
export const keepNumeral = (holder: object, key: string, value: number, text: string): void => {
  if (text !== String(value)) (holder as Holder)[symbolOf(key)] = text
}

const isWhole = (text: string): boolean => /^-?\d+$/.test(text)

/**
 * The text of the number `value` under `key` of `holder`: the one that it had in the file, if it is still that number. A
 * key that held a float goes on to do so: 31 in place of 30.0 is written 31.0.
 */
export const numeralOf = (holder: object, key: string, value: number): string => {
  const plain = String(value)
  const symbol = symbols.get(key)
  const text = symbol && (holder as Holder)[symbol]
  if (typeof text !== 'string') return plain
  if (Object.is(Number(text), value)) return text
  return isWhole(plain) && !isWhole(text) ? `${plain}.0` : plain
}

/** Keys that the classes of Transformers and PEFT declare as floats. */
const floatKeys: ReadonlySet<string> = new Set([
  ...['initializer_range', 'initializer_factor', 'rms_norm_eps', 'layer_norm_eps', 'layer_norm_epsilon'],
  ...[
    'rope_theta',
    'factor',
    'low_freq_factor',
    'high_freq_factor',
    'attention_factor',
    'beta_fast',
    'beta_slow',
  ],
  ...[
    'mscale',
    'mscale_all_dim',
    'partial_rotary_factor',
    'attn_logit_softcapping',
    'final_logit_softcapping',
  ],
  ...['attention_dropout', 'hidden_dropout_prob', 'attention_probs_dropout_prob', 'classifier_dropout'],
  ...['resid_pdrop', 'embd_pdrop', 'attn_pdrop', 'summary_first_dropout', 'dropout_rate'],
  ...['router_aux_loss_coef', 'router_jitter_noise'],
  ...['lora_dropout', 'rank_dropout', 'module_dropout', 'encoder_dropout', 'beta1', 'beta2', 'vera_dropout'],
  ...['orth_reg_weight', 'd_initial', 'oft_dropout', 'layerdrop', 'eps'],
])

/**
 * A copy of `json`, a configuration that Weft has made, in which the keys that Transformers and PEFT declare as floats are
 * written as floats: 0.0, not 0. Nested objects are copied likewise.
 */
export const withFloats = <T extends object>(json: T): T => {
  const copy = { ...json } as T & Holder
  for (const [key, value] of Object.entries(json)) {
    if (typeof value === 'number' && floatKeys.has(key) && isWhole(numeralOf(json, key, value)))
      keepNumeral(copy, key, value, `${value}.0`)
    else if (typeof value === 'object' && value !== null && !Array.isArray(value))
      Object.assign(copy, { [key]: withFloats(value) })
  }
  return copy
}
