/** @file Tokenizers and chat templates: the only file that knows the two libraries that read them. */
import { Template } from '@huggingface/jinja'
import { Tokenizer as LibraryTokenizer } from '@huggingface/tokenizers'
import { CheckpointError, WeftError } from '../errors.js'
import { isObject, readJson, readText } from './files.js'
import { assistantSpans, countedTokens } from './spans.js'

/** A message of a conversation, as chat templates read it. */
export interface Message {
  role: string
  content: string | null | readonly Record<string, unknown>[]
  [field: string]: unknown
}

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

/** What tokenizer_config.json, special_tokens_map.json, chat_template.jinja and config.json say, merged. */
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
  /** Ids that `decode` leaves out. */
  readonly specialIds: ReadonlySet<number>
  readonly hasChatTemplate: boolean
  /** The ids of `text`. `special` (default true) adds what the model expects around a sequence, such as bos. */
  encode(text: string, options?: { special?: boolean }): number[]
  /** The text of `ids`; ids without a token give nothing. `skipSpecial` (default true) leaves special tokens out. */
  decode(ids: ArrayLike<number>, options?: { skipSpecial?: boolean }): string
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

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** A special token is written as a string, or as an object with its `content`. */
const tokenText = (x: unknown): string | undefined =>
  typeof x === 'string' ? x : isObject(x) && typeof x.content === 'string' ? x.content : undefined

const modelTypes = ['BPE', 'WordPiece', 'Unigram']
/** Ids are places in a list, so an id far beyond any vocabulary would take memory for all before it. */
const idLimit = 2 ** 24

const isId = (id: unknown): boolean => Number.isInteger(id) && (id as number) >= 0 && (id as number) < idLimit

const isScored = (entry: unknown): boolean =>
  Array.isArray(entry) && typeof entry[0] === 'string' && typeof entry[1] === 'number'

/** What is wrong with a vocabulary: an object of ids, or a unigram model's list of tokens with their scores. */
const vocabularyFault = (vocab: unknown): string | undefined => {
  if (Array.isArray(vocab)) {
    const at = vocab.findIndex((entry) => !isScored(entry))
    return at < 0 ? undefined : `its "model.vocab[${at}]" is no pair of a token and a score`
  }
  if (!isObject(vocab)) return 'its "model.vocab" is neither an object nor a list'
  const odd = Object.entries(vocab).find(([, id]) => !isId(id))
  return odd && `its "model.vocab" gives ${JSON.stringify(odd[0])} the id ${JSON.stringify(odd[1])}`
}

const addedFault = (added: unknown): string | undefined => {
  if (!Array.isArray(added)) return 'its "added_tokens" is not a list'
  const at = added.findIndex((t) => !(isObject(t) && typeof t.content === 'string' && isId(t.id)))
  return at < 0 ? undefined : `its "added_tokens[${at}]" has no "content" and "id" that make sense`
}

const checkJson = (json: unknown, name: string): Record<string, unknown> => {
  const wrong = (what: string): CheckpointError =>
    new CheckpointError('BrokenTokenizer', `${name}: ${what}`, {
      hint: 'Save the tokenizer again with a "fast" Hugging Face tokenizer, which writes tokenizer.json.',
    })
  if (!isObject(json))
    throw wrong(`expected a JSON object, found ${Array.isArray(json) ? 'a list' : typeof json}`)
  if (!isObject(json.model)) throw wrong('it has no object "model"')
  const { vocab, merges } = json.model
  const fault = vocabularyFault(vocab) ?? addedFault(json.added_tokens ?? [])
  if (fault !== undefined) throw wrong(fault)
  if (json.model.unk_id != null && !isId(json.model.unk_id)) throw wrong('its "model.unk_id" is no token id')
  // Old files leave the type out; the fields tell.
  const type = json.model.type ?? (merges ? 'BPE' : Array.isArray(vocab) ? 'Unigram' : 'WordPiece')
  if (!modelTypes.includes(String(type)))
    throw wrong(`its "model.type" is ${JSON.stringify(type)}; expected ${modelTypes.join(', ')}`)
  if (type === 'BPE' && !Array.isArray(merges)) throw wrong('its "model.merges" is not a list')
  const absent = {
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: null,
    added_tokens: [],
  }
  return { ...absent, ...json, model: { ...json.model, type } }
}

