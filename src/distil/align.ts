/**
 * @file Two tokenisations of one text brought together: which tokens lie where (dynamic time warping over the tokens'
 * strings), and which token of one vocabulary stands for which of the other (FuseLLM, Wan et al. 2024).
 */
import { editDistance } from '../errors.js'
import type { Tokenizer } from '../text/index.js'

/** Spellings of a space at the beginning of a token. */
const spaces = /[Ġ▁]/g

/** A token as it is compared with those of another vocabulary. */
const plain = (token: string): string => token.replace(spaces, ' ')

/**
 * The cheapest alignment of two sequences of tokens: pairs [source, target] from the first of both to the last of both,
 * each a step on in one or both. A pair costs the edit distance of its tokens; of equal paths the one that goes on in both.
 */
export const alignTokens = (source: readonly string[], target: readonly string[]): [number, number][] => {
  const [s, t] = [source.map(plain), target.map(plain)]
  if (s.length === 0 || t.length === 0) return []
  const known = new Map<string, number>()
  const distance = (a: string, b: string): number => {
    if (a === b) return 0
    const key = `${a}\n${b}`
    const d = known.get(key) ?? editDistance(a, b)
    known.set(key, d)
    return d
  }
  const cost = s.map(() => new Float64Array(t.length))
  const before = (i: number, j: number): number => (i < 0 || j < 0 ? Infinity : cost[i][j])
  for (let i = 0; i < s.length; i++)
    for (let j = 0; j < t.length; j++) {
      const least = Math.min(before(i - 1, j - 1), before(i - 1, j), before(i, j - 1))
      cost[i][j] = (i + j === 0 ? 0 : least) + distance(s[i], t[j])
    }
  const path: [number, number][] = []
  let [i, j] = [s.length - 1, t.length - 1]
  for (;;) {
    path.push([i, j])
    if (i === 0 && j === 0) return path.reverse()
    const [both, one, other] = [before(i - 1, j - 1), before(i - 1, j), before(i, j - 1)]
    if (both <= one && both <= other) [i, j] = [i - 1, j - 1]
    else if (one <= other) i--
    else j--
  }
}

/**
 * The source position of each target position that lies on it and on no other, and is the same text whatever its mark of a
 * space; undefined where there is none. source, target: tokens as they are written.
 */
export const onlyPartners = (
  source: readonly string[],
  target: readonly string[],
): (number | undefined)[] => {
  const path = alignTokens(source, target)
  const count = (side: 0 | 1): Map<number, number> => {
    const counts = new Map<number, number>()
    for (const pair of path) counts.set(pair[side], (counts.get(pair[side]) ?? 0) + 1)
    return counts
  }
  const [ofSource, ofTarget] = [count(0), count(1)]
  const partners: (number | undefined)[] = target.map(() => undefined)
  for (const [i, j] of path) {
    const alone = ofSource.get(i) === 1 && ofTarget.get(j) === 1
    // Some tokenizers put a space before the text, which is none of it.
    const same =
      i + j === 0
        ? plain(source[i]).trimStart() === plain(target[j]).trimStart()
        : plain(source[i]) === plain(target[j])
    if (alone && same) partners[j] = i
  }
  return partners
}

/** Whether both number the same tokens in the same way. */
export const sameVocabulary = (a: Tokenizer, b: Tokenizer): boolean => {
  if (a === b) return true
  if (a.vocabularySize !== b.vocabularySize) return false
  for (let id = 0; id < a.vocabularySize; id++) if (a.token(id) !== b.token(id)) return false
  return true
}

/**
 * The id in `target` of what stands for a source token: the same string, else the string at the least edit distance (the
 * lowest id of equal ones). With `exact` there is no else.
 */
export const vocabularyMap = (
  source: Tokenizer,
  target: Tokenizer,
  { exact = false }: { readonly exact?: boolean } = {},
): ((id: number) => number | undefined) => {
  const tokens = Array.from({ length: target.vocabularySize }, (_, id) => target.token(id))
  const byToken = new Map<string, number>()
  tokens.forEach((token, id) => {
    if (token !== undefined && !byToken.has(plain(token))) byToken.set(plain(token), id)
  })
  const nearestTo = (token: string): number | undefined => {
    let [best, least] = [undefined as number | undefined, Infinity]
    for (const [other, id] of byToken) {
      // The difference in length is a lower bound.
      if (Math.abs(other.length - token.length) >= least) continue
      const d = editDistance(token, other)
      if (d < least) [best, least] = [id, d]
    }
    return best
  }
  const known = new Map<number, number | undefined>()
  return (id) => {
    if (known.has(id)) return known.get(id)
    const token = source.token(id)
    const text = token === undefined ? undefined : plain(token)
    const same = text === undefined ? undefined : byToken.get(text)
    const aligned = same ?? (text === undefined || exact ? undefined : nearestTo(text))
    known.set(id, aligned)
    return aligned
  }
}
