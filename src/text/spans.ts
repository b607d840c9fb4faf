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
}

/** How many leading elements `a` and `b` share. */
const commonPrefix = (a: readonly number[], b: readonly number[]): number => {
  let n = 0
  while (n < a.length && n < b.length && a[n] === b[n]) n++
  return n
}

/**
 * The ids of the whole `text`, and for each whether it lies in one of `spans`. A token that straddles the start of a
 * span is counted (the model has to produce it), one that straddles its end is not.
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
  const found = marks.filter((m) => text.startsWith(m, start)).sort((a, b) => b.length - a.length)[0]
  return found === undefined ? from : start + found.length
}

/**
 * The spans of `text` (the rendered `messages`) that assistants wrote, each with the special token that ends the turn
 * (one of `marks`). The template is rendered once more with a marker in place of each assistant's content, which shows
 * the literal text around the contents; so a template that trims or rewrites earlier turns is followed too. Throws
 * CheckpointError when the template does not show an assistant's content.
 */
export const assistantSpans = <T extends Turn>(
  messages: readonly T[],
  text: string,
  render: (messages: readonly T[], addGenerationPrompt: boolean) => string,
  marks: readonly string[],
): Span[] => {
  const spoken = messages.flatMap((m, i) =>
    m.role === 'assistant' && typeof m.content === 'string' ? [i] : [],
  )
  const marked = render(
    messages.map((m, i) => (spoken.includes(i) ? { ...m, content: marker(i) } : m)),
    false,
  )
  const spans: Span[] = []
  let [seen, at] = [0, 0]
  for (const [k, i] of spoken.entries()) {
    const start = marked.indexOf(marker(i), seen)
    const literal = marked.slice(seen, start)
    const from = start < 0 ? -1 : text.indexOf(literal, at)
    if (from < 0)
      throw new CheckpointError(
        'ChatTemplateHidesTurn',
        `the chat template does not show the content of message ${i}`,
        {
          hint: 'Leave that message out, or use records with "prompt" and "completion".',
        },
      )
    seen = start + marker(i).length
    const next = spoken[k + 1]
    const after = marked.slice(seen, next === undefined ? undefined : marked.indexOf(marker(next), seen))
    const begin = from + literal.length
    const end = endOfContent(text, begin, String(messages[i].content), after)
    // What generation is prompted with is given; white space between it and the content is the model's to write.
    const prompt = i === 0 ? undefined : render(messages.slice(0, i), true)
    const given = prompt !== undefined && isGiven(text, prompt, begin) ? prompt.length : begin
    spans.push({ from: given, to: endOfMark(text, end, marks) })
    at = end
  }
  return spans
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
