import fc from 'fast-check'
import { XMLParser, XMLValidator } from 'fast-xml-parser'
import { expect, test } from 'vitest'
import type { PaperCard } from './api.js'
import { atomFeed, dailyPaper, jsonFeed, weekDates } from './feeds.js'

const paper = (title: string, summary: string): PaperCard => ({
  id: 'a b',
  title,
  date: '2026-01-02',
  authors: 3,
  family: 'merge',
  state: 'planned',
  summary,
  arxiv: '2601.00001',
  code: null,
  votes: 2,
  voted: false,
  claims: { holds: 0, fails: 0, 'not-shown': 0, unmeasured: 0 },
  runs: 0,
})

test('an Atom feed of any texts is XML, and says them', () => {
  const text = fc.string({ unit: 'binary', maxLength: 60 })
  fc.assert(
    fc.property(text, text, (title, summary) => {
      expect(XMLValidator.validate(atomFeed([paper(title, summary)], 'http://lab'))).toBe(true)
    }),
  )
  const parser = new XMLParser({ ignoreAttributes: false, processEntities: true })
  const { feed } = parser.parse(atomFeed([paper('A < B & "C"', ']]>')], 'http://lab?a&b')) as {
    feed: { id: string; entry: { title: string; id: string; summary: string; published: string } }
  }
  expect(feed.entry).toMatchObject({
    title: 'A < B & "C"',
    summary: ']]>',
    published: '2026-01-02T00:00:00.000Z',
  })
  expect(feed.entry.id).toBe('http://lab?a&b/papers/a%20b')
})

test('a feed of nothing is one too', () => {
  expect(XMLValidator.validate(atomFeed([], 'http://lab'))).toBe(true)
  expect(jsonFeed([], 'http://lab')).toMatchObject({ items: [] })
})

test('weeks are those of ISO 8601', () => {
  expect(weekDates('2026-W01')).toEqual(['2025-12-29', '2026-01-04'])
  expect(weekDates('2020-W53')).toEqual(['2020-12-28', '2021-01-03'])
  expect(weekDates('2021-W01')).toEqual(['2021-01-04', '2021-01-10'])
  expect(weekDates('2024-W09')).toEqual(['2024-02-26', '2024-03-03'])
})

test('a daily paper names authors where they are known', () => {
  expect(dailyPaper(paper('T', 'S'), ['Ada']).paper).toMatchObject({
    id: '2601.00001',
    authors: [{ name: 'Ada', hidden: false }],
    upvotes: 2,
  })
})
