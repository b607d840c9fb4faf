/** @file Text from ids that come one by one: a piece is given out as soon as no later id can change it. */
import { cleanUp } from './tokenizer/decoders.js'
import type { Tokenizer } from './tokenizer.js'

/** Text from ids, piece by piece; the pieces together are the decoded text of all ids. */
export interface StreamDecoder {
  /** The text that `id` completes; '' while a character is unfinished. */
  push(id: number): string
  /** The rest; an unfinished character as U+FFFD. The decoder is then as new. */
  end(): string
}

/** How a stream of ids becomes text. */
export interface StreamOptions {
  /** Leave special tokens out. Default true. */
  skipSpecial?: boolean
  /**
   * Ids ([count]) that stand before the stream and whose text is known: the first piece goes on from them, with the space
   * between two words that a sequence of its own would lack. Default none: the stream is a text of its own.
   */
  after?: readonly number[]
}

/** A UTF-8 character has at most four bytes, so at most three can be waiting for their last one. */
const longestUnfinished = 3

/** Ids before the stream that can matter to it: a character's bytes, or a word's first token. */
const longestContext = 16

/** What `cleanUp` replaces is at most four characters long and begins with a space. */
const longestArtefact = 4

/** The last place of `text` before which nothing belongs to what may yet be cleaned up. */
const cleanableTo = (text: string): number => {
  let to = text.length
  while (to > 0) {
    const space = text.lastIndexOf(' ', to - 1)
    if (space < 0 || space + longestArtefact <= to) return to
    to = space
  }
  return 0
}

/** Cleans a text that comes in pieces as it would be cleaned whole. */
class Cleaner {
  #waiting = ''

  /** What of the text is ready with this piece. */
  push(piece: string): string {
    const text = this.#waiting + piece
    const to = cleanableTo(text)
    this.#waiting = text.slice(to)
    return cleanUp(text.slice(0, to))
  }

  /** The rest. */
  end(): string {
    const rest = cleanUp(this.#waiting)
    this.#waiting = ''
    return rest
  }
}

/**
 * A decoder for one sequence. Ids are decoded together with the tokens of the piece before, because what a token
 * spells may depend on the one before it (a leading space, the bytes of one character). `options.after`: [count] ids.
 */
export const streamDecoder = (
  tokenizer: Pick<Tokenizer, 'decode' | 'specialIds' | 'cleansUp'>,
  { skipSpecial = true, after = [] }: StreamOptions = {},
): StreamDecoder => {
  const decode = (ids: readonly number[]): string => tokenizer.decode(ids, { skipSpecial, cleanUp: false })
  const before = after.slice(-longestContext)
  let context: readonly number[] = before
  let pending: number[] = []
  let sent = decode(context).length

  const release = (text: string, to: number): string => {
    const piece = text.slice(sent, to)
    sent = Math.max(sent, to)
    if (to === text.length && piece !== '') {
      context = pending
      pending = []
      sent = decode(context).length
    }
    return piece
  }
  const decodeAll = (): string => decode([...context, ...pending])

  const raw: StreamDecoder = {
    push(id) {
      if (skipSpecial && tokenizer.specialIds.has(id)) return ''
      pending.push(id)
      const text = decodeAll()
      const unfinished = text.length - text.replace(/\uFFFD+$/, '').length
      // Past three tokens the first of the run cannot be completed any more: they are broken bytes, not a wait.
      const held = pending.length > longestUnfinished ? Math.min(unfinished, longestUnfinished) : unfinished
      return release(text, Math.max(sent, text.length - held))
    },
    end() {
      const piece = decodeAll().slice(sent)
      context = before
      pending = []
      sent = decode(context).length
      return piece
    },
  }
  if (!tokenizer.cleansUp) return raw
  const cleaner = new Cleaner()
  return { push: (id) => cleaner.push(raw.push(id)), end: () => cleaner.push(raw.end()) + cleaner.end() }
}
