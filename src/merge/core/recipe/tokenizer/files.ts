/** @file The files of a tokenizer that a merge has made, and the chat template that a recipe asks for. */
import { formatJson, type Json, type JsonObject, parseJsonObject } from '../../../../checkpoint/index.js'
import { UsageError } from '../../../../errors.js'
import { chatTemplates } from '../chat-templates.js'
import { type Companions, companionJson, companionText, jsonText } from '../companions.js'
import { numbersOf, type Vocabulary } from '../vocabulary.js'

type Read = (name: string) => Promise<string | undefined>

/** The text of a special token, which is written plainly or as an object. */
const contentOf = (token: unknown): string | undefined =>
  typeof token === 'string' ? token : (token as { content?: string } | null | undefined)?.content

/** Roles of tokens that the vocabulary has; the others are left out. */
const kept = (config: JsonObject, tokens: ReadonlyMap<string, number>): JsonObject => {
  const copy = { ...config }
  for (const [key, value] of Object.entries(config)) {
    const content = key.endsWith('_token') ? contentOf(value) : undefined
    if (content !== undefined && !tokens.has(content)) delete copy[key]
  }
  return copy
}

const parsed = async (read: Read, name: string): Promise<JsonObject | undefined> => {
  const text = await read(name)
  return text === undefined ? undefined : parseJsonObject(text, name)
}

/** tokenizer.json, and the two files that go with it as `read` gives them, for the tokens of `vocabulary`. */
export const writtenTokenizer = async (
  vocabulary: Vocabulary,
  read: Read,
): Promise<Record<string, string>> => {
  const tokens = numbersOf(vocabulary)
  const map = await parsed(read, 'special_tokens_map.json')
  const config = (await parsed(read, 'tokenizer_config.json')) ?? {
    tokenizer_class: 'PreTrainedTokenizerFast',
  }
  const decoder = [...vocabulary.added.values()].map(({ id, ...entry }) => [String(id), entry])
  return {
    'tokenizer.json': `${formatJson(vocabulary.json as Json, { sorted: false })}\n`,
    'tokenizer_config.json': jsonText({
      ...kept(config, tokens),
      added_tokens_decoder: Object.fromEntries(decoder) as JsonObject,
    }),
    ...(map ? { 'special_tokens_map.json': jsonText(kept(map, tokens)) } : {}),
  }
}

/** The chat template among the files of a model, if it has one. */
const templateOf = async (from: Companions): Promise<string | undefined> => {
  const file = await companionText(from, 'chat_template.jinja')
  if (file !== undefined) return file.trim()
  const { chat_template: templateField } = (await companionJson(from, 'tokenizer_config.json')) ?? {}
  const named = Array.isArray(templateField)
    ? (templateField as { name?: string; template?: string }[]).find(({ name }) => name === 'default')
        ?.template
    : templateField
  return typeof named === 'string' ? named.trim() : undefined
}

/** What most have; of equals the first. */
const mostCommon = (texts: readonly string[]): string | undefined => {
  const counts = new Map<string, number>()
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1)
  return [...counts].reduce<[string | undefined, number]>(
    (best, entry) => (entry[1] > best[1] ? entry : best),
    [undefined, 0],
  )[0]
}

const resolve = async (wanted: string, members: readonly Companions[]): Promise<string | undefined> => {
  if (wanted === 'auto') {
    const memberTemplates = await Promise.all(members.map(templateOf))
    return mostCommon(memberTemplates.filter((text) => text !== undefined))
  }
  if (Object.hasOwn(chatTemplates, wanted)) return chatTemplates[wanted]
  if (wanted.length >= 20 && wanted.includes('{')) return wanted
  throw new UsageError(
    'BadChatTemplate',
    `chat_template: ${JSON.stringify(wanted)} is no format that Weft knows, and no template`,
    {
      hint: `Expected auto, a Jinja template, or one of: ${Object.keys(chatTemplates).join(', ')}.`,
    },
  )
}

/**
 * `companions` with the chat template that a recipe asks for: `auto`, a name, or the template itself. `members`: what the
 * models have. Throws UsageError for a name that is none.
 */
export const withChatTemplate = async (
  companions: Companions,
  wanted: string | undefined,
  members: readonly Companions[],
): Promise<{ companions: Companions; notes: string[] }> => {
  if (wanted === undefined) return { companions, notes: [] }
  const template = await resolve(wanted, members)
  if (template === undefined) return { companions, notes: ['chat_template: no model has one'] }
  if ((await companionText(companions, 'tokenizer.json')) === undefined)
    return { companions, notes: ['chat_template has no effect: there is no tokenizer'] }
  const config = await companionJson(companions, 'tokenizer_config.json')
  const files = {
    ...companions.files,
    'tokenizer_config.json': jsonText({ ...config, chat_template: template }),
    'chat_template.jinja': template,
  }
  return { companions: { ...companions, files }, notes: [] }
}
