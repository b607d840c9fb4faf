/** @file The vocabulary of a merged model: the tokenizer it gets, and the rows that each model's embeddings have in it. */
import type { Checkpoint, JsonObject } from '../../../../checkpoint/index.js'
import { isJsonObject, tokenizerFileNames } from '../../../../checkpoint/index.js'
import { CheckpointError, nearest, UsageError } from '../../../../errors.js'
import type { Aligned } from '../align.js'
import { companionJson, type Companions, companionText } from '../companions.js'
import { type Recipe, type RecipeToken, tokenizerOf, type TokenSource } from '../recipe.js'
import { namedModels } from '../sources.js'
import { writtenTokenizer } from './files.js'
import { reordered, type Row } from './rows.js'
import { sizeOf, union, withinRows, withTokens } from './union.js'
import {
  checkSameVocabulary,
  embeddedRows,
  isByVocabulary,
  numbersOf,
  tensorInWords,
  readVocabulary,
  type Vocabulary,
} from '../vocabulary.js'

/** An opened model with what lies beside it. */
export interface Member {
  readonly checkpoint: Checkpoint
  readonly companions: Companions
}

/** What becomes of the vocabulary. */
export interface VocabularyPlan {
  /** `aligned` with every source's rows in the order of the result's tokens. */
  reorder(aligned: Aligned): Aligned
  /** config.json of the result, where it was `config`. */
  configured(config: JsonObject): JsonObject
  readonly companions: Companions
  /** Files that it depends on. */
  readonly inputs: readonly string[]
  readonly notes: readonly string[]
}

const noModel = (what: string, model: string, known: Iterable<string>): UsageError =>
  new UsageError('NoSuchModel', `${what}: ${model} is none of the recipe's models`, {
    hint: `They are: ${[...known].join(', ')}.`,
  })

/** Every model's vocabulary, each once; the base's for a model that has no tokenizer. */
interface Vocabularies {
  readonly base: string
  readonly all: ReadonlyMap<string, Vocabulary>
  /** As the tokenizers have them, with tokens for which there are no rows. */
  readonly stored: ReadonlyMap<string, Vocabulary>
  readonly notes: readonly string[]
}

const readAll = async (recipe: Recipe, members: ReadonlyMap<string, Member>): Promise<Vocabularies> => {
  const base = recipe.base_model ?? namedModels(recipe)[0]
  const notes: string[] = []
  const [all, stored] = [new Map<string, Vocabulary>(), new Map<string, Vocabulary>()]
  const read = async (model: string): Promise<Vocabulary> => {
    const { checkpoint, companions } = members.get(model)!
    const readTokens = (await readVocabulary(model, companions)) ?? all.get(base)
    if (!readTokens)
      throw new CheckpointError('NoTokenizer', `${checkpoint.folder}/tokenizer.json: no such file`, {
        hint: 'A vocabulary (tokenizer_source) is read from tokenizer.json, which fast Hugging Face tokenizers write: save the tokenizer with one, or leave tokenizer_source out.',
      })
    if (readTokens.model === model) stored.set(model, readTokens)
    else notes.push(`${model} has no tokenizer: taken to be that of ${base}`)
    const rows = embeddedRows(checkpoint)
    if (rows === undefined) return readTokens
    const { vocabulary, left } = withinRows(readTokens, rows, `${checkpoint.folder} (${rows} rows)`)
    if (left.length && readTokens.model === model)
      notes.push(
        `${model} has no rows for ${left.length} added tokens, which are left out: ${left.slice(0, 5).join(' ')}`,
      )
    return vocabulary
  }
  for (const model of [base, ...members.keys()]) if (!all.has(model)) all.set(model, await read(model))
  return { base, all, stored, notes }
}

/** The result's vocabulary, and what lies beside the model that its tokenizer was made from. */
interface Chosen {
  readonly vocabulary: Vocabulary
  /** Where that is stored; absent where it was united of several. */
  readonly original?: Vocabulary
  readonly companions: Companions
  /** config.json of that model. */
  readonly config: JsonObject
}

/** The vocabulary that `source` names: union, base, one of the models, or the folder in which `tokenizer` lies. */
const chosen = async (
  source: string,
  { base, all, stored }: Vocabularies,
  members: ReadonlyMap<string, Member>,
  tokenizer: Companions | undefined,
): Promise<Chosen> => {
  const of = (model: string, vocabulary: Vocabulary): Chosen => {
    const { companions, checkpoint } = members.get(model)!
    return { vocabulary, original: stored.get(model), companions, config: checkpoint.config }
  }
  if (source === 'base') return of(base, all.get(base)!)
  if (source === 'union') {
    const others = [...all].filter(([model]) => model !== base).map(([, vocabulary]) => vocabulary)
    return of(base, union(all.get(base)!, others))
  }
  const vocabulary = all.get(source)
  if (vocabulary) return of(source, vocabulary)
  const foreign = tokenizer && (await readVocabulary(source, tokenizer))
  if (!foreign) throw noModel('tokenizer_source', source, [...all.keys(), 'base', 'union'])
  const config = (await companionJson(tokenizer, 'config.json')) ?? {}
  return { vocabulary: foreign, original: foreign, companions: tokenizer, config }
}

