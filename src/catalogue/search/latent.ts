/**
 * @file Latent semantic vectors (Deerwester et al. 1990): documents as points in the space of the strongest singular
 * vectors of the weighted term-document matrix, where texts about one thing lie close though they share no word.
 */
import { matrix, symmetricEigen } from '../../linalg/index.js'
import type { Bag, Postings } from './postings.js'

/** Documents that span the space; more are placed in it. It bounds the cost of building for a long catalogue. */
const spanning = 256

/** Unit vectors of documents and the way to place a question among them. */
export class LatentSpace {
  private readonly basis: Float64Array[]
  private readonly vectors: Float64Array[]

  /** `documents` begin with those that matter: the first 256 span the space, of at most `width` dimensions. */
  constructor(
    private readonly postings: Postings,
    documents: readonly Bag[],
    width: number,
  ) {
    const bags = documents.slice(0, spanning)
    this.basis = directions(
      bags.map((bag) => this.similarities(bag, bags.length)),
      width,
    )
    this.vectors = documents.map((bag) => this.place(bag))
  }

  /** Adds `scale` times the cosine of the question to each document, where positive. */
  score(question: Bag, into: Float64Array, scale: number): void {
    const vector = this.place(question)
    this.vectors.forEach((other, document) => (into[document] += scale * Math.max(0, dot(vector, other))))
  }

  /** Cosine of two documents. */
  similarity(a: number, b: number): number {
    return dot(this.vectors[a], this.vectors[b])
  }

  /** q A^T U S^-1, of length 1: the coordinates in the singular vectors of a text with weighted terms q. */
  private place(bag: Bag): Float64Array {
    const products = this.similarities(bag, this.basis[0]?.length ?? 0)
    const vector = Float64Array.from(this.basis, (direction) => dot(direction, products))
    const length = Math.sqrt(dot(vector, vector))
    return length === 0 ? vector : vector.map((x) => x / length)
  }

  /** q A^T: products of a text's terms with those of the first `count` documents. */
  private similarities(bag: Bag, count: number): Float64Array {
    const out = new Float64Array(count)
    for (const [term, weight] of bag) {
      const rarity = this.postings.rarity(term)
      for (const { document, weight: there } of this.postings.list(term)) {
        // Lists are in order of document.
        if (document >= count) break
        out[document] += logarithmic(weight) * logarithmic(there) * rarity * rarity
      }
    }
    return out
  }
}

const logarithmic = (weight: number): number => Math.log(1 + weight)

const dot = (a: Float64Array, b: Float64Array): number => {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i]
  return sum
}

/** Vectors u / (s length) for the largest `width` singular values of A = U S V^T, whose rows are texts of length 1. */
const directions = (products: readonly Float64Array[], width: number): Float64Array[] => {
  const n = products.length
  if (n === 0) return []
  // A A^T has the singular vectors U and the squares of S, and is far smaller than A.
  const lengths = products.map((row, i) => Math.sqrt(row[i]) || 1)
  const gram = products.flatMap((row, i) => [...row].map((x, j) => x / (lengths[i] * lengths[j])))
  const { values, vectors } = symmetricEigen(matrix(n, n, gram))
  return Array.from({ length: Math.min(width, n) }, (_, k) => {
    const column = n - 1 - k
    const s = Math.sqrt(Math.max(values[column], 0))
    return Float64Array.from({ length: n }, (_, i) =>
      s > 1e-6 ? vectors.data[i * n + column] / (s * lengths[i]) : 0,
    )
  })
}
