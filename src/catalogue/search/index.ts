/**
 * @file Search of the catalogue by meaning. Three rankings are added: words (BM25 over stems), concepts (BM25 over what
 * the thesaurus says those words are about) and latent semantics (over both). With an embedder, the cosine of sentence
 * embeddings is a fourth. Deterministic, in memory, and built in a fraction of a second.
 */
import type { Paper } from '../../papers/card.js'
import { inWords } from '../../papers/words.js'
import type { BertEmbedder, Embedder } from './embedder.js'
import { LatentSpace } from './latent.js'
import { addTo, Postings } from './postings.js'
import type { Bag } from './postings.js'
import { Spelling } from './spelling.js'
import { concepts } from './thesaurus.js'
import { isContent, stem, wordsOf } from './tokens.js'

export type { Embedder } from './embedder.js'

/** A paper that was found. Scores compare within one answer only. */
export interface Found<P extends Paper = Paper> {
  readonly paper: P
  readonly score: number
}

/** How many to give; default 10. */
export interface SearchLimit {
  readonly limit?: number
}

const weights = { words: 1, concepts: 1, latent: 1, embedding: 2 } as const
/** How often a word counts by where it stands. */
const fields = { title: 3, terms: 2, summary: 1, claims: 0.5 } as const
const latentWidth = 48

/** The concepts of a stem, and what each counts: a word of many meanings says less about any. */
const conceptsOf: ReadonlyMap<string, readonly [string, number][]> = (() => {
  const conceptsByStem = new Map<string, Set<number>>()
  concepts.forEach((words, i) => {
    for (const word of words)
      conceptsByStem.set(stem(word), (conceptsByStem.get(stem(word)) ?? new Set()).add(i))
  })
  return new Map(
    [...conceptsByStem].map(([word, ids]) => [
      word,
      [...ids].map((i): [string, number] => [`#${i}`, 1 / Math.sqrt(ids.size)]),
    ]),
  )
})()

const conceptBag = (words: Bag): Bag => {
  const bag = new Map<string, number>()
  for (const [word, weight] of words)
    for (const [concept, share] of conceptsOf.get(word) ?? []) addTo(bag, concept, weight * share)
  return bag
}

const addWords = (bag: Map<string, number>, text: string, weight: number): void => {
  for (const word of wordsOf(text)) if (isContent(word)) addTo(bag, stem(word), weight)
}

const claimText = (paper: Paper): string =>
  paper.claims.map((claim) => [claim.quantity, inWords(claim), claim.condition].join(' ')).join('. ')

const bagOf = (paper: Paper): Bag => {
  const bag = new Map<string, number>()
  addWords(bag, `${paper.id} ${paper.title}`, fields.title)
  addWords(bag, `${paper.family} ${(paper.terms ?? []).join(' ')}`, fields.terms)
  addWords(bag, paper.summary, fields.summary)
  addWords(bag, claimText(paper), fields.claims)
  return bag
}

const union = (a: Bag, b: Bag): Bag => new Map([...a, ...b])

/** An index over papers. Building one of 63 takes some tens of milliseconds; a question less than one. */
export class PaperIndex<P extends Paper = Paper> {
  private readonly words: Postings
  private readonly concepts: Postings
  private readonly latent: LatentSpace
  private readonly both: Postings
  private readonly spelling: Spelling
  private embeddings?: Promise<readonly Float32Array[]>

  constructor(
    readonly papers: readonly P[],
    private readonly embedder?: Embedder | undefined,
  ) {
    const words = papers.map(bagOf)
    const ideas = words.map(conceptBag)
    const all = words.map((bag, i) => union(bag, ideas[i]))
    this.words = new Postings(words)
    this.concepts = new Postings(ideas)
    this.both = new Postings(all)
    this.latent = new LatentSpace(this.both, all, latentWidth)
    this.spelling = new Spelling(this.words.terms())
  }