/** What a union does with tokens that the models' own tokenizers do not share. */
const unionNotes = (source: string, united: Vocabulary, { base, all }: Vocabularies): string[] => {
  const fresh = united.own.size - all.get(base)!.own.size
  if (source !== 'union' || fresh <= 0) return []
  return [
    `${fresh} tokens of other models follow those of ${base}, and their merges come after its: its text is split as before, unless another model has a longer token for a word`,
  ]
}

/** For each number of the result the number that `model`'s embeddings have the token under; -1 for none. */
const rowsIn = (
  tokens: ReadonlyMap<string, number>,
  size: number,
  vocabulary: Vocabulary,
  rows: number,
): Int32Array => {
  const out = new Int32Array(size).fill(-1)
  const numbers = numbersOf(vocabulary)
  for (const [token, id] of tokens) {
    const row = numbers.get(token)
    if (row !== undefined && row < rows) out[id] = row
  }
  return out
}

/** What a recipe gives as a token's numbers: a model, and a row of its embeddings; undefined for zeros. */
type Given = { readonly model: string; readonly row: number } | undefined

const givenRow = (
  token: string,
  source: TokenSource,
  { all }: Vocabularies,
  members: ReadonlyMap<string, Member>,
): Given => {
  if (typeof source === 'object' && source.kind === 'zero') return undefined
  const what = `tokenizer.tokens.${token}.source`
  const [model, wanted] =
    typeof source === 'string' ? [source, token] : [source.model, source.token ?? source.token_id!]
  const vocabulary = all.get(model)
  if (!vocabulary) throw noModel(what, model, all.keys())
  const { checkpoint } = members.get(model)!
  const rows = embeddedRows(checkpoint) ?? 0
  if (typeof wanted === 'number') {
    if (wanted < rows) return { model, row: wanted }
    throw new UsageError('NoSuchToken', `${what}: token_id ${wanted}: ${checkpoint.folder} has ${rows} rows`)
  }
  const numbers = numbersOf(vocabulary)
  const row = numbers.get(wanted)
  if (row !== undefined && row < rows) return { model, row }
  throw new UsageError('NoSuchToken', `${what}: ${model} has no token ${JSON.stringify(wanted)}`, {
    hint: `Nearest: ${nearest(wanted, numbers.keys(), 3).join(', ')}.`,
  })
}

/** What is known of the result's tokens when a tensor is reordered. */
interface Order {
  readonly size: number
  readonly tokens: ReadonlyMap<string, number>
  readonly settings: Readonly<Record<string, RecipeToken>>
  readonly given: ReadonlyMap<string, Given>
  /** By model. */
  readonly rows: ReadonlyMap<string, Int32Array>
  readonly members: ReadonlyMap<string, Member>
}

/**
 * The rows that stand for a token in the models that lack it: as the recipe says; of the one model that has it; the
 * base's; the average of those of all that have it. None, for zeros, where no model has it.
 */
const standIns = (
  token: string,
  id: number,
  { given, rows }: Order,
  models: readonly string[],
  base: string | undefined,
): { readonly model: string; readonly row: number }[] => {
  if (given.has(token)) return [given.get(token)].filter((row) => row !== undefined)
  const having = models.map((model) => ({ model, row: rows.get(model)![id] })).filter(({ row }) => row >= 0)
  const ofBase = having.find(({ model }) => model === base)
  return having.length > 1 && ofBase ? [ofBase] : having
}

const reorderedTensor = (aligned: Aligned, order: Order): Aligned => {
  const { sources, slice } = aligned
  const { size, tokens, settings, rows, members } = order
  const { name } = sources[0].info
  const { base } = slice
  const models = [...new Set([...sources.map(({ model }) => model), ...(base === undefined ? [] : [base])])]
  const row = ({ model, row }: { readonly model: string; readonly row: number }): Row => {
    const { checkpoint } = members.get(model)!
    return { from: { checkpoint, info: checkpoint.info(name) }, row }
  }
  const filled = new Map<number, readonly Row[]>()
  const fill = (token: string, id: number): void => {
    if (!filled.has(id)) filled.set(id, standIns(token, id, order, models, base).map(row))
  }
  const perSource = sources.map(({ model }) => {
    const all = rows.get(model)!.slice()
    for (const [token, id] of tokens) {
      if (settings[token]?.force) all[id] = -1
      if (all[id] < 0) fill(token, id)
    }
    return all
  })
  const widths = new Set(sources.map(({ info }) => String(info.shape.slice(1))))
  if (widths.size > 1)
    throw new CheckpointError(
      'ShapeMismatch',
      `${sources.map(({ checkpoint, info }) => tensorInWords(checkpoint, info)).join(' does not fit ')}.`,
      { hint: 'Vocabularies can be reordered, widths cannot: the models have different sizes.' },
    )
  return {
    ...aligned,
    sources: sources.map((source, s) => reordered(source, { own: padded(perSource[s], size), filled })),
  }
}

const padded = (rows: Int32Array, size: number): Int32Array => {
  const out = new Int32Array(size).fill(-1)
  out.set(rows)
  return out
}

