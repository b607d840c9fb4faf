/** @file United tokenizers of every kind: numbers that stay, tokens that are used, kinds that do not go together. */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { goldenFolder } from '../../../../../test/golden.js'
import { parseJsonObject } from '../../../../checkpoint/index.js'
import { tokenizerFromJson } from '../../../../text/index.js'
import { sizeOf, union, withinRows, withTokens } from './union.js'
import { numbersOf, type Vocabulary, vocabularyFrom } from '../vocabulary.js'

interface Json {
  model: { vocab: Record<string, number> | [string, number][]; merges?: unknown[] }
  added_tokens: Record<string, unknown>[]
}

const golden = (name: string, edit: (json: Json) => void = () => {}): Vocabulary => {
  const text = readFileSync(goldenFolder('tokenizers', name, 'tokenizer.json'), 'utf8')
  const json = parseJsonObject(text, name)
  edit(json as unknown as Json)
  return vocabularyFrom(name, name, json)
}

/** Adds own tokens, and a special one far beyond the others. */
const edited: Readonly<Record<string, (json: Json) => void>> = {
  'bytelevel-bpe': ({ model, added_tokens: added }) => {
    Object.assign(model.vocab, { zq: 900, zqx: 901 })
    model.merges!.push(['z', 'q'], ['zq', 'x'])
    added.push({ ...added[0], content: '<|new|>', id: 5000 })
  },
  unigram: ({ model, added_tokens: added }) => {
    ;(model.vocab as [string, number][]).push(['zq', -1], ['zqx', -1])
    added.push({ ...added[0], content: '<|new|>', id: 5000 })
  },
  wordpiece: ({ model, added_tokens: added }) => {
    Object.assign(model.vocab, { zqx: 900, '##zqx': 901 })
    added.push({ ...added[0], content: '<|new|>', id: 5000 })
  },
}

const sample = 'hello, the cat caught it in the rain'

describe.each(Object.keys(edited))('a union with a %s tokenizer', (name) => {
  const base = golden(name)
  const both = union(base, [golden(name, edited[name])])
  const numbers = numbersOf(both)

  it('keeps the numbers of the base, and numbers the rest without gaps: own tokens, then added ones', () => {
    for (const [token, id] of numbersOf(base)) expect(numbers.get(token)).toBe(id)
    expect(sizeOf(both)).toBe(sizeOf(base) + 3)
    expect(numbers.get('<|new|>')).toBe(sizeOf(base) + 2)
    expect(numbers.get('zqx')).toBeGreaterThanOrEqual(sizeOf(base))
  })

  it('reads text of the base as before, and new tokens as one', () => {
    const [before, after] = [base, both].map(({ json }) => tokenizerFromJson(json))
    expect(after.encode(sample)).toEqual(before.encode(sample))
    const ids = after.encode('zqx<|new|>', { special: false })
    expect(ids).toContain(numbers.get('zqx'))
    expect(ids.at(-1)).toBe(numbers.get('<|new|>'))
  })

  it('is the base where the others have nothing more', () => {
    expect(union(base, [golden(name)])).toBe(base)
    expect(withTokens(base, [...numbersOf(base).keys()].slice(0, 3))).toBe(base)
  })

  it('without what has no rows is what it was before that was added', () => {
    const { vocabulary, left } = withinRows(withTokens(base, ['<a>', '<b>']), sizeOf(base), 'here')
    expect(left).toEqual(['<a>', '<b>'])
    expect(numbersOf(vocabulary)).toEqual(numbersOf(base))
    expect(() => withinRows(base, 20, 'here')).toThrow(/has the number \d+, but here has no such row/)
  })
})

describe('tokenizers of different kinds', () => {
  it('have no union', () => {
    expect(() => union(golden('bytelevel-bpe'), [golden('unigram')])).toThrow(
      /type BPE, .*unigram of type Unigram/,
    )
  })
})