/** The template called for; a config holds one, or a list of named ones. */
const chooseTemplate = (config: TokenizerConfig, { template, tools }: ChatOptions): string => {
  const found = config.chat_template
  if (typeof found === 'string' && template === undefined) return found
  const entries: unknown[] = Array.isArray(found) ? found : []
  const named = new Map(entries.filter(isObject).map((t) => [String(t.name), t.template] as const))
  const wanted = template ?? (tools && named.has('tool_use') ? 'tool_use' : 'default')
  const text = named.get(wanted)
  if (typeof text === 'string') return text
  const known = [...named.keys()].join(', ') || (typeof found === 'string' ? 'one without a name' : 'none')
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
  readonly specialIds: ReadonlySet<number>
  private readonly templates = new Map<string, Template>()

  constructor(
    private readonly library: LibraryTokenizer,
    private readonly config: TokenizerConfig,
    private readonly name: string,
  ) {
    let highest = -1
    for (const id of library.get_vocab().values()) if (id > highest) highest = id
    this.vocabularySize = highest + 1
    const added = [...library.get_added_tokens_decoder().values()]
    this.specialIds = new Set(added.filter((t) => t.special).map((t) => t.id))
    this.eos = this.idOf('eos')
    this.bos = this.idOf('bos')
    this.pad = this.idOf('pad')
    this.unk = this.idOf('unk')
  }

  private idOf(kind: string): number | undefined {
    const text = tokenText(this.config[`${kind}_token`])
    if (text !== undefined) return this.library.token_to_id(text)
    const id: unknown = this.config[`${kind}_token_id`]
    const first: unknown = Array.isArray(id) ? id[0] : id
    return typeof first === 'number' && this.token(first) !== undefined ? first : undefined
  }

  get hasChatTemplate(): boolean {
    return this.config.chat_template != null
  }

  encode(text: string, { special = true }: { special?: boolean } = {}): number[] {
    const { ids } = this.guarded(() => this.library.encode(text, { add_special_tokens: special }))
    // A character that the vocabulary lacks, without an unknown token, has no id: it is dropped, as the reference does.
    return ids.filter((id: number | null | undefined) => id != null)
  }

  decode(ids: ArrayLike<number>, { skipSpecial = true }: { skipSpecial?: boolean } = {}): string {
    const known = Array.from(ids).filter((id) => this.token(id) !== undefined)
    if (known.length === 0) return ''
    const options = { skip_special_tokens: skipSpecial, clean_up_tokenization_spaces: false }
    return this.guarded(() => this.library.decode(known, options))
  }

  /** The library finds some faults of a tokenizer.json only when it is used. */
  private guarded<T>(use: () => T): T {
    try {
      return use()
    } catch (cause) {
      throw new CheckpointError('BrokenTokenizer', `${this.name}: ${messageOf(cause)}`, { cause })
    }
  }

  token(id: number): string | undefined {
    if (!Number.isInteger(id))
      throw new WeftError('BadTokenId', `a token id is ${String(id)}; expected an integer`)
    return this.library.id_to_token(id)
  }

  id(token: string): number | undefined {
    return this.library.token_to_id(token)
  }

  render(messages: readonly Message[], options: ChatOptions = {}): string {
    const source = chooseTemplate(this.config, options)
    try {
      let template = this.templates.get(source)
      if (!template) this.templates.set(source, (template = new Template(source)))
      return template.render({
        messages,
        add_generation_prompt: options.addGenerationPrompt ?? false,
        tools: options.tools ?? null,
        documents: null,
        bos_token: tokenText(this.config.bos_token) ?? '',
        eos_token: tokenText(this.config.eos_token) ?? '',
        pad_token: tokenText(this.config.pad_token) ?? '',
        unk_token: tokenText(this.config.unk_token) ?? '',
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
 * Throws CheckpointError when the JSON is no tokenizer.
 */
export const tokenizerFromJson = (
  json: unknown,
  config: TokenizerConfig = {},
  name = 'tokenizer.json',
): Tokenizer => {
  const checked = checkJson(json, name)
  // Names given as objects would reach the library's lookups, which expect strings.
  const named = Object.entries(config).map(
    ([k, v]) => [k, k.endsWith('_token') ? (tokenText(v) ?? v) : v] as const,
  )
  const plain = Object.fromEntries(named) as TokenizerConfig
  try {
    const library = new LibraryTokenizer(checked, { ...plain, clean_up_tokenization_spaces: false })
    return new HuggingFaceTokenizer(library, plain, name)
  } catch (cause) {
    throw new CheckpointError('BrokenTokenizer', `${name}: ${messageOf(cause)}`, { cause })
  }
}

const readConfig = async (folder: string, file: string): Promise<Record<string, unknown>> => {
  const json = (await readJson(`${folder}/${file}`, 'BrokenTokenizer')) ?? {}
  if (isObject(json)) return json
  throw new CheckpointError('BrokenTokenizer', `${folder}/${file}: expected a JSON object`)
}

/**
 * The tokenizer of a Hugging Face folder (Node): tokenizer.json, with tokenizer_config.json, special_tokens_map.json,
 * chat_template.jinja and the token ids of config.json where they exist (the first that says a thing wins; a
 * chat_template.jinja wins over the config's template, as in Transformers). Throws CheckpointError for a missing or
 * broken file.
 */
export const openTokenizer = async (folder: string): Promise<Tokenizer> => {
  const path = `${folder}/tokenizer.json`
  const json = await readJson(path, 'BrokenTokenizer')
  if (json === undefined)
    throw new CheckpointError('NoTokenizer', `${path}: no such file`, {
      hint: 'Weft reads tokenizer.json. For a folder with tokenizer.model or vocab.txt alone, load the tokenizer in Transformers and save it with save_pretrained.',
    })
  const model = await readConfig(folder, 'config.json')
  const ids = Object.entries(model).filter(([key]) => key.endsWith('_token_id'))
  const config = {
    ...Object.fromEntries(ids),
    ...(await readConfig(folder, 'special_tokens_map.json')),
    ...(await readConfig(folder, 'tokenizer_config.json')),
  }
  const template = await readText(`${folder}/chat_template.jinja`)
  return tokenizerFromJson(
    json,
    template === undefined ? config : { ...config, chat_template: template },
    path,
  )
}
