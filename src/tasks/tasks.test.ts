import { describe, expect, it } from 'vitest'
import { trainBytePairs, type Tokenizer, tokenizerFromJson } from '../text/index.js'
import { isExact, wordF1 } from './answer-measures.js'
import { entitiesIn } from './entities.js'
import { joinedWithin } from './rows.js'
import { encodedWords, placedTokens } from './words.js'

const text = 'The owl, which sings at night, sleeps by day; the cats sleep whenever they please.'
const json = trainBytePairs([text, text], { vocabularySize: 300, specialTokens: ['[CLS]', '[SEP]'] })
const named = { cls: ['[CLS]', 0], sep: ['[SEP]', 1] }
const around = (post_processor: object): Tokenizer => tokenizerFromJson({ ...json, post_processor })
const bert = around({ type: 'BertProcessing', ...named })
const roberta = around({ type: 'RobertaProcessing', ...named, trim_offsets: true, add_prefix_space: false })
const plain = tokenizerFromJson(json)

describe('two texts as one sequence', () => {
  const [first, second] = [[7, 8], [9]]

  it("as BERT's, RoBERTa's and a tokenizer without special tokens have it", () => {
    expect(bert.join(first, second)).toEqual({
      ids: [0, 7, 8, 1, 9, 1],
      types: [0, 0, 0, 0, 1, 1],
      starts: [1, 4],
    })
    expect(roberta.join(first, second)).toEqual({
      ids: [0, 7, 8, 1, 1, 9, 1],
      types: [0, 0, 0, 0, 0, 0, 0],
      starts: [1, 5],
    })
    expect(plain.join(first, second)).toEqual({ ids: [7, 8, 9], types: [0, 0, 1], starts: [0, 2] })
    expect(roberta.join(first)).toEqual({ ids: [0, 7, 8, 1], types: [0, 0, 0, 0], starts: [1] })
  })

  it('the longer one loses its end where there is no room for both', () => {
    const long = text
    const { ids } = joinedWithin(bert, long, 'The owl', 12)
    const owl = bert.encode('The owl', { special: false })
    expect(ids).toHaveLength(12)
    expect(ids.slice(-1 - owl.length)).toEqual([...owl, 1])
    expect(joinedWithin(bert, long, long, 13).ids).toHaveLength(13)
    expect(joinedWithin(bert, 'The owl', 'The owl', 64).ids).toHaveLength(3 + 2 * owl.length)
  })
})

describe('tokens and their characters', () => {
  it('words one by one are the tokens of their text', () => {
    expect(encodedWords(plain, text.split(' ')).flat()).toEqual(plain.encode(text))
  })

  it('the places of a text add up to it', () => {
    const spaced = ` ${text.replace('night', '\n\n night')}  zebra…`
    const { ids, starts, ends } = placedTokens(plain, spaced)
    expect(ids).toEqual(plain.encode(spaced.trimEnd()))
    const covered = starts.map((start, i) => spaced.slice(start, ends[i])).join('')
    expect(covered).toBe(spaced.replace(/\s/g, ''))
    const comma = spaced.indexOf(',')
    const place = ends.indexOf(comma + 1)
    expect(spaced.slice(starts[place], ends[place])).toBe(',')
  })
})

describe('entities', () => {
  it.each([
    [
      ['B-X', 'I-X', 'O', 'B-Y'],
      ['X 0 2', 'Y 3 4'],
    ],
    [
      ['I-X', 'B-X', 'I-Y'],
      ['X 0 1', 'X 1 2', 'Y 2 3'],
    ],
    [
      ['O', 'S-X', 'I-X', 'E-X', 'I-X'],
      ['X 1 2', 'X 2 4', 'X 4 5'],
    ],
    [
      ['NOUN', 'NOUN', 'VERB'],
      ['NOUN 0 2', 'VERB 2 3'],
    ],
    [['O', 'O'], []],
  ])('%j are %j', (tags, entities) => expect([...entitiesIn(tags)]).toEqual(entities))
})

describe('answers are compared by words', () => {
  it.each([
    ['The Owl!', 'owl', true, 1],
    ['the owl sings', 'owl', false, 2 / 3],
    ['', '', true, 1],
    ['owl', '', false, 0],
    ['owl owl', 'owl cat', false, 0.5],
  ])('%j beside %j', (given, right, exact, f1) => {
    expect(isExact(given, right)).toBe(exact)
    expect(wordF1(given, right)).toBeCloseTo(f1)
  })
})
