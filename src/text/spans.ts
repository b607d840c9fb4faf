/**
 * @file Which tokens a loss counts. The tokenizer gives no character offsets, so the tokens before a place in a text
 * are counted by tokenising the text up to there.
 */
import { CheckpointError } from '../errors.js'

/** Characters `from` (included) to `to` (excluded) of a text. */
export interface Span {
  from: number
  to: number
}

interface Turn {
  role: string
  content: unknown
  tool_calls?: unknown
}

/** The chat template on some messages, with or without the opening of the next assistant's turn. */
type Render<T> = (messages: readonly T[], addGenerationPrompt: boolean) => string

/** How many leading elements `a` and `b` share. */
const commonPrefix = (a: readonly number[], b: readonly number[]): number => {
  let n = 0
  while (n < a.length && n < b.length && a[n] === b[n]) n++
  return n
}

/**
 * The ids of the whole `text`, and for each whether it lies in one of `spans`. A token that straddles the start of a
 * span is counted (the model has to produce it), one that straddles its end is not. Where a span starts inside a
 * word that tokenises differently without its end, the word's earlier tokens may count too.
 */
export const countedTokens = (
  encode: (text: string) => number[],
  text: string,
  spans: readonly Span[],
): { ids: number[]; counted: boolean[] } => {
  const ids = encode(text)
  const counted = ids.map(() => false)
  const tokensBefore = (at: number): number =>
    at >= text.length ? ids.length : commonPrefix(encode(text.slice(0, at)), ids)
  for (const { from, to } of spans) counted.fill(true, tokensBefore(from), tokensBefore(to))
  return { ids, counted }
}

/** A string that no template or message contains; templates may trim it but leave it whole. */
const marker = (i: number): string => `\u2983weft-${i}\u2984`

/** Where the first of `marks` that occurs in `text` after `from` ends; only white space may stand before it. */
const endOfMark = (text: string, from: number, marks: readonly string[]): number => {
  const start = from + (text.slice(from).match(/^\s*/)?.[0].length ?? 0)
  const mark = marks.filter((m) => text.startsWith(m, start)).sort((a, b) => b.length - a.length)[0]
  return mark === undefined ? from : start + mark.length
}

const hidden = (i: number): CheckpointError =>
  new CheckpointError(
    'ChatTemplateHidesTurn',
    `the chat template does not show what the assistant says in message ${i}`,
    { hint: 'Leave that message out, or use records with "prompt" and "completion".' },
  )

/**
 * The turns `spoken`, whose content is a string. The template is rendered once more with a marker in place of each,
 * which shows the literal text around them; so a template that trims or rewrites earlier turns is followed too.
 */
const spokenSpans = <T extends Turn>(
  messages: readonly T[],
  spoken: readonly number[],
  text: string,
  render: Render<T>,
  marks: readonly string[],
): Span[] => {
  const marked = render(
    messages.map((m, i) => (spoken.includes(i) ? { ...m, content: marker(i) } : m)),
    false,
  )
  let [seen, at] = [0, 0]
  return spoken.map((i, k) => {
    const start = marked.indexOf(marker(i), seen)
    const literal = marked.slice(seen, start)
    const position = start < 0 ? -1 : text.indexOf(literal, at)
    if (position < 0) throw hidden(i)
    seen = start + marker(i).length
    const next = spoken[k + 1]
    const after = marked.slice(seen, next === undefined ? undefined : marked.indexOf(marker(next), seen))
    const begin = position + literal.length
    at = endOfContent(text, begin, String(messages[i].content), after)
    // What generation is prompted with is given; white space between it and the content is the model's to write.
    const prompt = i === 0 ? undefined : render(messages.slice(0, i), true)
    const promptLength = prompt !== undefined && isGiven(text, prompt, begin) ? prompt.length : begin
    return { from: promptLength, to: endOfMark(text, at, marks) }
  })
}

/** A turn with tool calls or several parts: all that its message adds to the text after the generation prompt. */
const wholeSpan = <T extends Turn>(
  messages: readonly T[],
  i: number,
  text: string,
  render: Render<T>,
): Span => {
  const prompt = i === 0 ? '' : render(messages.slice(0, i), true)
  const turn = render(messages.slice(0, i + 1), false)
  if (!text.startsWith(turn) || !turn.startsWith(prompt)) throw hidden(i)
  return { from: prompt.length, to: turn.trimEnd().length }
}

/**
 * The spans of `text` (the rendered `messages`) that assistants wrote, each with the special token that ends the turn
 * (one of `marks`). Throws CheckpointError when the template does not show one.
 */
export const assistantSpans = <T extends Turn>(
  messages: readonly T[],
  text: string,
  render: Render<T>,
  marks: readonly string[],
): Span[] => {
  const turns = [...messages.keys()].filter((i) => messages[i].role === 'assistant')
  const isSpoken = (i: number): boolean =>
    typeof messages[i].content === 'string' && messages[i].tool_calls == null
  const spoken = turns.filter(isSpoken)
  const others = turns.filter((i) => !isSpoken(i)).map((i) => wholeSpan(messages, i, text, render))
  return [...(spoken.length > 0 ? spokenSpans(messages, spoken, text, render, marks) : []), ...others]
}

/** Whether `text` is `prompt` up to `begin`, white space aside. */
const isGiven = (text: string, prompt: string, begin: number): boolean =>
  text.startsWith(prompt) && prompt.length <= begin && text.slice(prompt.length, begin).trim() === ''

/** The content as written, or trimmed, or whatever the template made of it up to the literal text that follows. */
const endOfContent = (text: string, begin: number, content: string, after: string): number => {
  for (const form of [content, content.trim()])
    if (text.startsWith(form, begin) && text.startsWith(after, begin + form.length))
      return begin + form.length
  const end = after === '' ? -1 : text.indexOf(after, begin)
  return end < 0 ? text.length : end
}
