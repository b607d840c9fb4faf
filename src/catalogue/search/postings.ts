/** @file Which documents have a term and how often, ranked by BM25 (Robertson and Zaragoza 2009). */

/** Terms of a document or a question with their weights. */
export type Bag = ReadonlyMap<string, number>

/** Adds `weight` to `term`. */
export const addTo = (bag: Map<string, number>, term: string, weight: number): void => {
  bag.set(term, (bag.get(term) ?? 0) + weight)
}

interface Posting {
  readonly document: number
  readonly weight: number
}

/** An inverted index over documents 0, 1, ... */
export class Postings {
  readonly count: number
  private readonly lists = new Map<string, Posting[]>()
  private readonly lengths: Float64Array
  private readonly averageLength: number

  constructor(documents: readonly Bag[]) {
    this.count = documents.length
    this.lengths = Float64Array.from(documents, (bag) => [...bag.values()].reduce((sum, w) => sum + w, 0))
    this.averageLength = this.lengths.reduce((sum, n) => sum + n, 0) / Math.max(1, this.count)
    documents.forEach((bag, document) => {
      for (const [term, weight] of bag) {
        const list = this.lists.get(term)
        if (list) list.push({ document, weight })
        else this.lists.set(term, [{ document, weight }])
      }
    })
  }

  terms(): IterableIterator<string> {
    return this.lists.keys()
  }

  has(term: string): boolean {
    return this.lists.has(term)
  }

  list(term: string): readonly Posting[] {
    return this.lists.get(term) ?? []
  }

  /** ln(1 + (N - n + 1/2) / (n + 1/2)): rare terms say more. */
  rarity(term: string): number {
    const n = this.list(term).length
    return Math.log(1 + (this.count - n + 0.5) / (n + 0.5))
  }

  /**
   * Adds `scale` times the share of the question's rarity that each document answers: about 1 where it has all of the
   * question's terms.
   */
  score(
    question: Bag,
    into: Float64Array,
    scale: number,
    { k1 = 1.2, b = 0.5 }: { k1?: number; b?: number } = {},
  ): void {
    let possible = 0
    for (const [term, weight] of question) possible += weight * this.rarity(term)
    if (possible === 0) return
    for (const [term, asked] of question) {
      const gain = (scale * asked * this.rarity(term)) / possible
      for (const { document, weight } of this.list(term)) {
        const length = 1 - b + (b * this.lengths[document]) / this.averageLength
        into[document] += (gain * weight * (k1 + 1)) / (weight + k1 * length)
      }
    }
  }
}
