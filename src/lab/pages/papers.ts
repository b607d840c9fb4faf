/** @file Papers as HTML that needs no script: the list and one paper. The page's script takes over what it finds. */
import { html } from 'hono/html'
import { stateWords, verdictWords } from '../../papers/index.js'
import type { ClaimState, PaperCard, PaperList, PaperPage, PapersQuery, Plot } from '../api.js'
import type { Html } from './layout.js'

const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`

/** `2024-10-01` -> `1 October 2024`. */
export const dayOf = (date: string): string =>
  new Date(`${date}T00:00:00Z`).toLocaleDateString('en-GB', {
    day: 'numeric',
    month: 'long',
    year: 'numeric',
    timeZone: 'UTC',
  })

const claimWords: Record<ClaimState, string> = { ...verdictWords, unmeasured: 'not measured yet' }
const claimStates: readonly ClaimState[] = ['holds', 'fails', 'not-shown', 'unmeasured']

const claimSummary = ({ claims }: PaperCard): Html[] =>
  claimStates
    .filter((state) => claims[state] > 0)
    .map((state) => html`<li data-state="${state}">${claims[state]} ${claimWords[state]}</li>`)

/** A paper in a list. */
export const card = (paper: PaperCard): Html => {
  const { id, title, date, authors, family, state, summary, votes } = paper
  return html`<article class="card" data-paper="${id}">
    <h3><a href="/papers/${encodeURIComponent(id)}">${title}</a></h3>
    <p class="facts">
      <time datetime="${date}">${dayOf(date)}</time>
      ${authors === null ? '' : html`<span>${plural(authors, 'author')}</span>`}
      <span class="family">${family}</span>
      <span class="state" data-state="${state}">${stateWords[state]}</span>
      <span class="votes">${plural(votes, 'vote')}</span>
    </p>
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
  const given = Object.entries(query).filter(
    ([, value]) => value !== undefined && value !== '' && value !== 0,
  )
  const search = new URLSearchParams(given.map(([key, value]) => [key, String(value)])).toString()
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

const cards = (papers: readonly PaperCard[]): Html =>
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

const claimTable = ({ claimList }: PaperPage): Html =>
  claimList.length === 0
    ? html`<p class="empty">Its claims are not written down yet.</p>`
    : html`<div class="scroll" tabindex="0" role="region" aria-label="Claims">
        <table>
          <thead>
            <tr>
              <th scope="col">Claim</th>
              <th scope="col">Paper</th>
              <th scope="col">Here</th>
              <th scope="col">Verdict</th>
            </tr>
          </thead>
          <tbody>
            ${claimList.map(
              ({ text, paper, here, why, state }) =>
                html`<tr>
                  <th scope="row">${text}${why === null ? '' : html`<br /><small>${why}</small>`}</th>
                  <td>${paper ?? '–'}</td>
                  <td>${here ?? '–'}</td>
                  <td><span data-state="${state}">${claimWords[state]}</span></td>
                </tr>`,
            )}
          </tbody>
        </table>
      </div>`

const shown = (value: number | string): string =>
  typeof value === 'string' ? value : String(Number(value.toPrecision(5)))

/** A plot's last points as numbers: what it shows, for those to whom nothing is drawn. */
const plotTable = ({ title, x, y, series }: Plot): Html =>
  html`<figure class="plot">
    <figcaption>${title}</figcaption>
    <table>
      <thead>
        <tr>
          <th scope="col">Series</th>
          <th scope="col">${x.label}</th>
          <th scope="col">${y.label}</th>
        </tr>
      </thead>
      <tbody>
        ${series.map(({ name, points }) => {
          const point = points.at(-1)
          if (!point) return ''
          const spread = point.spread ? ` ± ${shown(point.spread)}` : ''
          return html`<tr>
            <th scope="row">${name}</th>
            <td>${shown(point.x)}</td>
            <td>${shown(point.y)}${spread}</td>
          </tr>`
        })}
      </tbody>
    </table>
  </figure>`

const measured = ({ measurement }: PaperPage): Html | string => {
  if (!measurement) return ''
  const { run, at, quick, seeds } = measurement
  return html`<p class="facts">
    Measured <time datetime="${at}">${dayOf(at.slice(0, 10))}</time>,
    ${plural(seeds, 'seed')}${quick ? ', quick' : ''}:
    <a href="/runs/${encodeURIComponent(run)}">${run}</a>
  </p>`
}

const recentRuns = ({ recent }: PaperPage): Html | string =>
  recent.length === 0
    ? ''
    : html`<section aria-labelledby="runs">
        <h2 id="runs">Runs</h2>
        <ul>
          ${recent.map(
            ({ id, status }) =>
              html`<li>
                <a href="/runs/${encodeURIComponent(id)}">${id}</a>
                <span data-state="${status}">${status}</span>
              </li>`,
          )}
        </ul>
      </section>`

/** One paper. */
export const paperPage = (paper: PaperPage): Html => {
  const {
    id,
    title,
    date,
    authors,
    family,
    state,
    summary,
    arxiv,
    code,
    votes,
    plots,
    source,
    command,
    similar,
  } = paper
  return html`<article class="paper" data-paper="${id}">
    <h1>${title}</h1>
    <p class="facts">
      <time datetime="${date}">${dayOf(date)}</time>
      ${authors === null ? '' : html`<span>${plural(authors, 'author')}</span>`}
      <span class="family">${family}</span>
      <span class="state" data-state="${state}">${stateWords[state]}</span>
      <span class="votes">${plural(votes, 'vote')}</span>
      ${arxiv === null ? '' : html`<a href="https://arxiv.org/abs/${arxiv}" rel="noreferrer">arXiv ${arxiv}</a>`}
      ${code !== null && /^https?:/.test(code) ? html`<a href="${code}" rel="noreferrer">Authors’ code</a>` : ''}
    </p>
    <p class="summary">${summary}</p>
    <section aria-labelledby="claims">
      <h2 id="claims">Claims</h2>
      ${measured(paper)} ${claimTable(paper)}
    </section>
    ${
      plots.length === 0
        ? ''
        : html`<section aria-labelledby="plots">
            <h2 id="plots">Measurements</h2>
            ${plots.map(plotTable)}
          </section>`
    }
    ${
      command === null
        ? ''
        : html`<section aria-labelledby="run">
            <h2 id="run">Run it</h2>
            <pre><code>${command}</code></pre>
          </section>`
    }
    ${
      source === null
        ? ''
        : html`<section aria-labelledby="source">
            <h2 id="source">Source</h2>
            <details>
              <summary>${source.path}</summary>
              <pre tabindex="0"><code>${source.text}</code></pre>
            </details>
          </section>`
    }
    ${recentRuns(paper)}
    ${
      similar.length === 0
        ? ''
        : html`<section aria-labelledby="similar">
            <h2 id="similar">Similar papers</h2>
            ${cards(similar)}
          </section>`
    }
  </article>`
}
