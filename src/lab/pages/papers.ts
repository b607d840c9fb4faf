/** @file The list of papers as HTML that needs no script. The page's script takes over what it finds. */
import { html } from 'hono/html'
import { verdictWords } from '../../papers/index.js'
import { stateWords } from '../../catalogue/index.js'
import type { ClaimState, PaperCard, PaperList, PapersQuery } from '../api.js'
import type { Html } from './layout.js'

/** `1 vote`, `2 votes`. */
export const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`

/** `2024-10-01` -> `1 October 2024`. */
export const dayOf = (date: string): string =>
  new Date(`${date}T00:00:00Z`).toLocaleDateString('en-GB', {
    day: 'numeric',
    month: 'long',
    year: 'numeric',
    timeZone: 'UTC',
  })

/** How the states of claims read. */
export const claimWords: Record<ClaimState, string> = { ...verdictWords, unmeasured: 'not measured yet' }
const claimStates: readonly ClaimState[] = ['holds', 'fails', 'not-shown', 'unmeasured']

const claimSummary = ({ claims }: PaperCard): Html[] =>
  claimStates
    .filter((state) => claims[state] > 0)
    .map((state) => html`<li data-state="${state}">${claims[state]} ${claimWords[state]}</li>`)

/** When, by how many, what kind, and how it stands; `more` follows. */
export const facts = ({ date, authors, family, state, votes }: PaperCard, more: unknown = ''): Html =>
  html`<p class="facts">
    <time datetime="${date}">${dayOf(date)}</time>
    ${authors === null ? '' : html`<span>${plural(authors, 'author')}</span>`}
    <span class="family">${family}</span>
    <span class="state" data-state="${state}">${stateWords[state]}</span>
    <span class="votes">${plural(votes, 'vote')}</span>
    ${more}
  </p>`

/** A paper in a list. */
export const card = (paper: PaperCard): Html => {
  const { id, title, summary } = paper
  return html`<article class="card" data-paper="${id}">
    <h3><a href="/papers/${encodeURIComponent(id)}">${title}</a></h3>
    ${facts(paper)}
    <p class="summary">${summary}</p>
    <ul class="claims" aria-label="Claims">
      ${claimSummary(paper)}
    </ul>
  </article>`
}

const byDay = (papers: readonly PaperCard[]): [string, PaperCard[]][] => {
  const days = new Map<string, PaperCard[]>()
  for (const paper of papers) days.set(paper.date, [...(days.get(paper.date) ?? []), paper])
  return [...days]
}

type Query = PapersQuery & { limit: number; offset: number }

const address = (query: Partial<Query>): string => {
  const used = Object.entries(query).filter(([, value]) => value !== undefined && value !== '' && value !== 0)
  const search = new URLSearchParams(used.map(([key, value]) => [key, String(value)])).toString()
  return search ? `/?${search}` : '/'
}

const choice = <K extends 'family' | 'state' | 'sort'>(
  query: Query,
  key: K,
  value: Query[K] | undefined,
  text: string,
): Html => {
  const { q, family, state, sort } = query
  const current = query[key] === value ? html` aria-current="true"` : ''
  return html`<li><a href="${address({ q, family, state, sort, [key]: value })}" ${current}>${text}</a></li>`
}

const filters = (query: Query, { families, states }: PaperList): Html =>
  html`<nav class="filters" aria-label="Filters">
    <ul aria-label="Order">
      ${choice(query, 'sort', undefined, 'Newest')} ${choice(query, 'sort', 'trending', 'Trending')}
    </ul>
    <ul aria-label="Family">
      ${choice(query, 'family', undefined, 'All families')}
      ${families.map(({ family, count }) => choice(query, 'family', family, `${family} (${count})`))}
    </ul>
    <ul aria-label="State">
      ${choice(query, 'state', undefined, 'All states')}
      ${states.map(({ state, count }) => choice(query, 'state', state, `${stateWords[state]} (${count})`))}
    </ul>
  </nav>`

const pager = (query: Query, total: number): Html => {
  const { limit, offset, ...rest } = query
  const [before, after] = [Math.max(0, offset - limit), offset + limit]
  return html`<nav class="pager" aria-label="Pages">
    ${offset > 0 ? html`<a rel="prev" href="${address({ ...rest, offset: before })}">Previous</a>` : ''}
    ${after < total ? html`<a rel="next" href="${address({ ...rest, offset: after })}">Next</a>` : ''}
  </nav>`
}

/** Papers under a heading. */
export const cards = (papers: readonly PaperCard[]): Html =>
  html`<ul class="cards">
    ${papers.map((paper) => html`<li>${card(paper)}</li>`)}
  </ul>`

const results = (list: PaperList, query: Query): Html | Html[] => {
  if (list.papers.length === 0)
    return html`<p class="empty">
      No paper matches. <a href="/">Show all ${list.states.reduce((n, s) => n + s.count, 0)}</a>
    </p>`
  if (query.q)
    return html`<section>
      <h2>Results for “${query.q}”</h2>
      ${cards(list.papers)}
    </section>`
  if (query.sort === 'trending')
    return html`<section>
      <h2>Trending</h2>
      ${cards(list.papers)}
    </section>`
  return byDay(list.papers).map(
    ([date, papers]) =>
      html`<section>
        <h2><time datetime="${date}">${dayOf(date)}</time></h2>
        ${cards(papers)}
      </section>`,
  )
}

/** The list of papers. */
export const papersPage = (list: PaperList, query: Query): Html =>
  html`<h1>Papers</h1>
    <form role="search" action="/" method="get">
      <label for="q">Search papers</label>
      <input id="q" name="q" type="search" value="${query.q ?? ''}" maxlength="400" />
      <button>Search</button>
    </form>
    ${filters(query, list)}
    <p class="count" role="status">${plural(list.total, 'paper')}</p>
    <div class="results">${results(list, query)}</div>
    ${pager(query, list.total)}`