const multiple = (size: number, of: number | null | undefined): number =>
  of ? Math.ceil(size / of) * of : size

/** config.json with the size of the vocabulary, and the special tokens' numbers of the model that gave the tokenizer. */
const configured = (config: JsonObject, size: number, from: JsonObject): JsonObject => {
  const ids = Object.entries(from).filter(([key]) => key.endsWith('_token_id'))
  const text = config.text_config
  const nested = isJsonObject(text) && !('vocab_size' in config)
  const sized: JsonObject = nested ? { text_config: { ...text, vocab_size: size } } : { vocab_size: size }
  return { ...config, ...Object.fromEntries(ids), ...sized }
}

const unknownTokens = (order: Order, models: readonly string[]): string[] =>
  [...order.tokens.keys()].filter((token) => {
    const id = order.tokens.get(token)!
    return !order.given.has(token) && models.every((model) => order.rows.get(model)![id] < 0)
  })

/** Where the models have one vocabulary: it is checked, and the donor's files are copied. */
const unchanged = async (
  recipe: Recipe,
  members: ReadonlyMap<string, Member>,
  options: { readonly allowCrimes?: boolean },
): Promise<VocabularyPlan> => {
  const read = [...members].map(([model, { companions }]) => readVocabulary(model, companions))
  const vocabularies = (await Promise.all(read)).filter((vocabulary) => vocabulary !== undefined)
  return {
    reorder: (aligned) => aligned,
    configured: (config) => config,
    companions: members.get(recipe.base_model ?? namedModels(recipe)[0])!.companions,
    inputs: [],
    notes: checkSameVocabulary(vocabularies, options),
  }
}

/**
 * Plans the vocabulary that `recipe` asks for. `tokenizer`: what lies in the folder that the recipe names as its
 * tokenizer's source, where that is none of its models. Throws UsageError for models and tokens that there are not, CheckpointError
 * for tokenizers that do not fit their embeddings or each other.
 */
export const planVocabulary = async (
  recipe: Recipe,
  members: ReadonlyMap<string, Member>,
  options: { readonly allowCrimes?: boolean; readonly tokenizer?: Companions } = {},
): Promise<VocabularyPlan> => {
  const wanted = tokenizerOf(recipe)
  if (!wanted) return unchanged(recipe, members, options)
  const vocabularies = await readAll(recipe, members)
  const { tokens: settings = {} } = wanted
  const from = await chosen(wanted.source, vocabularies, members, options.tokenizer)
  const { vocabulary: before, original, companions } = from
  const vocabulary = withTokens(before, Object.keys(settings))
  const tokens = numbersOf(vocabulary)
  const count = sizeOf(vocabulary)
  const models = [...vocabularies.all]
  const forced = Object.entries(settings).flatMap(([token, { source }]) =>
    source === undefined ? [] : [[token, givenRow(token, source, vocabularies, members)] as const],
  )
  const order: Order = {
    size: multiple(count, wanted.pad_to_multiple_of),
    tokens,
    settings,
    given: new Map(forced),
    rows: new Map(
      models.map(([model, ids]) => {
        const rows = embeddedRows(members.get(model)!.checkpoint) ?? Infinity
        return [model, rowsIn(tokens, count, ids, rows)] as const
      }),
    ),
    members,
  }
  const nowhere = unknownTokens(order, [...vocabularies.all.keys()])
  return {
    reorder: (aligned) => (isByVocabulary(aligned.name) ? reorderedTensor(aligned, order) : aligned),
    configured: (config) => configured(config, order.size, from.config),
    companions:
      original && sameNumbers(original, vocabulary)
        ? companions
        : await rewrittenCompanions(companions, vocabulary),
    inputs: [...inputsOf(members, vocabularies), ...(original ? [original.file] : [])],
    notes: [
      ...vocabularies.notes,
      ...unionNotes(wanted.source, before, vocabularies),
      ...(nowhere.length
        ? [`${nowhere.length} tokens are in no model, and get zeros: ${nowhere.slice(0, 5).join(' ')}`]
        : []),
    ],
  }
}

const sameNumbers = (a: Vocabulary, b: Vocabulary): boolean => {
  const x = numbersOf(a)
  const y = numbersOf(b)
  return (
    x.size === y.size && a.added.size === b.added.size && [...x].every(([token, id]) => y.get(token) === id)
  )
}

const rewrittenCompanions = async (from: Companions, vocabulary: Vocabulary): Promise<Companions> => ({
  ...from,
  leave: [...new Set([...from.leave, ...tokenizerFileNames])],
  files: { ...from.files, ...(await writtenTokenizer(vocabulary, (name) => companionText(from, name))) },
})

/** Files whose numbers and tokens go into the result without being named by a tensor of the plan. */
const inputsOf = (members: ReadonlyMap<string, Member>, { all }: Vocabularies): string[] => [
  ...[...members.values()].flatMap(({ checkpoint }) =>
    checkpoint
      .names()
      .filter(isByVocabulary)
      .flatMap((name) => checkpoint.info(name).path ?? []),
  ),
  ...[...all.values()].map(({ file }) => file),
]
