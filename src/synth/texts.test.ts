import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Stream } from '../random/index.js'
import { toNumbers, type Value } from '../tensor/value.js'
import { arithmetic, type ArithmeticKind, editing, edits, workedAddition } from './arithmetic.js'
import { Grammar, phraseRules } from './grammar.js'
import { brackets, copies, induction, markov, mixture, sequences, type SequenceSource } from './sequences.js'
import { card, cardStories, stories, storyCards, storyChoices, storyQuestions, storyTexts } from './story.js'
import { maxOf } from '../tensor/numbers.js'

const rowsOf = (v: Value): number[][] => {
  const numbers = Array.from(toNumbers(v))
  const [count, length] = v.shape
  return Array.from({ length: count }, (_, i) => numbers.slice(i * length, (i + 1) * length))
}

const sources: Record<string, SequenceSource> = {
  markov: markov({ symbols: 20, seed: 1 }),
  brackets: brackets({ kinds: 3, depth: 4 }),
  copies: copies({ symbols: 12 }),
  induction: induction({ symbols: 12 }),
  mixture: mixture([markov({ symbols: 10, seed: 1 }), brackets()], { disjoint: true, tagged: true }),
}

test.each(Object.keys(sources))(
  '%s: sequences have their length and symbols, and depend on the seed alone',
  (name) => {
    const source = sources[name]
    const drawn = sequences(source, { count: 40, length: 33, seed: 5 })
    expect(drawn).toMatchObject({ shape: [40, 33], dtype: 'int64' })
    for (const symbol of toNumbers(drawn)) {
      expect(Number.isInteger(symbol)).toBe(true)
      expect(symbol).toBeGreaterThanOrEqual(0)
      expect(symbol).toBeLessThan(source.symbols)
    }
    expect(sequences(source, { count: 40, length: 33, seed: 5 })).toEqual(drawn)
    expect(rowsOf(sequences(source, { count: 10, length: 33, seed: 5 }))).toEqual(rowsOf(drawn).slice(0, 10))
    expect(sequences(source, { count: 40, length: 33, seed: 6 })).not.toEqual(drawn)
  },
)

describe('a Markov source', () => {
  test('takes the likeliest symbol with the stated probability', () => {
    const source = markov({ symbols: 20, order: 2, top: 0.7, seed: 1 })
    let [hits, total] = [0, 0]
    for (const row of rowsOf(sequences(source, { count: 500, length: 20, seed: 2 })))
      for (let i = 2; i < row.length; i++) {
        const next = source.next(row.slice(i - 2, i))
        hits += row[i] === next.indexOf(maxOf(next)) ? 1 : 0
        total++
      }
    expect(Math.abs(hits / total - 0.7)).toBeLessThan(4 * Math.sqrt((0.7 * 0.3) / total))
  })

  test('has rows that sum to 1 for any order, and other tables when redrawn', () => {
    for (const options of [{ order: 1 }, { order: 3, top: 1 }, { logitScale: 1.8 }]) {
      const source = markov({ symbols: 6, seed: 3, ...options })
      for (let row = 0; row < source.transitions.length; row += 6)
        expect(source.transitions.subarray(row, row + 6).reduce((a, b) => a + b, 0)).toBeCloseTo(1, 10)
      expect(source.redrawn(4).transitions).not.toEqual(source.transitions)
      expect(source.redrawn(3).transitions).toEqual(source.transitions)
    }
    expect(() => markov({ symbols: 5000, order: 3, seed: 1 })).toThrow('lower symbols or order')
    expect(() => markov({ symbols: 4, top: 0.1, seed: 1 })).toThrow('from 1/4 to 1')
  })
})

test('brackets close what was opened last and stay within their depth', () => {
  for (const row of rowsOf(sequences(brackets({ kinds: 3, depth: 4 }), { count: 50, length: 60, seed: 1 }))) {
    const open: number[] = []
    for (const symbol of row)
      if (symbol % 2 === 0) open.push(symbol)
      else expect(symbol).toBe((open.pop() ?? -9) + 1)
    expect(open.length).toBeLessThanOrEqual(4)
  }
})

test('copies repeat each span after its separator', () => {
  const [row] = rowsOf(sequences(copies({ symbols: 9, span: 4 }), { count: 1, length: 30, seed: 1 }))
  for (const start of [0, 10, 20]) {
    expect(row[start + 4]).toBe(8)
    expect(row.slice(start + 5, start + 9)).toEqual(row.slice(start, start + 4))
  }
})

