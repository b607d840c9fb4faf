/** @file The daily-papers JSON API of Hugging Face, and of whoever speaks its form (Weft's lab does). */
import { z } from 'zod'
import { RemoteError } from '../../errors.js'
import { isArxivId } from './listed.js'
import type { ListedPaper } from './listed.js'

/** Where it is. */
export const dailyUrl = 'https://huggingface.co/api/daily_papers'

/** The address of the papers of one day (`YYYY-MM-DD`). */
export const dailyQuery = (base: string, date: string): string => {
  const url = new URL(base)
  url.searchParams.set('date', date)
  url.searchParams.set('limit', '100')
  return url.href
}

/** What is needed of an element; it has much more. */
const element = z.object({
  paper: z.object({
    id: z.string(),
    title: z.string().min(1),
    summary: z.string().default(''),
    publishedAt: z.string(),
    upvotes: z.number().optional(),
    authors: z.array(z.object({ name: z.string() })).default([]),
  }),
})

const line = (text: string): string => text.replace(/\s+/g, ' ').trim()

/** The papers of an answer; elements that are no papers are left out. Throws RemoteError. */
export const readDaily = (text: string, url: string): ListedPaper[] => {
  let list: unknown
  try {
    list = JSON.parse(text)
  } catch (cause) {
    throw new RemoteError('SyncUnreadable', `${url} sent no JSON: ${(cause as Error).message}`, { cause })
  }
  if (!Array.isArray(list)) throw new RemoteError('SyncUnreadable', `${url} sent no list of papers`)
  return list.flatMap((item) => {
    const { data } = element.safeParse(item)
    return (data && paperOf(data)) ?? []
  })
}

const paperOf = ({ paper }: z.infer<typeof element>): ListedPaper | undefined => {
  const { id, title, summary, publishedAt, upvotes, authors } = paper
  const published = new Date(publishedAt)
  if (!isArxivId(id) || Number.isNaN(published.getTime())) return undefined
  return {
    ...{ id, arxiv: id, title: line(title), summary: line(summary), from: 'daily', claims: [] },
    ...{ names: authors.map(({ name }) => line(name)), authors: authors.length },
    date: published.toISOString().slice(0, 10),
    published: published.toISOString(),
    family: 'daily papers',
    ...(upvotes === undefined ? {} : { upvotes }),
  }
}
