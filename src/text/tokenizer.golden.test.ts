import { readFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { goldenFolder } from '../../test/golden.js'
import { openTokenizer } from './tokenizer.js'

interface Case {
  text: string
  ids: number[]
  ids_plain: number[]
  tokens: string[]
  decoded: string
}

describe.each(['bytelevel-bpe', 'metaspace-bpe', 'unigram', 'wordpiece'])('tokenizers: %s', (name) => {
  test('gives the ids, tokens and decoded texts of the reference', async () => {
    const tokenizer = await openTokenizer(goldenFolder('tokenizers', name))
    const json = await readFile(goldenFolder('tokenizers', name, 'golden.json'), 'utf8')
    const cases = JSON.parse(json) as Case[]
    expect(cases.length).toBeGreaterThan(0)
    for (const c of cases) {
      expect(tokenizer.encode(c.text)).toEqual(c.ids)
      expect(tokenizer.encode(c.text, { special: false })).toEqual(c.ids_plain)
      // An unknown piece of a unigram text is shown as written, its id's token is <unk>.
      const spelled = c.ids.map((id, i) =>
        tokenizer.token(id) === '<unk>' ? c.tokens[i] : tokenizer.token(id),
      )
      expect(spelled).toEqual(c.tokens)
      expect(tokenizer.decode(c.ids)).toBe(c.decoded)
    }
  })
})
