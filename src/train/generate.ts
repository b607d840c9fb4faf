/** @file Generation: tokens one by one, with the cache where the architecture has one, and text made of them. */
import { UsageError } from '../errors.js'
import { decoder, type Model } from '../models/index.js'
import { Stream } from '../random/index.js'
import { type CompileOptions, type Tensor, type Value, valueOf } from '../tensor/index.js'
import { type Message, streamDecoder, type Tokenizer } from '../text/index.js'
import { byShape } from './by-shape.js'
import { positionLimit, tokenizerOf } from './data.js'
import { forward } from './loss.js'
import { StopTexts } from './stops.js'
import { checkSampling, logSumExp, ranked, sample, type SamplingOptions } from './sample.js'

/** Settings of the generation of tokens. */
export interface TokenOptions extends SamplingOptions, Pick<CompileOptions, 'device'> {
  /** The most new tokens. Default 128, or as many as the model has positions for. */
  readonly maxTokens?: number
  /** Ids that end the text and are not part of it: one, or [ids] of which any does. Default: those that the model's folder names. */
  readonly eos?: number | readonly number[]
  /** Keep keys and values between tokens where the architecture can. Default true. */
  readonly cache?: boolean
  /** Seed of the draws. Default 0. */
  readonly seed?: number | string
  /** How many of the most likely tokens to give with each, beside itself. Default 0. */
  readonly alternatives?: number
  /** Ends the generation before the next token, by throwing its reason. */
  readonly signal?: AbortSignal
}

/** Settings of the generation of text. */
export interface GenerateOptions extends TokenOptions {
  /** Texts that end the generation and are not part of it; they may be special tokens, or contain some. */
  readonly stop?: string | readonly string[]
  /** Default: that of the model's folder. */
  readonly tokenizer?: Tokenizer
}

/** A token that was generated. */
export interface GeneratedToken {
  readonly id: number
  /** ln of its probability, before temperature, top-k and top-p. */
  readonly logProbability: number
  /** The most likely tokens, where they were asked for. */
  readonly alternatives: readonly { readonly id: number; readonly logProbability: number }[]
}

/** Logits of one token, [vocabulary], and ln of the sum of their exp. */
interface Prediction {
  readonly logits: Float32Array
  readonly logSumExp: number
}

/** Predicts the token after all that it was given; each call gives it one token more. */
interface Predictor {
  first(): Promise<Prediction>
  next(id: number): Promise<Prediction>
}

const cached = (
  model: Model,
  prompt: readonly number[],
  capacity: number,
  options: TokenOptions,
): Predictor => {
  const sequence = decoder(model, { capacity, device: options.device })
  const predicted = async (logits: Promise<Value>): Promise<Prediction> => ({
    logits: (await (await logits).read()) as Float32Array,
    logSumExp: sequence.logSumExp[0],
  })
  return {
    first: () => predicted(sequence.prefill([prompt])),
    next: (id) => predicted(sequence.step([id])),
  }
}

interface WholeInputs<T> {
  readonly parameters: Readonly<Record<string, T>>
  readonly ids: T
  readonly decoderIds?: T
  /** Where the last token stands: [1, 1]. */
  readonly last: T
}

/** Sizes of the programs that read whole sequences. */
const bucket = (length: number, most: number): number =>
  Math.min(most, 16 * 2 ** Math.max(0, Math.ceil(Math.log2(length / 16))))

const row = (ids: readonly number[], length: number): Value =>
  valueOf([...ids, ...new Array<number>(length - ids.length).fill(0)], [1, length], 'int32')

/** Without a cache: everything is read again for each token. What stands behind the last token is not seen by it. */
const uncached = (
  model: Model,
  prompt: readonly number[],
  capacity: number,
  options: TokenOptions,
): Predictor => {
  const sequence = model.architecture.task(model.config) === 'sequence'
  const program = byShape(
    ({ parameters, ids, decoderIds, last }: WholeInputs<Tensor>) => {
      const { logits } = forward(model, parameters, { ids, ...(decoderIds && { decoderIds }) })
      const at = last.unsqueeze(-1).expand([1, 1, logits.shape[2]])
      return { logits: logits.gatherElements(at, 1).squeeze(1) }
    },
    { device: options.device },
  )
  const { decoder_start_token_id: start, pad_token_id: pad } = model.checkpoint.config
  const read = sequence ? [Number(start ?? pad ?? 0)] : [...prompt]
  const run = async (): Promise<Prediction> => {
    const tokens = row(read, bucket(read.length, capacity))
    const last = valueOf([read.length - 1], [1, 1], 'int32')
    const given = sequence ? { ids: row(prompt, prompt.length), decoderIds: tokens } : { ids: tokens }
    const next = await program({ parameters: model.parameters, last, ...given })
    const logits = (await next.logits.read()) as Float32Array
    return { logits, logSumExp: logSumExp(logits) }
  }
  return {
    first: run,
    next(id) {
      read.push(id)
      return run()
    },
  }
}

