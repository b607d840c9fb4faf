/** @file Words that a question has misspelt or only begun, matched to those that texts have. */

const gramsOf = (word: string): Set<string> => {
  const padded = `^${word}$`
  const grams = new Set<string>()
  for (let i = 0; i + 2 <= padded.length; i++) grams.add(padded.slice(i, i + 2))
  return grams
}

/** Known words by their pairs of letters. */
export class Spelling {
  private readonly words: string[]
  private readonly sizes: number[]
  private readonly byGram = new Map<string, number[]>()

  constructor(words: Iterable<string>) {
    this.words = [...words]
    this.sizes = this.words.map((word, i) => {
      const grams = gramsOf(word)
      for (const gram of grams) {
        const list = this.byGram.get(gram)
        if (list) list.push(i)
        else this.byGram.set(gram, [i])
      }
      return grams.size
    })
  }

  /** Known words that begin with `start`, at most `count`, in alphabetical order. */
  beginning(start: string, count = 12): string[] {
    if (start.length < 2) return []
    const candidates = this.byGram.get(`^${start[0]}`) ?? []
    const matching = candidates.map((i) => this.words[i]).filter((word) => word.startsWith(start))
    return matching.sort().slice(0, count)
  }

  /** Known words that share most pairs of letters with `word` (Dice's coefficient from 0.6 on), nearest first. */
  near(word: string, count = 3): { word: string; likeness: number }[] {
    if (word.length < 4 || word.length > 40) return []
    const grams = gramsOf(word)
    const shared = new Map<number, number>()
    for (const gram of grams)
      for (const i of this.byGram.get(gram) ?? []) shared.set(i, (shared.get(i) ?? 0) + 1)
    return [...shared]
      .map(([i, n]) => ({ word: this.words[i], likeness: (2 * n) / (grams.size + this.sizes[i]) }))
      .filter(({ likeness }) => likeness >= 0.6)
      .sort((a, b) => b.likeness - a.likeness || (a.word < b.word ? -1 : 1))
      .slice(0, count)
  }
}