test('induction repeats what followed a symbol first, about as often as stated', () => {
  let [hits, total] = [0, 0]
  for (const row of rowsOf(
    sequences(induction({ symbols: 10, repeat: 0.7 }), { count: 100, length: 64, seed: 1 }),
  )) {
    const first = new Map<number, number>()
    for (let i = 1; i < row.length; i++) {
      const known = first.get(row[i - 1])
      if (known === undefined) first.set(row[i - 1], row[i])
      else {
        hits += known === row[i] ? 1 : 0
        total++
      }
    }
  }
  // A free draw repeats it by chance too.
  expect(Math.abs(hits / total - (0.7 + 0.3 / 10))).toBeLessThan(0.03)
})

test('a mixture draws its sources by weight and names them by a tag', () => {
  const source = mixture([markov({ symbols: 4, seed: 1 }), brackets()], { weights: [3, 1], tagged: true })
  const tags = rowsOf(sequences(source, { count: 1000, length: 5, seed: 1 })).map((row) => row[0])
  expect(new Set(tags)).toEqual(new Set([4, 5]))
  expect(Math.abs(tags.filter((t) => t === 4).length / 1000 - 0.75)).toBeLessThan(0.06)
})

describe('a grammar', () => {
  const words = (kind: string): string[] => phraseRules[kind].map(String)

  test('of phrases has verbs that agree with their subjects', () => {
    const sentences = new Grammar(phraseRules).sentences(300, 1)
    for (const sentence of sentences) {
      const noun = sentence.find((w) => [...words('N1'), ...words('N2')].includes(w)) ?? ''
      const verb = sentence.find((w) => [...words('V1'), ...words('V2')].includes(w)) ?? ''
      expect(words('V1').includes(verb)).toBe(words('N1').includes(noun))
    }
    expect(new Grammar(phraseRules).sentences(300, 1)).toEqual(sentences)
    const known = new Set(new Grammar(phraseRules).words)
    expect(sentences.flat().every((w) => known.has(w))).toBe(true)
  })

  test('ends although it recurs, and follows weights', () => {
    const nested = new Grammar(
      {
        S: [
          [9, '( S S )'],
          [1, 'x'],
        ],
      },
      { depth: 6 },
    )
    for (const s of nested.sentences(50, 1)) expect(s.length).toBeLessThan(3 * 2 ** 8)
    const coin = new Grammar({
      S: [
        [3, 'heads'],
        [1, 'tails'],
      ],
    })
      .sentences(2000, 1)
      .flat()
    expect(Math.abs(coin.filter((w) => w === 'heads').length / 2000 - 0.75)).toBeLessThan(0.04)
  })

  test('without a start or without an end is refused', () => {
    expect(() => new Grammar({ A: ['x'] })).toThrow('start symbol S')
    expect(() => new Grammar({ S: ['A'], A: ['a A'] })).toThrow('never comes to an end')
  })
})

describe('stories', () => {
  test('tell their facts, in few words, and depend on seed and number alone', () => {
    const told = stories(300, 1)
    expect(stories(20, 1)).toEqual(told.slice(0, 20))
    expect(stories(20, 2)).not.toEqual(told.slice(0, 20))
    for (const { text, facts } of told) {
      for (const fact of Object.values(facts)) expect(text).toContain(fact)
      expect(text).toContain(`${facts.colour} ${facts.thing}`)
      expect(text.endsWith(`${facts.feels} is ${facts.feeling}.`)).toBe(true)
      expect([facts.who, facts.friend]).toContain(facts.feels)
      expect(facts.who).not.toBe(facts.friend)
      const pronoun = /\b(she|he)\b/i.exec(text)?.[1].toLowerCase()
      if (pronoun) expect(['Mia', 'Lily', 'Anna', 'Sara'].includes(facts.who)).toBe(pronoun === 'she')
    }
    expect(new Set(told.map((s) => s.text)).size).toBeGreaterThan(290)
    expect(new Set(told.flatMap((s) => s.text.match(/\w+/g) ?? [])).size).toBeLessThan(130)
  })

  test('are asked for in other forms that hold the same facts', () => {
    const told = stories(50, 1)
    expect(storyTexts(50, 1)).toEqual(told.map(({ text }) => ({ text })))
    expect(storyCards(50, 1)).toEqual(told.map((s) => ({ prompt: `${s.text}\n`, completion: card(s.facts) })))
    expect(cardStories(50, 1)).toEqual(
      told.map((s) => ({ prompt: `${card(s.facts)}\n`, completion: s.text })),
    )
    expect(card(told[0].facts)).toMatch(
      /^who: \w+ \| friend: \w+ \| thing: \w+ \w+ \| where: [\w ]+ \| end: \w+ is \w+$/,
    )
  })

  test('questions are answered by their story; among the choices the right one stands anywhere, once', () => {
    const open = storyQuestions(200, 1)
    for (const { prompt, completion } of open) expect(prompt.split('\n')[0]).toContain(completion)
    const closed = storyChoices(200, 1)
    closed.forEach(({ prompt, choices, answer }, i) => {
      expect(prompt).toBe(open[i].prompt)
      expect(choices[answer]).toBe(open[i].completion)
      expect(new Set(choices).size).toBe(4)
    })
    expect(new Set(closed.map((c) => c.answer))).toEqual(new Set([0, 1, 2, 3]))
  })
})

