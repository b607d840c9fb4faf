/** @file The runs: filtered, live, picked for comparison. */
import type { JSX } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import type { LabEvents, RunList, RunRow, RunsQuery, RunStatus } from '../src/lab/api.js'
import { between, count, moment, number } from './format.js'
import { address, get } from './http.js'
import { listen } from './listen.js'
import { Empty, Failure, State, useLoaded, useSettled } from './parts.js'

const shown = 50
const statuses: readonly RunStatus[] = ['running', 'finished', 'failed', 'cancelled', 'interrupted']
const mostCompared = 16

const lossFirst = (names: string[]): string[] =>
  names.sort((a, b) => Number(/loss/.test(b)) - Number(/loss/.test(a)))

const Row = ({
  run,
  picked,
  onPick,
}: {
  run: RunRow
  picked: boolean
  onPick: (on: boolean) => void
}): JSX.Element => {
  const names = lossFirst(Object.keys(run.metrics)).slice(0, 2)
  return (
    <tr>
      <td>
        <input
          type="checkbox"
          aria-label={`Compare ${run.id}`}
          checked={picked}
          onChange={(e) => onPick(e.currentTarget.checked)}
        />
      </td>
      <th scope="row">
        <a href={`/runs/${run.id}`}>{run.id}</a>
      </th>
      <td>
        {run.command} {run.paper ? <a href={`/papers/${run.paper}`}>{run.subject}</a> : run.subject}
      </td>
      <td>
        <State of={run.status} />
      </td>
      <td>{moment(run.started)}</td>
      <td>{run.status === 'interrupted' ? '–' : between(run.started, run.ended)}</td>
      <td>{run.step ?? '–'}</td>
      <td>{names.map((name) => `${name} ${number(run.metrics[name])}`).join(', ') || '–'}</td>
    </tr>
  )
}

export const Runs = ({ data }: { data: RunList }): JSX.Element => {
  const [query, setQuery] = useState<RunsQuery>({})
  const [changes, setChanges] = useState(0)
  const [picked, setPicked] = useState<readonly string[]>([])
  const settled = useSettled(query, 60)
  const load = (signal: AbortSignal): Promise<RunList> =>
    get<RunList>('/api/runs', { ...settled, limit: shown }, signal)
  const lastChange = useSettled(changes, 500)
  useEffect(() => {
    const changed = (): void => setChanges((now) => now + 1)
    return listen<LabEvents>({
      path: () => '/api/events',
      handlers: { run: changed, removed: changed },
      onOpen: changed,
      poll: changed,
    })
  }, [])
  const {
    value: list = data,
    error,
    busy,
  } = useLoaded(`${address('/runs', settled)} ${lastChange}`, load, data)
  const pick = (id: string) => (on: boolean) =>
    setPicked(on ? [...picked, id].slice(-mostCompared) : picked.filter((p) => p !== id))
  const offset = query.offset ?? 0
  return (
    <>
      <h1>Runs</h1>
      <form class="search" role="search" onSubmit={(e) => e.preventDefault()}>
        <label for="q" class="hidden">
          Search runs
        </label>
        <input
          id="q"
          type="search"
          maxLength={400}
          placeholder="Search runs"
          onInput={(e) => setQuery({ ...query, offset: undefined, q: e.currentTarget.value || undefined })}
        />
        <label class="choice">
          Status
          <select
            onChange={(e) =>
              setQuery({
                ...query,
                offset: undefined,
                status: (e.currentTarget.value || undefined) as RunStatus | undefined,
              })
            }
          >
            <option value="">All</option>
            {statuses.map((status) => (
              <option key={status}>{status}</option>
            ))}
          </select>
        </label>
        <a
          class="button"
          aria-disabled={picked.length < 2}
          href={picked.length < 2 ? undefined : `/compare?runs=${picked.join(',')}`}
        >
          Compare {picked.length || ''}
        </a>
      </form>
      <p class="count" role="status">
        {count(list.total, 'run')}
      </p>
      {error !== undefined && <Failure error={error} />}
      {list.runs.length === 0 ? (
        <Empty>
          No run {query.q || query.status ? 'matches' : 'yet'}. <code>npm start</code>,{' '}
          <code>weft adapt</code> or a paper’s “Run” makes one.
        </Empty>
      ) : (
        <div class="scroll" tabIndex={0} role="region" aria-label="Runs" aria-busy={busy}>
          <table>
            <thead>
              <tr>
                <td />
                <th scope="col">Run</th>
                <th scope="col">What</th>
                <th scope="col">Status</th>
                <th scope="col">Started</th>
                <th scope="col">Time</th>
                <th scope="col">Step</th>
                <th scope="col">Last values</th>
              </tr>
            </thead>
            <tbody>
              {list.runs.map((run) => (
                <Row key={run.id} run={run} picked={picked.includes(run.id)} onPick={pick(run.id)} />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {list.total > shown && (
        <nav class="pager" aria-label="Pages">
          <button
            disabled={offset === 0}
            onClick={() => setQuery({ ...query, offset: Math.max(0, offset - shown) })}
          >
            Newer
          </button>
          <span>
            {offset + 1} – {Math.min(list.total, offset + shown)} of {list.total.toLocaleString('en-US')}
          </span>
          <button
            disabled={offset + shown >= list.total}
            onClick={() => setQuery({ ...query, offset: offset + shown })}
          >
            Older
          </button>
        </nav>
      )}
    </>
  )
}
