/**
 * @file What the files beside tokenizer.json change of it, as Transformers reads them: tokenizer_config.json,
 * special_tokens_map.json and added_tokens.json.
 */
import { isObject } from '../../data/files.js'
import type { AddedToken } from './added-tokens.js'
import { broken } from './part.js'
import { addedToken, type Pipeline } from './pipeline.js'

type Json = Record<string, unknown>

/** The text of a special token: written as a string, or as an object with its `content`. */
export const tokenText = (x: unknown): string | undefined =>
  typeof x === 'string' ? x : isObject(x) && typeof x.content === 'string' ? x.content : undefined

/** The roles in the order in which their tokens get ids; those that a model adds come after them. */
const roles = ['bos', 'eos', 'unk', 'sep', 'pad', 'cls', 'mask'].map((role) => `${role}_token`)

/** The special tokens that have a role (`bos_token`, `sep_token`, `image_token`, ...), by it: strings or objects. */
export const namedTokens = (config: Json): Map<string, unknown> => {
  const roleKeys = Object.keys(config).filter((key) => key.endsWith('_token') && !roles.includes(key))
  const extra = isObject(config.extra_special_tokens) ? config.extra_special_tokens : {}
  const named = { ...config, ...extra }
  const keys = new Set([...roles, ...roleKeys, ...Object.keys(extra)])
  return new Map([...keys].map((key) => [key, named[key]] as const).filter(([, token]) => tokenText(token)))
}

/** Special tokens without a role. */
const extraTokens = (config: Json): readonly unknown[] => {
  const extra = config.extra_special_tokens ?? config.additional_special_tokens
  return Array.isArray(extra) ? extra : []
}

const specialToken = (value: unknown, where: string): AddedToken =>
  addedToken(
    typeof value === 'string' ? { content: value } : { ...(value as Json), special: true },
    where,
    true,
  )

/** The tokens of `added_tokens_decoder`, in the order of their ids. */
const declaredTokens = (config: Json, name: string): AddedToken[] => {
  const declared = config.added_tokens_decoder
  if (declared == null) return []
  if (!isObject(declared)) throw broken(name, 'the "added_tokens_decoder" of its config is no object')
  return Object.entries(declared)
    .sort(([a], [b]) => Number(a) - Number(b))
    .map(([id, token]) => addedToken(token, `${name}: added_tokens_decoder["${id}"]`))
}

const isSame = (a: AddedToken, b: AddedToken | undefined): boolean =>
  b !== undefined && (Object.keys(a) as (keyof AddedToken)[]).every((key) => a[key] === b[key])

/**
 * Adds the tokens that only the config names, and makes special those with a role: all of them where the config does
 * not declare its added tokens, else those that it declares otherwise than the file.
 */
export const addConfiguredTokens = ({ added }: Pipeline, config: Json, name: string): void => {
  const named = namedTokens(config)
  const withRole = new Set([...named.values()].map(tokenText))
  const fresh = declaredTokens(config, name).filter((token) => !isSame(token, added.find(token.content)))
  added.add(fresh.map((token) => (withRole.has(token.content) ? { ...token, special: true } : token)))
  const undeclared = config.added_tokens_decoder === undefined
  for (const [key, value] of [...named, ...extraTokens(config).entries()]) {
    const known = added.find(tokenText(value) ?? '')
    if (!known) added.add([specialToken(value, `${name}: the config's ${key}`)])
    else if (undeclared && withRole.has(known.content)) added.add([{ ...known, special: true }])
  }
}

/** Classes that take tokenizer.json as it is; every other builds its parts anew from what the config says. */
const plainClasses = ['PreTrainedTokenizerFast', 'PreTrainedTokenizer', 'TokenizersBackend']

/** A part of tokenizer.json with `edit` applied to it, and to every part that a sequence has. What `edit` gives null is left out. */
const edited = (part: unknown, edit: (part: Json) => Json | null): unknown => {
  if (!isObject(part)) return part
  const list = ['normalizers', 'pretokenizers', 'decoders'].find((key) => Array.isArray(part[key]))
  if (list === undefined) return edit(part)
  const parts = part[list] as unknown[]
  return { ...part, [list]: parts.map((p) => edited(p, edit)).filter((p) => p !== null) }
}

const spaced = (json: Json, wanted: boolean, legacy: boolean, name: string): Json => {
  let places = 0
  const scheme = (part: Json): Json => {
    const now = part.prepend_scheme ?? 'always'
    const on = now === 'never' ? (legacy ? 'always' : 'first') : now
    return { ...part, prepend_scheme: wanted ? on : 'never', add_prefix_space: wanted }
  }
  const preTokenizer = edited(json.pre_tokenizer, (part) => {
    if (part.type !== 'ByteLevel' && part.type !== 'Metaspace') return part
    places++
    return part.type === 'Metaspace' ? scheme(part) : { ...part, add_prefix_space: wanted }
  })
  const normalizer = edited(json.normalizer, (part) => {
    if (part.type !== 'Prepend') return part
    places++
    return wanted ? part : null
  })
  if (wanted && places === 0)
    throw broken(name, 'its config says "add_prefix_space", and it has no part that could add one')
  const strips = (part: Json): boolean =>
    part.type === 'Strip' && part.content === ' ' && Number(part.start) > 0
  const decoder = edited(json.decoder, (part) =>
    part.type === 'Metaspace' ? scheme(part) : strips(part) && !wanted ? null : part,
  )
  return { ...json, normalizer, pre_tokenizer: preTokenizer, decoder }
}

const cased = (json: Json, config: Json): Json => ({
  ...json,
  normalizer: edited(json.normalizer, (part) => {
    if (part.type !== 'BertNormalizer') return part
    const { do_lower_case, strip_accents, tokenize_chinese_chars } = config
    return {
      ...part,
      ...(typeof do_lower_case === 'boolean' && { lowercase: do_lower_case }),
      ...('strip_accents' in config && { strip_accents }),
      ...(typeof tokenize_chinese_chars === 'boolean' && { handle_chinese_chars: tokenize_chinese_chars }),
    }
  }),
})

/**
 * tokenizer.json with what a config of a class of its own says otherwise: a space before the first word
 * (`add_prefix_space`), and BERT's case and accents. Throws CheckpointError where the file has no place for it.
 */
export const withSettings = (json: Json, config: Json, name: string): Json => {
  const { tokenizer_class: type, add_prefix_space: prefix, legacy } = config
  if (typeof type !== 'string' || plainClasses.includes(type)) return json
  const out = typeof prefix === 'boolean' ? spaced(json, prefix, legacy !== false, name) : json
  return cased(out, config)
}
