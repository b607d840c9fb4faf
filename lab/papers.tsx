/** @file The papers, newest first, by day: search as one types, filters, votes. */
import type { JSX } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import type { ClaimState, PaperCard, PaperList, PapersQuery, PaperState, VoteResult } from '../src/lab/api.js'
import { count, day } from './format.js'
import { address, get, post } from './http.js'
import { claimWords, Empty, Failure, State, stateWords, useLoaded, useSettled } from './parts.js'

const shown = 50
const claimStates: readonly ClaimState[] = ['holds', 'fails', 'not-shown', 'unmeasured']

/** An up-vote that can be taken back. */
export const Vote = ({ paper }: { paper: PaperCard }): JSX.Element => {
  const [{ votes, voted }, set] = useState<VoteResult>(paper)
  const [failed, setFailed] = useState(false)
  const toggle = async (): Promise<void> => {
    try {
      set(await post<VoteResult>(`/api/papers/${paper.id}/vote`, { vote: !voted }))
    } catch {
      setFailed(true)
    }
  }
  return (
    <button
      class="vote"
      aria-pressed={voted}
      aria-label={`Vote for ${paper.title}: ${count(votes, 'vote')}`}
      title={failed ? 'The vote was not taken.' : undefined}
      onClick={() => void toggle()}
    >
      <svg viewBox="0 0 12 8" aria-hidden="true">
        <path d="M6 0l6 8H0z" />
      </svg>
      {votes}
    </button>
  )
}

export const Card = ({ paper, dated = true }: { paper: PaperCard; dated?: boolean }): JSX.Element => {
  return (
    <article class="card" data-paper={paper.id}>
      <Vote paper={paper} key={paper.id} />
      <div>
        <h3>
          <a href={`/papers/${paper.id}`}>{paper.title}</a>
        </h3>
        <p class="facts">
          <span class="family">{paper.family}</span>
          <State of={paper.state}>{stateWords[paper.state]}</State>
          {dated && <time dateTime={paper.date}>{day(paper.date)}</time>}
          {paper.authors !== null && <span>{count(paper.authors, 'author')}</span>}
          {paper.runs > 0 && <span>{count(paper.runs, 'run')}</span>}
        </p>
        <p class="summary">{paper.summary}</p>
        <ul class="claims" aria-label="Claims">
          {claimStates
            .filter((state) => paper.claims[state] > 0)
            .map((state) => (
              <li key={state}>
                <State of={state}>
                  {paper.claims[state]} {claimWords[state]}
                </State>
              </li>
            ))}
        </ul>
      </div>
    </article>
  )
}

const Cards = ({ papers, dated }: { papers: readonly PaperCard[]; dated?: boolean }): JSX.Element => (
  <ul class="cards">
    {papers.map((paper) => (
      <li key={paper.id}>
        <Card paper={paper} dated={dated} />
      </li>
    ))}
  </ul>
)

const byDay = (papers: readonly PaperCard[]): [string, PaperCard[]][] => {
  const days = new Map<string, PaperCard[]>()
  for (const paper of papers) days.set(paper.date, [...(days.get(paper.date) ?? []), paper])
  return [...days]
}

interface Choice<T> {
  readonly value: T | undefined
  readonly text: string
}

const Choices = <T extends string>({
  label,
  value,
  choices,
  onChange,
}: {
  label: string
  value: T | undefined
  choices: readonly Choice<T>[]
  onChange: (value: T | undefined) => void
}): JSX.Element => (
  <label class="choice">
    {label}
    <select
      value={value ?? ''}
      onChange={(e) => onChange((e.currentTarget.value || undefined) as T | undefined)}
    >
      {choices.map(({ value, text }) => (
        <option key={text} value={value ?? ''}>
          {text}
        </option>
      ))}
    </select>
  </label>
)

const fromAddress = (): PapersQuery => {
  const search = new URLSearchParams(location.search)
  return {
    q: search.get('q') ?? undefined,
    family: search.get('family') ?? undefined,
    state: (search.get('state') as PaperState | null) ?? undefined,
    sort: (search.get('sort') as PapersQuery['sort'] | null) ?? undefined,
    offset: Number(search.get('offset')) || undefined,
  }
}

const Results = ({ list, query }: { list: PaperList; query: PapersQuery }): JSX.Element => {
  if (list.papers.length === 0)
    return (
      <Empty>
        No paper matches. Other words may: the search goes by meaning. <a href="/">Show all</a>
      </Empty>
    )
  if (query.q || query.sort === 'trending') return <Cards papers={list.papers} />
  return (
    <>
      {byDay(list.papers).map(([date, papers]) => (
        <section key={date}>
          <h2>
            <time dateTime={date}>{day(date)}</time>
          </h2>
          <Cards papers={papers} dated={false} />
        </section>
      ))}
    </>
  )
}

const Pager = ({ query, total }: { query: PapersQuery; total: number }): JSX.Element | null => {
  const offset = query.offset ?? 0
  if (total <= shown) return null
  return (
    <nav class="pager" aria-label="Pages">
      {offset > 0 && (
        <a rel="prev" href={address('/', { ...query, offset: Math.max(0, offset - shown) })}>
          Newer
        </a>
      )}
      <span>
        {offset + 1} – {Math.min(total, offset + shown)} of {total.toLocaleString('en-US')}
      </span>
      {offset + shown < total && (
        <a rel="next" href={address('/', { ...query, offset: offset + shown })}>
          Older
        </a>
      )}
    </nav>
  )
}

export const Papers = ({ data }: { data: PaperList }): JSX.Element => {
  const [query, setQuery] = useState(fromAddress)
  const path = address('/', query)
  const settledPath = useSettled(path, 300)
  const {
    value: list = data,
    error,
    busy,
  } = useLoaded(path, (signal) => get<PaperList>('/api/papers', { ...query, limit: shown }, signal), data)
  useEffect(() => history.replaceState(null, '', settledPath), [settledPath])
  const change = (part: PapersQuery): void => setQuery({ ...query, offset: undefined, ...part })
  return (
    <>
      <h1>Papers</h1>
      <form class="search" role="search" action="/" onSubmit={(e) => e.preventDefault()}>
        <label for="q" class="hidden">
          Search papers
        </label>
        <input
          id="q"
          name="q"
          type="search"
          maxLength={400}
          placeholder="Search by meaning: “fewer bytes between clients”"
          value={query.q ?? ''}
          onInput={(e) => change({ q: e.currentTarget.value || undefined })}
        />
        <Choices
          label="Order"
          value={query.sort}
          choices={[
            { value: undefined, text: 'Newest' },
            { value: 'trending', text: 'Trending' },
          ]}
          onChange={(sort) => change({ sort })}
        />
        <Choices
          label="Family"
          value={query.family}
          choices={[
            { value: undefined, text: 'All families' },
            ...list.families.map(({ family, count }) => ({ value: family, text: `${family} (${count})` })),
          ]}
          onChange={(family) => change({ family })}
        />
        <Choices
          label="State"
          value={query.state}
          choices={[
            { value: undefined, text: 'All states' },
            ...list.states.map(({ state, count }) => ({
              value: state,
              text: `${stateWords[state]} (${count})`,
            })),
          ]}
          onChange={(state) => change({ state })}
        />
      </form>
      <p class="count" role="status">
        {query.q && !busy ? `${count(list.total, 'paper')} for “${query.q}”` : count(list.total, 'paper')}
      </p>
      {error !== undefined && <Failure error={error} />}
      <div class="results" aria-busy={busy}>
        <Results list={list} query={query} />
      </div>
      <Pager query={query} total={list.total} />
    </>
  )
}