const endsOf = ({ checkpoint: { config, generationConfig } }: Model, { eos }: TokenOptions): Set<number> => {
  const found = eos ?? generationConfig?.eos_token_id ?? config.eos_token_id ?? []
  return new Set([found].flat() as number[])
}

/** How many tokens the sequence may have at the end, and how many of them are new. */
const roomFor = (model: Model, prompt: readonly number[], { maxTokens }: TokenOptions): [number, number] => {
  const limit = positionLimit(model)
  const task = model.architecture.task(model.config)
  if (task !== 'causal' && task !== 'sequence')
    throw new UsageError(
      'CannotGenerate',
      `${model.checkpoint.folder}: a model for '${task}' generates no text`,
    )
  if (prompt.length === 0)
    throw new UsageError('EmptyPrompt', 'the prompt has no token', { hint: 'Give some text to begin with.' })
  const before = task === 'causal' ? prompt.length : 1
  if (before >= limit)
    throw new UsageError('TooLong', `the prompt has ${before} tokens; the model has positions for ${limit}`)
  const fresh = Math.min(maxTokens ?? 128, limit - before)
  return [before + fresh, fresh]
}

/**
 * Tokens after the prompt, one by one, up to an end token (not given) or the limit. The same seed gives the same tokens.
 * `prompt`: [time] ids; `options.eos`: an id or [ids].
 * Throws UsageError for an empty or too long prompt, and for a model that generates no text.
 */
export async function* generateTokens(
  model: Model,
  prompt: readonly number[],
  options: TokenOptions = {},
): AsyncGenerator<GeneratedToken> {
  checkSampling(options)
  const [capacity, fresh] = roomFor(model, prompt, options)
  const keeps = model.architecture.cache !== undefined && options.cache !== false
  const predictor = (keeps ? cached : uncached)(model, prompt, capacity, options)
  const stream = new Stream(options.seed ?? 0).fork('generate')
  const ends = endsOf(model, options)
  let previous: number | undefined
  for (let i = 0; i < fresh; i++) {
    options.signal?.throwIfAborted()
    const predicting = previous === undefined ? predictor.first() : predictor.next(previous)
    const { logits, logSumExp } = await predicting
    const id = sample(logits, options, stream)
    if (ends.has(id)) return
    const wanted = options.alternatives
    const alternatives = wanted ? ranked(new Float64Array(logits), wanted) : []
    const entry = (token: number) => ({ id: token, logProbability: logits[token] - logSumExp })
    yield { ...entry(id), alternatives: alternatives.map(entry) }
    previous = id
  }
}

/**
 * Text after the prompt, in pieces as it comes: a text (as it is), a conversation (by the chat template), or ids.
 * `generateTokens` gives ids and probabilities instead. `prompt` as ids: [time]; `options.eos`: an id or [ids]. Throws
 * UsageError as `generateTokens` does.
 */
export async function* generate(
  model: Model,
  prompt: string | readonly number[] | readonly Message[],
  options: GenerateOptions = {},
): AsyncGenerator<string> {
  const tokenizer = await tokenizerOf(model, options.tokenizer)
  const ids = promptIds(prompt, tokenizer)
  const stops = new StopTexts([options.stop ?? []].flat())
  const text = streamDecoder(tokenizer, { after: continues(model, prompt) ? ids : [] })
  const eos = options.eos ?? (endsOf(model, options).size ? undefined : tokenizer.eos)
  const tokens = generateTokens(model, ids, { ...options, ...(eos === undefined ? {} : { eos }) })
  for await (const { id } of tokens) {
    const special = tokenizer.specialIds.has(id)
    const ready = special ? stops.push(tokenizer.token(id) ?? '', false) : stops.push(text.push(id))
    if (ready.text !== '') yield ready.text
    if (ready.stopped) return
  }
  const last = stops.push(text.end())
  const rest = last.stopped ? last.text : last.text + stops.end()
  if (rest !== '') yield rest
}

/** Whether the output goes on in the text of the prompt: an answer, and another sequence, are texts of their own. */
const continues = (model: Model, prompt: string | readonly number[] | readonly Message[]): boolean =>
  model.architecture.task(model.config) === 'causal' && typeof prompt[0] !== 'object'

const promptIds = (
  prompt: string | readonly number[] | readonly Message[],
  tokenizer: Tokenizer,
): readonly number[] => {
  if (typeof prompt === 'string') return tokenizer.encode(prompt)
  if (typeof prompt[0] === 'object')
    return tokenizer.chat(prompt as readonly Message[], { addGenerationPrompt: true })
  return prompt as readonly number[]
}
