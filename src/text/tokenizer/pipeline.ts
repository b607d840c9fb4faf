/** @file What a tokenizer.json describes, whole: text to ids and back, as Hugging Face's tokenizers (Rust) do it. */
import { z } from 'zod'
import { isObject } from '../../data/files.js'
import { AddedTokens, type AddedToken, type Section } from './added-tokens.js'
import { BytePairModel } from './byte-pairs.js'
import { decoder, type Decoder } from './decoders.js'
import { type TokenModel, tokenModel } from './models.js'
import { normalizer } from './normalizers.js'
import { broken } from './part.js'
import { type JoinedTokens, joinTokens, postProcessor, type PostProcessor } from './post-processors.js'
import { type PreTokenizer, preTokenizer } from './pre-tokenizers.js'
import { wellFormed } from './unicode.js'
import { isId } from './vocabulary.js'

const flag = z.boolean().optional()

const addedSchema = z.strictObject({
  id: z.number().optional(),
  content: z.string(),
  single_word: flag,
  lstrip: flag,
  rstrip: flag,
  normalized: flag,
  special: flag,
  __type: z.literal('AddedToken').optional(),
})

/** The added token that `json` describes. Throws CheckpointError for what is none, and for a key that is not known. */
export const addedToken = (json: unknown, where: string, special = false): AddedToken => {
  const checked = addedSchema.safeParse(json)
  if (!checked.success) {
    const { path, message } = checked.error.issues[0]
    throw broken(where, `it is no added token: ${path.length > 0 ? `"${path.join('.')}": ` : ''}${message}`)
  }
  const token = checked.data
  const isSpecial = token.special ?? special
  return {
    content: token.content,
    single_word: token.single_word ?? false,
    lstrip: token.lstrip ?? false,
    rstrip: token.rstrip ?? false,
    normalized: token.normalized ?? !isSpecial,
    special: isSpecial,
  }
}

const addedTokens = (json: unknown, name: string): AddedToken[] => {
  if (!Array.isArray(json)) throw broken(name, 'its "added_tokens" is not a list')
  return json.map((token: unknown, i) => {
    if (!(isObject(token) && typeof token.content === 'string' && isId(token.id)))
      throw broken(name, `its "added_tokens[${i}]" has no "content" and "id" that make sense`)
    return addedToken(token, `${name}: added_tokens[${i}]`)
  })
}

/** `version`, `truncation` and `padding` change no ids here: what is too long or too short is the batch's business. */
const topLevel = [
  ...['version', 'truncation', 'padding', 'added_tokens'],
  ...['normalizer', 'pre_tokenizer', 'post_processor', 'decoder', 'model'],
]

const optional = <T>(
  read: (json: unknown, where: string) => T,
  json: unknown,
  where: string,
): T | undefined => (json === null || json === undefined ? undefined : read(json, where))

/** A tokenizer.json at work. */
export class Pipeline {
  readonly model: TokenModel
  readonly added: AddedTokens
  readonly #preTokenize: PreTokenizer | undefined
  readonly #postProcess: PostProcessor | undefined
  readonly #decode: Decoder | undefined

  /** Throws CheckpointError `BrokenTokenizer`, naming what it does not follow. `name` opens the messages. */
  constructor(json: Record<string, unknown>, name: string, { splitSpecial = false } = {}) {
    const unknown = Object.keys(json).filter((key) => !topLevel.includes(key))
    if (unknown.length > 0) throw broken(name, `unknown keys: ${unknown.join(', ')}`, { hint: 'unknown' })
    if (json.version !== undefined && json.version !== '1.0')
      throw broken(name, `its "version" is ${JSON.stringify(json.version)}; expected "1.0"`)
    if (!isObject(json.model)) throw broken(name, 'it has no object "model"')
    this.model = tokenModel(json.model, name)
    this.#preTokenize = optional(preTokenizer, json.pre_tokenizer, `${name}: pre_tokenizer`)
    this.#postProcess = optional(postProcessor, json.post_processor, `${name}: post_processor`)
    this.#decode = optional(decoder, json.decoder, `${name}: decoder`)
    const normalize = optional(normalizer, json.normalizer, `${name}: normalizer`)
    this.added = new AddedTokens(this.model.vocabulary, normalize, splitSpecial)
    this.added.add(addedTokens(json.added_tokens ?? [], name))
  }

  /** Whether the model is a byte-pair one. */
  get isBytePair(): boolean {
    return this.model instanceof BytePairModel
  }

  /** One more than the highest id. */
  get end(): number {
    return Math.max(this.model.vocabulary.end, this.added.end)
  }

  /** The ids of `text`; with `special`, those that belong around a sequence too. */
  encode(text: string, special: boolean): number[] {
    const ids: number[] = []
    for (const section of this.added.sections(wellFormed(text))) this.#encodeSection(section, ids)
    return special ? this.join(ids).ids : ids
  }

  /** The ids of one text or two as one sequence, with those that belong around and between them. */
  join(first: readonly number[], second?: readonly number[]): JoinedTokens {
    return joinTokens(this.#postProcess, first, second)
  }

  #encodeSection(section: Section, ids: number[]): void {
    if (typeof section === 'number') {
      ids.push(section)
      return
    }
    const pieces = this.#preTokenize ? this.#preTokenize(section) : [section]
    for (const { text } of pieces) if (text !== '') for (const id of this.model.tokenize(text)) ids.push(id)
  }

  /** The text of `ids`. Ids without a token give nothing; with `skipSpecial`, special tokens neither. */
  decode(ids: readonly number[], skipSpecial: boolean): string {
    const tokens: string[] = []
    for (const id of ids) {
      const token = skipSpecial && this.added.isSpecial(id) ? undefined : this.added.spelled(id)
      if (token !== undefined) tokens.push(token)
    }
    if (tokens.length === 0) return ''
    return this.#decode ? this.#decode(tokens).join('') : tokens.join(' ')
  }
}