  /** The papers nearest to `query`, best first. A question without content words finds none. */
  search(query: string, { limit = 10 }: SearchLimit = {}): Found<P>[] {
    return this.ranked(this.scores(query), limit)
  }

  /** Papers found as `search` finds them, with sentence embeddings where the index has an embedder. */
  async searchEmbedded(query: string, { limit = 10 }: SearchLimit = {}): Promise<Found<P>[]> {
    const scores = this.scores(query)
    if (this.embedder && query.trim()) {
      this.embeddings ??= this.embedder(this.papers.map(({ title, summary }) => `${title}. ${summary}`))
      const [documents, [question]] = await Promise.all([this.embeddings, this.embedder([query])])
      documents.forEach(
        (vector, i) => (scores[i] += weights.embedding * Math.max(0, cosine(vector, question))),
      )
    }
    return this.ranked(scores, limit)
  }

  /** The papers most like the one called `id`. */
  similar(id: string, { limit = 5 }: SearchLimit = {}): Found<P>[] {
    const at = this.papers.findIndex((paper) => paper.id === id)
    if (at < 0) return []
    const scores = Float64Array.from(this.papers, (_, i) => (i === at ? 0 : this.latent.similarity(at, i)))
    return this.ranked(scores, limit)
  }

  private scores(query: string): Float64Array {
    const scores = new Float64Array(this.papers.length)
    const asked = this.question(query)
    const ideas = conceptBag(asked)
    this.words.score(asked, scores, weights.words)
    this.concepts.score(ideas, scores, weights.concepts)
    this.latent.score(union(asked, ideas), scores, weights.latent)
    return scores
  }

  /** The stems asked for. One that no text has counts as the nearest that one has; the last may be unfinished. */
  private question(query: string): Bag {
    const bag = new Map<string, number>()
    const words = wordsOf(query.slice(0, 1000))
    words.forEach((word, i) => {
      if (!isContent(word)) return
      const root = stem(word)
      addTo(bag, root, 1)
      if (this.words.has(root) || conceptsOf.has(root)) return
      const unfinished = i === words.length - 1 ? this.spelling.beginning(word) : []
      for (const other of unfinished) addTo(bag, other, 1 / unfinished.length)
      if (unfinished.length === 0)
        for (const { word: other, likeness } of this.spelling.near(root)) addTo(bag, other, likeness)
    })
    return bag
  }

  private ranked(scores: Float64Array, limit: number): Found<P>[] {
    return [...scores.keys()]
      .filter((i) => scores[i] > 0)
      .sort((a, b) => scores[b] - scores[a] || (this.papers[a].id < this.papers[b].id ? -1 : 1))
      .slice(0, limit)
      .map((i) => ({ paper: this.papers[i], score: scores[i] }))
  }
}

const cosine = (a: Float32Array, b: Float32Array): number => {
  let [product, left, right] = [0, 0, 0]
  for (let i = 0; i < a.length; i++) {
    product += a[i] * b[i]
    left += a[i] * a[i]
    right += b[i] * b[i]
  }
  return product === 0 ? 0 : product / Math.sqrt(left * right)
}

const indexes = new WeakMap<readonly Paper[], PaperIndex>()

/** The papers of `papers` nearest in meaning to `query`, best first. The index of an array is built once. */
export const searchPapers = <P extends Paper>(
  papers: readonly P[],
  query: string,
  options: SearchLimit = {},
): Found<P>[] => {
  const index = (indexes.get(papers) as PaperIndex<P> | undefined) ?? new PaperIndex(papers)
  indexes.set(papers, index as unknown as PaperIndex)
  return index.search(query, options)
}

/** The BERT embedder in `folder`, for `new PaperIndex(papers, embedder.embed)`. The engine is loaded only for it. */
export const openEmbedder = async (folder: string): Promise<BertEmbedder> =>
  (await import('./embedder.js')).bertEmbedder(folder)
