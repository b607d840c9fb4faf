/** @file Tokenizers: text to token ids and back, conversations by a chat template, and the files that describe both. */
import { renderChat } from './chat/template.js'
import { CheckpointError, WeftError } from '../errors.js'
import { isObject, readJson, readText } from '../data/files.js'
import { assistantSpans, countedTokens } from './spans.js'
import { cleanUp } from './tokenizer/decoders.js'
import { broken } from './tokenizer/part.js'
import { Pipeline } from './tokenizer/pipeline.js'
import type { JoinedTokens } from './tokenizer/post-processors.js'
import { addConfiguredTokens, namedTokens, tokenText, withSettings } from './tokenizer/settings.js'

/** A message of a conversation, as chat templates read it. */
export interface Message {
  role: string
  content: string | null | readonly Record<string, unknown>[]
  [field: string]: unknown
}

/** How a conversation is rendered. */
export interface ChatOptions {
  /** End with the opening of an assistant's turn, for generation. Default false. */
  addGenerationPrompt?: boolean
  /** Function schemas offered to the model. */
  tools?: readonly unknown[]
  /** A template among several, by name. Default: `default` (or `tool_use` when there are tools and it exists). */
  template?: string
}

/** Token ids and, for each, whether a loss counts it. */
export interface MaskedTokens {
  ids: number[]
  counted: boolean[]
}

/** Content of tokenizer_config.json, special_tokens_map.json, chat_template.jinja and config.json, merged. */
export interface TokenizerConfig {
  chat_template?: string | readonly { name: string; template: string }[] | null
  [field: string]: unknown
}

/** Text to token ids and back, exactly as Hugging Face's tokenizers do it. Made by `openTokenizer`. */
export interface Tokenizer {
  /** One more than the highest id. A model's table may be larger (padded). */
  readonly vocabularySize: number
  readonly eos: number | undefined
  readonly bos: number | undefined
  readonly pad: number | undefined
  readonly unk: number | undefined
  /** Token in the place of those that are to be found; absent where there is none. */
  readonly mask?: number
  /** Ids that `decode` leaves out. */
  readonly specialIds: ReadonlySet<number>
  readonly hasChatTemplate: boolean
  /** Whether `decode` takes spaces before punctuation out (`clean_up_tokenization_spaces`). Default false. */
  readonly cleansUp?: boolean
  /** The ids of `text`. `special` (default true) adds what the model expects around a sequence, such as bos. */
  encode(text: string, options?: { special?: boolean }): number[]
  /** The ids of one text or two as one sequence, with what the model expects around and between them. `first`, `second`: ids without special ones, [tokens] each. */
  join(first: readonly number[], second?: readonly number[]): JoinedTokens
  /** The text of `ids` ([count]); ids without a token give nothing. `skipSpecial` (default true) leaves special tokens out. */
  decode(ids: ArrayLike<number>, options?: DecodeOptions): string
  /** The token an id stands for, as the vocabulary spells it. */
  token(id: number): string | undefined
  /** The id of a token as the vocabulary spells it. */
  id(token: string): number | undefined
  /** The conversation as text, by the chat template. */
  render(messages: readonly Message[], options?: ChatOptions): string
  /** The conversation as ids, by the chat template. */
  chat(messages: readonly Message[], options?: ChatOptions): number[]
  /** The same ids, and which of them assistants wrote (their end-of-turn tokens included). */
  chatWithMask(messages: readonly Message[], options?: ChatOptions): MaskedTokens
}

/** How ids become text. */
export interface DecodeOptions {
  /** Leave special tokens out. Default true. */
  skipSpecial?: boolean
  /** Take spaces before punctuation out, where the tokenizer asks for it. Default true. */
  cleanUp?: boolean
}

