/** @file Records to token ids and labels: what of a record the loss counts. */
import type { ChoiceRecord, DataRecord, RecordNotes } from './records.js'
import { countedTokens } from './spans.js'
import type { MaskedTokens, Tokenizer } from './tokenizer.js'

/** The label of a position that the loss ignores, as in PyTorch and Transformers. */
export const ignored = -100

/**
 * A tokenised record. `labels[i]` is `ids[i]` where the loss counts the token and -100 elsewhere: not shifted, so the
 * logits at position i - 1 are compared with `labels[i]`.
 */
export interface Example {
  ids: number[]
  labels: number[]
  /** The record's, where it has one. */
  task?: number
}

/** Form of an example. */
export interface ExampleOptions {
  /** The most tokens of an example; the rest is cut off at the right. Default: no limit. */
  length?: number
  /** End each text and completion with the tokenizer's eos, which counts. Default true. */
  appendEos?: boolean
}

/** Examples in the order of their records, and what had to be left out of them so far. */
export interface Examples extends AsyncIterable<Example> {
  /** Examples longer than `length`, which lost their end. */
  readonly truncated: number
  /** Examples left out because no token that counts was left in them. */
  readonly dropped: number
}

/** A space between a question and a choice, where neither brings white space. */
const joined = (prompt: string, completion: string): string =>
  /\s$/.test(prompt) || /^\s/.test(completion) || prompt === ''
    ? prompt + completion
    : `${prompt} ${completion}`

const withEos = ({ ids, counted }: MaskedTokens, eos: number | undefined): MaskedTokens =>
  eos === undefined || ids.at(-1) === eos
    ? { ids, counted }
    : { ids: [...ids, eos], counted: [...counted, true] }

/** The text's tokens, of which those from character `from` on count. */
const continuation = (tokenizer: Tokenizer, text: string, from: number): MaskedTokens =>
  countedTokens((part) => tokenizer.encode(part), text, [{ from, to: text.length }])

const choiceTokens = (tokenizer: Tokenizer, { prompt, choices }: ChoiceRecord, i: number): MaskedTokens =>
  continuation(tokenizer, joined(prompt, choices[i]), prompt.length)

const tokens = (record: DataRecord, tokenizer: Tokenizer, eos: number | undefined): MaskedTokens => {
  if ('messages' in record) return tokenizer.chatWithMask(record.messages, { tools: record.tools })
  if ('choices' in record) return withEos(choiceTokens(tokenizer, record, record.answer), eos)
  if ('completion' in record) {
    const { prompt, completion } = record
    return withEos(continuation(tokenizer, prompt + completion, prompt.length), eos)
  }
  const ids = tokenizer.encode(record.text)
  return withEos({ ids, counted: ids.map(() => true) }, eos)
}

const labelled = ({ ids, counted }: MaskedTokens, { task }: DataRecord): Example => ({
  ids,
  labels: ids.map((id, i) => (counted[i] ? id : ignored)),
  ...(task === undefined ? {} : { task }),
})

/** The whole example of a record. A multiple-choice record is learned as its prompt and its right choice. */
export const toExample = (record: DataRecord, tokenizer: Tokenizer, options: ExampleOptions = {}): Example =>
  labelled(tokens(record, tokenizer, options.appendEos === false ? undefined : tokenizer.eos), record)

/** One example a choice, for comparing their likelihoods: the tokens of the choice count, no eos is added. */
export const choiceExamples = (record: ChoiceRecord & RecordNotes, tokenizer: Tokenizer): Example[] =>
  record.choices.map((_, i) => labelled(choiceTokens(tokenizer, record, i), record))

const isCounted = (label: number, i: number): boolean => i > 0 && label !== ignored

/**
 * The examples of `records`. One without a token that counts (after cutting to `length`; the first token cannot count,
 * nothing precedes it) is left out and counted in `dropped`.
 */
export const examples = (
  records: AsyncIterable<DataRecord>,
  tokenizer: Tokenizer,
  options: ExampleOptions = {},
): Examples => {
  const { length = Infinity } = options
  let [truncated, dropped] = [0, 0]
  return {
    get truncated() {
      return truncated
    },
    get dropped() {
      return dropped
    },
    async *[Symbol.asyncIterator]() {
      for await (const record of records) {
        const whole = toExample(record, tokenizer, options)
        if (whole.ids.length > length) truncated++
        const example = { ...whole, ids: whole.ids.slice(0, length), labels: whole.labels.slice(0, length) }
        if (example.labels.some(isCounted)) yield example
        else dropped++
      }
    },
  }
}
