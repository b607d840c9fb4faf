/** @file Patterns of tokenizer.json, and texts cut at their matches as Rust's tokenizers cut them. */
import { toRegExp } from 'oniguruma-to-es'
import { z } from 'zod'
import { broken } from './part.js'

/** A pattern as tokenizer.json writes it: text as it is, or a regular expression of Oniguruma's. */
export const patternSchema: z.ZodUnion<
  readonly [
    z.ZodObject<{ String: z.ZodString }, z.core.$strict>,
    z.ZodObject<{ Regex: z.ZodString }, z.core.$strict>,
  ]
> = z.union([z.strictObject({ String: z.string() }), z.strictObject({ Regex: z.string() })])

/** A pattern as tokenizer.json writes it. */
export type Pattern = { String: string } | { Regex: string }

/** The regular expression of JavaScript's that finds what `pattern` finds. Throws CheckpointError for one that is none. */
export const compilePattern = (pattern: Pattern, where: string): RegExp => {
  if ('String' in pattern) return new RegExp(pattern.String.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&'), 'gu')
  try {
    return toRegExp(pattern.Regex, { global: true })
  } catch (cause) {
    const what = cause instanceof Error ? cause.message : String(cause)
    throw broken(where, `the regular expression ${JSON.stringify(pattern.Regex)}: ${what}`, { cause })
  }
}

/** What becomes of the matches when a text is cut at them. */
export type Behavior = 'Removed' | 'Isolated' | 'MergedWithPrevious' | 'MergedWithNext' | 'Contiguous'

/** The names of `Behavior`. */
export const behaviors = [
  'Removed',
  'Isolated',
  'MergedWithPrevious',
  'MergedWithNext',
  'Contiguous',
] as const

/** Characters `from` (included) to `to` (excluded) of a text. */
export interface Range {
  from: number
  to: number
}

interface Match extends Range {
  matched: boolean
}

/** The whole of `text` in pieces: matches of `pattern` and what stands between them. `invert` swaps the two. */
const matchesOf = (text: string, pattern: RegExp, invert: boolean): Match[] => {
  const pieces: Match[] = []
  let end = 0
  for (const match of text.matchAll(pattern)) {
    const to = match.index + match[0].length
    if (match.index > end) pieces.push({ from: end, to: match.index, matched: invert })
    pieces.push({ from: match.index, to, matched: !invert })
    end = to
  }
  if (end < text.length) pieces.push({ from: end, to: text.length, matched: invert })
  return pieces
}

/** Pieces in order, where `joins` says that one belongs to the piece before it. */
const joined = (
  pieces: readonly Match[],
  joins: (piece: Match, before: Match | undefined) => boolean,
): Range[] => {
  const out: Range[] = []
  pieces.forEach(({ from, to }, i) => {
    const last = out.at(-1)
    if (last && joins(pieces[i], pieces[i - 1])) last.to = to
    else out.push({ from, to })
  })
  return out
}

/** As `joined`, from the end on: a match belongs to the piece after it. */
const joinedWithNext = (pieces: readonly Match[]): Range[] => {
  const out: Range[] = []
  for (let i = pieces.length - 1; i >= 0; i--) {
    const { from, to, matched } = pieces[i]
    const next = out.at(-1)
    if (next && matched && !pieces[i + 1].matched) next.from = from
    else out.push({ from, to })
  }
  return out.reverse()
}

/** `text` cut at the matches of `pattern`. Empty pieces are left out. */
export const cut = (text: string, pattern: RegExp, behavior: Behavior, invert = false): Range[] => {
  const pieces = matchesOf(text, pattern, invert)
  const ranges = {
    Removed: () => pieces.filter(({ matched }) => !matched),
    Isolated: () => pieces,
    Contiguous: () => joined(pieces, (piece, before) => piece.matched === (before?.matched ?? false)),
    MergedWithPrevious: () => joined(pieces, (piece, before) => piece.matched && !before?.matched),
    MergedWithNext: () => joinedWithNext(pieces),
  }[behavior]()
  return ranges.filter(({ from, to }) => to > from)
}