const checkId = (id: number): void => {
  if (!Number.isInteger(id))
    throw new WeftError('BadTokenId', `a token id is ${String(id)}; expected an integer`)
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** The template called for; a config holds one, or a list of named ones. */
const chooseTemplate = (config: TokenizerConfig, { template, tools }: ChatOptions): string => {
  const held = config.chat_template
  if (typeof held === 'string' && template === undefined) return held
  const entries: unknown[] = Array.isArray(held) ? held : []
  const named = new Map(entries.filter(isObject).map((t) => [String(t.name), t.template] as const))
  const wanted = template ?? (tools && named.has('tool_use') ? 'tool_use' : 'default')
  const text = named.get(wanted)
  if (typeof text === 'string') return text
  const known = [...named.keys()].join(', ') || (typeof held === 'string' ? 'one without a name' : 'none')
  throw new CheckpointError(
    'NoChatTemplate',
    `the tokenizer has no chat template "${wanted}" (it has: ${known})`,
    {
      hint: 'Use a model with a chat template, or records with "prompt" and "completion" instead of "messages".',
    },
  )
}

class HuggingFaceTokenizer implements Tokenizer {
  readonly vocabularySize: number
  readonly eos: number | undefined
  readonly bos: number | undefined
  readonly pad: number | undefined
  readonly unk: number | undefined
  readonly mask: number | undefined
  readonly specialIds: ReadonlySet<number>
  readonly cleansUp: boolean

  constructor(
    private readonly pipeline: Pipeline,
    private readonly config: TokenizerConfig,
    private readonly name: string,
  ) {
    this.vocabularySize = pipeline.end
    this.specialIds = pipeline.added.specialIds()
    // As Transformers: of byte-pair models it would take spaces that belong to the text.
    const forced = config.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output === true
    this.cleansUp = config.clean_up_tokenization_spaces === true && (forced || !pipeline.isBytePair)
    this.eos = this.idOf('eos')
    this.bos = this.idOf('bos')
    this.pad = this.idOf('pad')
    this.unk = this.idOf('unk')
    this.mask = this.idOf('mask')
  }

  private idOf(role: string): number | undefined {
    const text = tokenText(this.config[`${role}_token`])
    if (text !== undefined) return this.pipeline.added.id(text)
    const id: unknown = this.config[`${role}_token_id`]
    const first: unknown = Array.isArray(id) ? id[0] : id
    return typeof first === 'number' && this.token(first) !== undefined ? first : undefined
  }

  get hasChatTemplate(): boolean {
    return this.config.chat_template != null
  }

  encode(text: string, { special = true }: { special?: boolean } = {}): number[] {
    try {
      return this.pipeline.encode(text, special)
    } catch (cause) {
      throw new CheckpointError('BrokenTokenizer', `${this.name}: ${messageOf(cause)}`, { cause })
    }
  }

  join(first: readonly number[], second?: readonly number[]): JoinedTokens {
    return this.pipeline.join(first, second)
  }

  decode(
    ids: ArrayLike<number>,
    { skipSpecial = true, cleanUp: cleaning = true }: DecodeOptions = {},
  ): string {
    const list = Array.from(ids)
    for (const id of list) checkId(id)
    const text = this.pipeline.decode(list, skipSpecial)
    return this.cleansUp && cleaning ? cleanUp(text) : text
  }

  token(id: number): string | undefined {
    checkId(id)
    return this.pipeline.added.token(id)
  }

  id(token: string): number | undefined {
    return this.pipeline.added.id(token)
  }

  render(messages: readonly Message[], options: ChatOptions = {}): string {
    const source = chooseTemplate(this.config, options)
    const named = [...namedTokens(this.config)].map(([role, token]) => [role, tokenText(token)] as const)
    try {
      return renderChat(source, {
        ...Object.fromEntries(named),
        messages,
        add_generation_prompt: options.addGenerationPrompt ?? false,
        tools: options.tools ?? null,
        documents: null,
      })
    } catch (cause) {
      const roles = messages.map((m) => m.role).join(', ')
      throw new CheckpointError(
        'ChatTemplateFailed',
        `chat template: ${messageOf(cause)} (roles: ${roles})`,
        { cause },
      )
    }
  }

  chat(messages: readonly Message[], options: ChatOptions = {}): number[] {
    return this.encode(this.render(messages, options), { special: false })
  }

  chatWithMask(messages: readonly Message[], options: ChatOptions = {}): MaskedTokens {
    const marks = [...this.specialIds].map((id) => this.token(id) ?? '').filter((t) => t !== '')
    const text = this.render(messages, options)
    const spans = assistantSpans(
      messages,
      text,
      (m, addGenerationPrompt) => this.render(m, { ...options, addGenerationPrompt }),
      marks,
    )
    const encode = (part: string): number[] => this.encode(part, { special: false })
    return countedTokens(encode, text, spans)
  }
}

/**
 * The tokenizer that a parsed tokenizer.json describes. `config` is a parsed tokenizer_config.json: it names the
 * special tokens and holds the chat template; without one, eos, bos, pad and unk are undefined. `name` stands in errors.
 * Throws CheckpointError `BrokenTokenizer` when the JSON is no tokenizer, or asks for what is not known: a type, a key.
 */
export const tokenizerFromJson = (
  json: unknown,
  config: TokenizerConfig = {},
  name = 'tokenizer.json',
): Tokenizer => {
  if (!isObject(json))
    throw broken(name, `expected a JSON object, found ${Array.isArray(json) ? 'a list' : typeof json}`)
  const pad = isObject(json.padding) ? tokenText(json.padding.pad_token) : undefined
  const whole: TokenizerConfig = pad === undefined ? config : { pad_token: pad, ...config }
  const splitSpecial = config.split_special_tokens === true
  const pipeline = new Pipeline(withSettings(json, whole, name), name, { splitSpecial })
  addConfiguredTokens(pipeline, whole, name)
  return new HuggingFaceTokenizer(pipeline, whole, name)
}

const readConfig = async (folder: string, file: string): Promise<Record<string, unknown>> => {
  const json = (await readJson(`${folder}/${file}`, 'BrokenTokenizer')) ?? {}
  if (isObject(json)) return json
  throw new CheckpointError('BrokenTokenizer', `${folder}/${file}: expected a JSON object`)
}

/** The tokens of added_tokens.json as a config declares them: those that have a role are special. */
const addedAsDeclared = (
  added: Record<string, unknown>,
  config: TokenizerConfig,
): Record<string, unknown> => {
  const special = new Set([...namedTokens(config).values()].map(tokenText))
  const entries = Object.entries(added).map(([content, id]) => [
    id,
    { content, special: special.has(content) },
  ])
  return Object.fromEntries(entries) as Record<string, unknown>
}

/**
 * tokenizer_config.json with what older folders keep beside it. Where it declares its added tokens itself it says all;
 * else special_tokens_map.json and added_tokens.json are read too, and the former wins.
 */
const mergedConfig = async (folder: string): Promise<TokenizerConfig> => {
  const tokenizerConfig = await readConfig(folder, 'tokenizer_config.json')
  if (tokenizerConfig.added_tokens_decoder !== undefined) return tokenizerConfig
  const config = { ...tokenizerConfig, ...(await readConfig(folder, 'special_tokens_map.json')) }
  const added = await readConfig(folder, 'added_tokens.json')
  return Object.keys(added).length > 0
    ? { ...config, added_tokens_decoder: addedAsDeclared(added, config) }
    : config
}

/**
 * The tokenizer of a Hugging Face folder (Node): tokenizer.json, with tokenizer_config.json, special_tokens_map.json,
 * added_tokens.json, chat_template.jinja and the token ids of config.json where they exist, read as Transformers reads
 * them (a chat_template.jinja wins over the config's template). `over`: a folder, such as an adapter's, whose tokenizer or
 * chat template is taken in place of the folder's where it has one. Throws CheckpointError for a missing or broken file,
 * and for one that asks for what is not known.
 */
export const openTokenizer = async (folder: string, over?: string): Promise<Tokenizer> => {
  const replaced = over === undefined ? undefined : await readText(`${over}/tokenizer.json`)
  const source = over !== undefined && replaced !== undefined ? over : folder
  const path = `${source}/tokenizer.json`
  const json = await readJson(path, 'BrokenTokenizer')
  if (json === undefined)
    throw new CheckpointError('NoTokenizer', `${path}: no such file`, {
      hint: 'Weft reads tokenizer.json. For a folder with tokenizer.model or vocab.txt alone, load the tokenizer in Transformers and save it with save_pretrained.',
    })
  const model = await readConfig(folder, 'config.json')
  const ids = Object.entries(model).filter(([key]) => key.endsWith('_token_id'))
  const config = { ...Object.fromEntries(ids), ...(await mergedConfig(source)) }
  const laidOver = over === undefined ? undefined : await readText(`${over}/chat_template.jinja`)
  const template = laidOver ?? (await readText(`${source}/chat_template.jinja`))
  return tokenizerFromJson(
    json,
    template === undefined ? config : { ...config, chat_template: template },
    path,
  )
}
