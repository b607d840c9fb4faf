/** @file arXiv's Atom API: https://info.arxiv.org/help/api/user-manual.html */
import { XMLParser } from 'fast-xml-parser'
import { RemoteError } from '../../errors.js'
import { isArxivId } from './listed.js'
import type { ListedPaper } from './listed.js'

/** Where it is. */
export const arxivUrl = 'https://export.arxiv.org/api/query'

/** Entries a page: the manual asks for slices. */
export const arxivPage = 200

/** The address of a page of the newest submissions in `categories`. */
export const arxivQuery = (base: string, categories: readonly string[], start: number): string => {
  const url = new URL(base)
  url.searchParams.set('search_query', categories.map((category) => `cat:${category}`).join(' OR '))
  url.searchParams.set('sortBy', 'submittedDate')
  url.searchParams.set('sortOrder', 'descending')
  url.searchParams.set('start', String(start))
  url.searchParams.set('max_results', String(arxivPage))
  return url.href
}

interface Entry {
  readonly id?: string
  readonly title?: string
  readonly summary?: string
  readonly published?: string
  readonly author?: readonly { readonly name?: string }[]
  readonly 'arxiv:primary_category'?: { readonly '@term'?: string }
  readonly category?: readonly { readonly '@term'?: string }[]
}

const parser = new XMLParser({
  ignoreAttributes: false,
  attributeNamePrefix: '@',
  parseTagValue: false,
  htmlEntities: true,
  parseAttributeValue: false,
  isArray: (name) => ['entry', 'author', 'category'].includes(name),
})

const line = (text: unknown): string => (typeof text === 'string' ? text.replace(/\s+/g, ' ').trim() : '')

/** The papers of an Atom document; entries that lack an id, a title or a date are left out. Throws RemoteError. */
export const readAtom = (text: string, url: string): ListedPaper[] => {
  let document: { feed?: { entry?: readonly Entry[] } | '' }
  try {
    document = parser.parse(text, true) as typeof document
  } catch (cause) {
    throw new RemoteError('SyncUnreadable', `${url} sent no XML: ${(cause as Error).message}`, { cause })
  }
  if (document.feed === undefined) throw new RemoteError('SyncUnreadable', `${url} sent no Atom feed`)
  return ((document.feed || {}).entry ?? []).flatMap((entry) => paperOf(entry) ?? [])
}

const paperOf = (entry: Entry): ListedPaper | undefined => {
  // http://arxiv.org/abs/2601.01234v2
  const id = /\/abs\/(.+?)(v\d+)?$/.exec(line(entry.id))?.[1] ?? ''
  const published = new Date(line(entry.published))
  const title = line(entry.title)
  if (!isArxivId(id) || title === '' || Number.isNaN(published.getTime())) return undefined
  const names = (entry.author ?? []).map(({ name }) => line(name)).filter(Boolean)
  return {
    ...{ id, arxiv: id, title, names, authors: names.length, from: 'arxiv', claims: [] },
    date: published.toISOString().slice(0, 10),
    published: published.toISOString(),
    family: entry['arxiv:primary_category']?.['@term'] ?? entry.category?.[0]?.['@term'] ?? 'arXiv',
    summary: line(entry.summary),
  }
}
