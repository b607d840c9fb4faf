/** @file Added tokens: found in a text before the model sees it, each as its flags say. */
import type { Normalizer } from './normalizers.js'
import type { Piece } from './pre-tokenizers.js'
import { endsWithWord, spaceAtEnd, spaceAtStart, startsWithWord } from './unicode.js'
import type { Vocabulary } from './vocabulary.js'

/** A token that is found as it is written. */
export interface AddedToken {
  content: string
  /** Not inside a word. */
  single_word: boolean
  /** It takes the white space before it. */
  lstrip: boolean
  /** It takes the white space after it. */
  rstrip: boolean
  /** It is looked for, normalised itself, in the normalised text. */
  normalized: boolean
  /** Decoding may leave it out. */
  special: boolean
}

/** A part of a text: an added token's id, or a piece for the model. */
export type Section = number | Piece

/** Where a token stands in a text. */
interface Found {
  from: number
  to: number
  id: number
}

/** Token contents by their first UTF-16 unit, longest first: of those at the leftmost place the longest is found. */
class Finder {
  readonly #byFirst = new Map<number, { content: string; id: number }[]>()
  readonly #first: RegExp

  constructor(entries: readonly { content: string; id: number }[]) {
    for (const entry of entries) {
      if (entry.content === '') continue
      const first = entry.content.charCodeAt(0)
      const list = this.#byFirst.get(first)
      if (list) list.push(entry)
      else this.#byFirst.set(first, [entry])
    }
    for (const list of this.#byFirst.values()) list.sort((a, b) => b.content.length - a.content.length)
    const units = [...this.#byFirst.keys()].map((unit) => `\\u${unit.toString(16).padStart(4, '0')}`)
    this.#first = new RegExp(`[${units.join('')}]`, 'g')
  }

  /** The tokens in `text` from the left, none within another. */
  find(text: string): Found[] {
    const hits: Found[] = []
    if (this.#byFirst.size === 0) return hits
    this.#first.lastIndex = 0
    for (let at = this.#first.exec(text); at; at = this.#first.exec(text)) {
      const from = at.index
      const token = this.#byFirst.get(text.charCodeAt(from))?.find((t) => text.startsWith(t.content, from))
      if (!token) continue
      const to = from + token.content.length
      hits.push({ from, to, id: token.id })
      this.#first.lastIndex = to
    }
    return hits
  }
}

/** The tokens added to a model's vocabulary, as Rust's AddedVocabulary keeps them. */
export class AddedTokens {
  readonly #byContent = new Map<string, number>()
  readonly #byId = new Map<number, AddedToken>()
  /** How a token reads that is looked for in normalised text, where that differs from its content. */
  readonly #normalized = new Map<number, string>()
  readonly #special = new Set<string>()
  #plain = new Finder([])
  #normal = new Finder([])

  constructor(
    readonly vocabulary: Vocabulary,
    readonly normalize: Normalizer | undefined,
    /** Special tokens in a text are read as any text. */
    readonly splitSpecial: boolean,
  ) {}

  /**
   * Adds tokens. One that the vocabulary has keeps its id there, others get the next ones: what a file says of ids is
   * not asked, as in the reference. A token that is there already takes the flags given last.
   */
  add(tokens: readonly AddedToken[]): void {
    let next = Math.max(this.vocabulary.size, this.end)
    for (const token of tokens) {
      const { content } = token
      if (content === '') continue
      const id = this.id(content) ?? next++
      const normal = token.normalized ? this.normalize?.(content) : undefined
      if (normal !== undefined && normal !== content) this.#normalized.set(id, normal)
      this.#byContent.set(content, id)
      this.#byId.set(id, token)
      if (token.special) this.#special.add(content)
    }
    const entries = [...this.#byId].map(([id, { content, normalized }]) => ({ id, content, normalized }))
    this.#plain = new Finder(entries.filter(({ normalized }) => !normalized))
    const shown = ({ id, content }: { id: number; content: string }) => this.#normalized.get(id) ?? content
    this.#normal = new Finder(
      entries.filter((e) => e.normalized).map((e) => ({ id: e.id, content: shown(e) })),
    )
  }

  /** One more than the highest id. */
  get end(): number {
    let end = 0
    for (const id of this.#byId.keys()) end = Math.max(end, id + 1)
    return end
  }

  /** The id of a token, added or of the vocabulary. */
  id(token: string): number | undefined {
    return this.#byContent.get(token) ?? this.vocabulary.id(token)
  }

  /** The token with the id `id`, added or of the vocabulary. */
  token(id: number): string | undefined {
    return this.#byId.get(id)?.content ?? this.vocabulary.token(id)
  }

  /** What a decoder is given for `id`: a token found in normalised text as it reads there. */
  spelled(id: number): string | undefined {
    return this.#normalized.get(id) ?? this.token(id)
  }

  /** Whether decoding may leave `id` out. */
  isSpecial(id: number): boolean {
    const spelled = this.spelled(id)
    return spelled !== undefined && this.#special.has(spelled)
  }

  /** The ids that decoding may leave out. */
  specialIds(): Set<number> {
    const ids = [...this.#special].flatMap((content) => this.id(content) ?? [])
    return new Set(ids.filter((id) => this.isSpecial(id)))
  }

  /** The added token that is written `content`. */
  find(content: string): AddedToken | undefined {
    const id = this.#byContent.get(content)
    return id === undefined ? undefined : this.#byId.get(id)
  }

  /** A text in sections: added tokens, and between them normalised pieces. */
  sections(text: string): Section[] {
    return this.#cut({ text, first: true }, this.#plain).flatMap((section) => {
      if (typeof section === 'number') return [section]
      const normal = this.normalize ? this.normalize(section.text) : section.text
      return this.#cut({ text: normal, first: section.first && this.#keepsStart(section.text) }, this.#normal)
    })
  }

  /** Whether the first character of a text is still there when it has been normalised. */
  #keepsStart(text: string): boolean {
    if (!this.normalize) return true
    return this.normalize(String.fromCodePoint(text.codePointAt(0) ?? 0)) !== ''
  }

  #cut(piece: Piece, finder: Finder): Section[] {
    const { text } = piece
    const sections: Section[] = []
    let end = 0
    const endPiece = (to: number): void => {
      if (to > end) sections.push({ text: text.slice(end, to), first: piece.first && end === 0 })
    }
    for (const { from, to, id } of finder.find(text)) {
      const token = this.#byId.get(id)
      if (!token || (this.splitSpecial && this.#special.has(token.content))) continue
      if (token.single_word && (endsWithWord(text.slice(0, from)) || startsWithWord(text.slice(to)))) continue
      const start = token.lstrip ? Math.max(from - spaceAtEnd(text.slice(0, from)), end) : from
      endPiece(start)
      sections.push(id)
      end = token.rstrip ? to + spaceAtStart(text.slice(to)) : to
    }
    endPiece(text.length)
    return sections
  }
}
