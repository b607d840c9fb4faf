import { describe, expect, test } from 'vitest'
import { yesNoAnswers, yesNoLength, yesNoQuestions, yesNoTexts, yesNoTokens } from './index.js'
import { minOf } from '../tensor/numbers.js'

const rowsOf = ({ data }: { data: ArrayLike<number | bigint> }): number[][] =>
  Array.from({ length: data.length / yesNoLength }, (_, i) =>
    Array.from({ length: yesNoLength }, (_, j) => Number(data[i * yesNoLength + j])),
  )

const kinds = (yesNoTokens - 7) / 2
const [open, close] = [2 * kinds, 2 * kinds + 1]
const depthOf = (text: readonly number[]): number => {
  let [depth, most] = [0, 0]
  for (const symbol of text) {
    depth += Number(symbol === open) - Number(symbol === close)
    most = Math.max(most, depth)
  }
  return most
}

describe('yes-or-no questions', () => {
  const { ids, labels } = yesNoQuestions(300, 'seed')

  test('have right answers, about half of them yes, and no other label', () => {
    const counts = [0, 0]
    for (const row of rowsOf(ids)) {
      const [question, ...text] = row
      const answer = text.pop()! - yesNoAnswers.no
      counts[answer]++
      const task = question - (close + 1)
      const agree = text.every((s, i) => s < kinds || s >= 2 * kinds || text[i - 1] === s - kinds)
      const right = [agree, depthOf(text) > 1, text[0] === text[text.length - 1]]
      expect(right[task], row.join(' ')).toBe(answer === 1)
    }
    expect(minOf(counts)).toBeGreaterThan(120)
    for (const row of rowsOf(labels)) expect(row.filter((label) => label !== -100)).toHaveLength(1)
  })

  test('and their texts follow from the seed alone', () => {
    expect(yesNoQuestions(300, 'seed').ids.data).toEqual(ids.data)
    expect(yesNoQuestions(300, 'other').ids.data).not.toEqual(ids.data)
    expect(yesNoTexts(20, 'seed').ids.data).toEqual(yesNoTexts(20, 'seed').ids.data)
  })

  test('texts close every bracket, and their answers are no labels', () => {
    const texts = yesNoTexts(100, 'texts')
    for (const row of rowsOf(texts.ids)) {
      const text = row.slice(1, -1)
      expect(text.filter((s) => s === open)).toHaveLength(text.filter((s) => s === close).length)
      expect(row.every((s) => s >= 0 && s < yesNoTokens)).toBe(true)
    }
    for (const row of rowsOf(texts.labels)) expect(row.at(-1)).toBe(-100)
  })
})
