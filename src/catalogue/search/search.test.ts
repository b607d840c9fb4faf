import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Claim, Paper } from '../../papers/card.js'
import { catalogue } from '../catalogue.js'
import { heldOut } from '../../../test/search/held-out.js'
import { type Embedder, PaperIndex, searchPapers } from './index.js'
import { paraphrases } from '../../../test/search/paraphrases.js'
import { contentStems } from './tokens.js'
import { append } from '../../tensor/numbers.js'

/** The papers that Weft is about, planned or done; baselines are none of them. */
const papers: readonly Paper[] = (await catalogue()).filter(({ baseline }) => !baseline)
const index = new PaperIndex(papers)
const claimWords = ({ quantity, unit, baseline, condition }: Claim): string =>
  [quantity, unit, baseline, condition].join(' ')
const textOf = ({ title, summary, claims }: Paper): string =>
  [title, summary, ...claims.map(claimWords)].join(' ')
const rankOf = (query: string, id: string, ids = index): number =>
  ids.search(query, { limit: 5 }).findIndex(({ paper }) => paper.id === id)

describe('twenty paraphrased questions', () => {
  test.each(paraphrases)('"$query" shares no content word with $paper', ({ query, paper }) => {
    const own = new Set(contentStems(textOf(papers.find(({ id }) => id === paper)!)))
    const asked = contentStems(query)
    expect(asked.length).toBeGreaterThanOrEqual(5)
    expect(asked.filter((word) => own.has(word))).toEqual([])
  })

  test('are of twenty papers, and at least 16 find theirs in the first five', () => {
    expect(new Set(paraphrases.map(({ paper }) => paper)).size).toBe(20)
    const missed = paraphrases.filter(({ query, paper }) => rankOf(query, paper) < 0)
    expect(missed.map(({ query }) => query).length).toBeLessThanOrEqual(4)
  })

  test('are answered as well when they are of other papers and nobody has looked', () => {
    const missed = heldOut.filter(({ query, paper }) => rankOf(query, paper) < 0)
    expect(missed.map(({ query }) => query).length).toBeLessThanOrEqual(4)
  })
})

describe('search', () => {
  test('finds every paper first by its own title', () => {
    for (const { id, title } of papers) expect(index.search(title)[0].paper.id).toBe(id)
  })

  test.each([
    ['tokenrnig', 'tokenring'],
    ['comapcter', 'compacter'],
    ['breadcrum', 'breadcrumbs'],
    ['Kronecker adapter', 'compacter'],
    ['HSTU', 'hllm'],
  ])('finds for %s, misspelt, unfinished or rare, the paper %s', (query, id) => {
    expect(index.search(query)[0].paper.id).toBe(id)
  })

  test('gives the same answer again, and in the same order from a fresh index', () => {
    const fresh = new PaperIndex(papers)
    for (const { query } of paraphrases) expect(fresh.search(query)).toEqual(index.search(query))
  })

  test('finds nothing for nothing, and bears any text', () => {
    for (const query of ['', '   ', 'the of and', '!!! ???']) expect(index.search(query)).toEqual([])
    expect(new PaperIndex([]).search('anything')).toEqual([])
    expect(new PaperIndex([papers[0]]).search('shards')).toHaveLength(1)
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (query) => {
        const found = index.search(query, { limit: 3 })
        expect(found.length).toBeLessThanOrEqual(3)
        expect(found.every(({ score }) => Number.isFinite(score) && score > 0)).toBe(true)
      }),
    )
    expect(index.search(`'; DROP TABLE papers; -- ${'x'.repeat(1e6)}`).length).toBeLessThanOrEqual(10)
  })

  test('keeps one index for an array of papers', () => {
    expect(searchPapers(papers, 'soup of weights')).toEqual(index.search('soup of weights'))
    expect(searchPapers(papers, 'soup of weights', { limit: 1 })).toHaveLength(1)
  })

  test('names as similar what is about the same thing', () => {
    expect(index.similar('fedkseed').map(({ paper }) => paper.id)).toEqual(
      expect.arrayContaining(['ferret', 'one-byte']),
    )
    expect(index.similar('tokenweave').map(({ paper }) => paper.id)).toContain('t3')
    expect(index.similar('nothing')).toEqual([])
  })

  test('adds the cosine of sentence embeddings where it has an embedder, which reads each paper once', async () => {
    const read: string[] = []
    // An embedder that thinks of one paper only.
    const embedder: Embedder = (texts) => {
      append(read, texts)
      return Promise.resolve(texts.map((text) => Float32Array.of(Number(/zebra|MoS: /.test(text)), 1e-3)))
    }
    const embedded = new PaperIndex(papers, embedder)
    expect((await embedded.searchEmbedded('zebra'))[0].paper.id).toBe('mos')
    await embedded.searchEmbedded('zebra')
    expect(read).toHaveLength(papers.length + 2)
    expect(embedded.search('zebra').map(({ paper }) => paper.id)).not.toContain('mos')
  })

  test('five thousand papers are as good to search as sixty-three', () => {
    const many = Array.from({ length: 5000 }, (_, i): Paper => {
      const paper = papers[i % papers.length]
      return i < papers.length
        ? paper
        : {
            ...paper,
            id: `${paper.id}-${i}`,
            title: `Report ${i}`,
            summary: `Number ${i}.`,
            terms: [],
            claims: [],
          }
    })
    const large = new PaperIndex(many)
    const hits = paraphrases.filter(({ query, paper }) => rankOf(query, paper, large) >= 0)
    expect(hits.length).toBeGreaterThanOrEqual(16)
  })
})
