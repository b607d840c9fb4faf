/** @file New papers for programs: an Atom feed, a JSON feed, and the daily-papers form of Hugging Face's API. */
import type { DailyPaper, PaperCard } from './api.js'

/** Papers in a feed. */
export const feedLength = 100

const escapes: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}
// XML 1.0 has no control characters but tab and line ends.

const forbidden = /[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/g
const escaped = (text: string): string => text.replace(forbidden, '').replace(/[&<>"']/g, (c) => escapes[c])

const instant = (date: string): string => `${date}T00:00:00.000Z`
const addressOf = (url: string, { id }: PaperCard): string => `${url}/papers/${encodeURIComponent(id)}`

/** The feed as RFC 4287 has it. */
export const atomFeed = (papers: readonly PaperCard[], url: string): string => {
  const entries = papers.map(
    (paper) => `  <entry>
    <id>${escaped(addressOf(url, paper))}</id>
    <title>${escaped(paper.title)}</title>
    <link rel="alternate" href="${escaped(addressOf(url, paper))}"/>
    <published>${instant(paper.date)}</published>
    <updated>${instant(paper.date)}</updated>
    <author><name>${escaped(paper.authors === null ? 'Its authors' : `${paper.authors} authors`)}</name></author>
    <category term="${escaped(paper.family)}"/>
    <summary>${escaped(paper.summary)}</summary>
  </entry>`,
  )
  return `<?xml version="1.0" encoding="utf-8"?>
<feed xmlns="http://www.w3.org/2005/Atom">
  <id>${escaped(url)}/</id>
  <title>Weft lab: papers</title>
  <updated>${instant(papers[0]?.date ?? '1970-01-01')}</updated>
  <link rel="self" href="${escaped(url)}/feed.atom"/>
  <link rel="alternate" href="${escaped(url)}/"/>
${entries.join('\n')}
</feed>
`
}

/** The feed as JSON Feed 1.1 has it. */
export const jsonFeed = (papers: readonly PaperCard[], url: string): object => ({
  version: 'https://jsonfeed.org/version/1.1',
  title: 'Weft lab: papers',
  home_page_url: `${url}/`,
  feed_url: `${url}/feed.json`,
  items: papers.map((paper) => ({
    id: addressOf(url, paper),
    url: addressOf(url, paper),
    ...(paper.arxiv === null ? {} : { external_url: `https://arxiv.org/abs/${paper.arxiv}` }),
    title: paper.title,
    content_text: paper.summary,
    date_published: instant(paper.date),
    tags: [paper.family, paper.state],
  })),
})

/** A paper as Hugging Face's endpoint gives it. `names`: of its authors, where they are known. */
export const dailyPaper = (
  { id, arxiv, title, summary, date, votes, code }: PaperCard,
  names: readonly string[],
): DailyPaper => ({
  paper: {
    id: arxiv ?? id,
    authors: names.map((name) => ({ name, hidden: false })),
    publishedAt: instant(date),
    submittedOnDailyAt: instant(date),
    title,
    summary,
    upvotes: votes,
    ...(code === null ? {} : { githubRepo: code }),
  },
  publishedAt: instant(date),
  title,
  summary,
  numComments: 0,
  isAuthorParticipating: false,
})

const day = 24 * 60 * 60 * 1000
const isoDate = (time: number): string => new Date(time).toISOString().slice(0, 10)

/** First and last date of an ISO week, `2026-W01`: the first week is the one with January 4th in it. */
export const weekDates = (week: string): [string, string] => {
  const [year, number] = week.split('-W').map(Number)
  const fourth = Date.UTC(year, 0, 4)
  const monday = fourth - ((new Date(fourth).getUTCDay() + 6) % 7) * day + (number - 1) * 7 * day
  return [isoDate(monday), isoDate(monday + 6 * day)]
}
