/** @file Text from ids that arrive one by one: pieces end at whole characters. */
import type { Tokenizer } from './tokenizer.js'

/** Turns ids into text as they come. The pieces of `push` and `end`, joined, are the decoded text of all ids. */
export interface StreamDecoder {
  /** The text that `id` completes; '' while a character is unfinished. */
  push(id: number): string
  /** The rest; an unfinished character as U+FFFD. The decoder is then as new. */
  end(): string
}

/** A UTF-8 character has at most four bytes, so at most three can be waiting for their last one. */
const longestUnfinished = 3

/**
 * A decoder for one sequence. Ids are decoded together with the tokens of the piece before, because what a token
 * spells may depend on the one before it (a leading space, the bytes of one character).
 */
export const streamDecoder = (
  tokenizer: Pick<Tokenizer, 'decode' | 'specialIds'>,
  { skipSpecial = true }: { skipSpecial?: boolean } = {},
): StreamDecoder => {
  let context: number[] = []
  let pending: number[] = []
  let sent = 0

  const release = (text: string, to: number): string => {
    const piece = text.slice(sent, to)
    sent = Math.max(sent, to)
    if (to === text.length && piece !== '') {
      context = pending
      pending = []
      sent = tokenizer.decode(context, { skipSpecial }).length
    }
    return piece
  }
  const decodeAll = (): string => tokenizer.decode([...context, ...pending], { skipSpecial })

  return {
    push(id) {
      if (skipSpecial && tokenizer.specialIds.has(id)) return ''
      pending.push(id)
      const text = decodeAll()
      const unfinished = text.length - text.replace(/\uFFFD+$/, '').length
      // Past three tokens the first of the run cannot be completed any more: they are broken bytes, not a wait.
      const held = pending.length > longestUnfinished ? Math.min(unfinished, longestUnfinished) : unfinished
      return release(text, text.length - held)
    },
    end() {
      const text = decodeAll()
      const piece = text.slice(sent)
      context = []
      pending = []
      sent = 0
      return piece
    },
  }
}
