/** @file Stop texts: a text that comes in pieces, up to the first of them. */

/** A piece of what the model has written: a special token is seen by stop texts and not given out. */
interface Piece {
  text: string
  shown: boolean
  /** Its beginning has been given out already. */
  cut?: boolean
}

/** What a piece makes ready to be given out, and whether a stop text was found. */
interface Ready {
  text: string
  stopped: boolean
}

/** Looks for stop texts across the borders of pieces, special tokens included. */
export class StopTexts {
  readonly #stops: readonly string[]
  readonly #longest: number
  #waiting: Piece[] = []

  /** `stops`: the texts that end a text; empty ones are left out. */
  constructor(stops: readonly string[]) {
    this.#stops = stops.filter((stop) => stop !== '')
    this.#longest = this.#stops.reduce((most, { length }) => Math.max(most, length), 0)
  }

  /** Takes a piece. `shown` false: a special token, which stop texts may name and the output lacks. */
  push(text: string, shown = true): Ready {
    this.#waiting.push({ text, shown })
    const whole = this.#waiting.map((piece) => piece.text).join('')
    const stop = this.#firstStop(whole)
    if (stop >= 0) return { text: this.#take(stop), stopped: true }
    return { text: this.#take(whole.length - this.#heldBack(whole)), stopped: false }
  }

  /** What still waited for the rest of a stop text. */
  end(): string {
    return this.#take(Infinity)
  }

  #firstStop(text: string): number {
    let first = -1
    for (const stop of this.#stops) {
      let place = text.indexOf(stop)
      while (place >= 0 && !this.#isWhole(place, place + stop.length)) place = text.indexOf(stop, place + 1)
      if (place >= 0 && (first < 0 || place < first)) first = place
    }
    return first
  }

  /** Whether characters `from` to `to` hold no part of a special token without the rest of it. */
  #isWhole(from: number, to: number): boolean {
    let start = 0
    for (const { text, shown, cut } of this.#waiting) {
      const end = start + text.length
      const touched = start < to && end > from
      if (!shown && touched && (cut === true || from > start || to < end)) return false
      start = end
    }
    return true
  }

  /** The longest end of `text` with which a stop text begins: it cannot be given out yet. */
  #heldBack(text: string): number {
    for (let n = Math.min(this.#longest - 1, text.length); n > 0; n--)
      if (this.#stops.some((stop) => stop.startsWith(text.slice(-n)))) return n
    return 0
  }

  /** The shown part of the next `length` characters, which wait no longer. */
  #take(length: number): string {
    let out = ''
    let left = length
    const rest: Piece[] = []
    for (const { text, shown, cut } of this.#waiting) {
      const taken = text.slice(0, left)
      if (shown) out += taken
      if (taken.length < text.length)
        rest.push({ text: text.slice(taken.length), shown, cut: cut === true || taken !== '' })
      left -= taken.length
    }
    this.#waiting = rest
    return out
  }
}
