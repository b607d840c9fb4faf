/** @file Text as the stems of its content words. */
import { stemmer } from 'stemmer'

/** Words that say nothing about what a text is about. */
const functionWords = new Set(
  `a about above across after again against all almost along already also although always am among an and another any
  anybody are around as at away back be became because become been before begin behind being below best better between
  both but by came can cannot come could did do does doing done down during each either else enough ever every everybody
  few find first for from full further gave get give given go goes got had happen happens has have having he her here
  hers him his how however i if in inside instead into is it its itself just keep kept know last later least less let
  like little made make makes many may me might mine more most much must my near need needs neither never next no nobody
  none nor not nothing now of off often on once one ones only onto or other others ought our ours out outside over own per
  perhaps put quite rather really said same say see seem seems several shall she should since so some somebody something
  soon still such take taken takes than that the their theirs them themselves then there therefore these they thing
  things this those though three through thus to together too took toward two under until up upon us use used uses using
  very via want was way ways we well went were what whatever when where whether which while who whole whom whose why
  will with within without would yet you your yours`.split(/\s+/),
)

/** The words of `text` in lower case, marks of accents removed; `low-rank` is two. */
export const wordsOf = (text: string): string[] =>
  text
    .normalize('NFKD')
    .replace(/\p{M}/gu, '')
    .toLowerCase()
    .match(/[\p{L}\p{N}]+/gu) ?? []

/** Whether a word says something about its text's subject. */
export const isContent = (word: string): boolean => !functionWords.has(word)

const stems = new Map<string, string>()

/** The stem that the forms of a word share (Porter 1980). */
export const stem = (word: string): string => {
  const known = stems.get(word)
  if (known !== undefined) return known
  const stemmed = stemmer(word)
  // A search box sees endless words: remember those of texts, not those of an attacker.
  if (stems.size < 100_000) stems.set(word, stemmed)
  return stemmed
}

/** The stems of the content words of `text`, in order. */
export const contentStems = (text: string): string[] => wordsOf(text).filter(isContent).map(stem)