describe('arithmetic', () => {
  const kinds: ArithmeticKind[] = ['addition', 'subtraction', 'multiplication', 'chain', 'worked']

  /** Reads the exercise from left to right; chains are bracketed so that this is right, and the rest is one step. */
  const solve = (text: string): number => {
    const terms = text.replace(/[()=]/g, '').match(/[+*-]?\d+/g) ?? []
    return terms.reduce((total, t) => (t.startsWith('*') ? total * Number(t.slice(1)) : total + Number(t)), 0)
  }

  test.each(kinds)('%s: every answer is right, and the seed gives the same', (kind) => {
    const records = arithmetic({ count: 200, seed: 1, kind, digits: 3, steps: 3 })
    for (const { prompt, completion } of records)
      expect(Number(completion.split('#').at(-1))).toBe(solve(prompt))
    expect(arithmetic({ count: 200, seed: 1, kind, digits: 3, steps: 3 })).toEqual(records)
    expect(arithmetic({ count: 200, seed: 2, kind, digits: 3, steps: 3 })).not.toEqual(records)
  })

  test('a worked addition goes column by column with its carries', () => {
    expect(workedAddition(37, 48)).toBe('7+8=15,3+4+1=8#85')
    expect(workedAddition(99, 1)).toBe('9+1=10,9+0+1=10#100')
    expect(workedAddition(0, 0)).toBe('0+0=0#0')
    for (const { completion } of arithmetic({ count: 100, seed: 1, kind: 'worked', digits: 4 }))
      for (const step of completion.split('#')[0].split(',')) {
        const [sum, total] = step.split('=')
        expect(solve(sum)).toBe(Number(total))
      }
  })

  test('answers can be written backwards, and too many digits are refused', () => {
    const plain = arithmetic({ count: 20, seed: 1 })
    const backwards = arithmetic({ count: 20, seed: 1, reversed: true })
    backwards.forEach((r, i) => expect([...r.completion].reverse().join('')).toBe(plain[i].completion))
    expect(() => arithmetic({ count: 1, seed: 1, digits: 9 })).toThrow('expected 1 to 7')
  })
})

test('edits do what their names say, and are applied from first to last', () => {
  const done = Object.fromEntries(Object.entries(edits).map(([name, edit]) => [name, edit('30917')]))
  expect(done).toEqual({
    copy: '30917',
    reverse: '71903',
    sort: '01379',
    increment: '41028',
    double: '60824',
    rotate: '09173',
    swap: '03197',
  })
  fc.assert(
    fc.property(fc.subarray(Object.keys(edits)), fc.integer({ min: 0, max: 99 }), (steps, seed) => {
      const [{ prompt, completion }] = editing({ count: 1, seed, steps })
      const digits = /(\d+):$/.exec(prompt)?.[1] ?? ''
      expect(completion).toBe(steps.reduce((s, step) => edits[step](s), digits))
    }),
  )
  expect(() => editing({ count: 1, seed: 1, steps: ['revers'] })).toThrow('no edit "revers"')
})

test('forks of one stream do not disturb each other', () => {
  const [a, b] = [new Stream(1), new Stream(1)]
  b.fork('other').uniform()
  expect(a.uint32()).toBe(b.uint32())
})
