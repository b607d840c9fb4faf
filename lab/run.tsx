/** @file One run: live curves, log, settings, files, cancel. */
import type { JSX } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import type { LogPart, Metrics, MetricsRow, RunEvents, RunPage } from '../src/lab/api.js'
import { type Curve, Curves } from './curves.js'
import { between, bytes, count, moment } from './format.js'
import { get, post } from './http.js'
import { listen } from './listen.js'
import { Empty, Failure, State } from './parts.js'
import { PlotFigure } from './plots.js'

/** `series/name` -> its name; one plot a name, one curve a series. */
const plots = (curves: readonly Curve[]): [string, Curve[]][] => {
  const byName = new Map<string, Curve[]>()
  for (const curve of curves) {
    const cut = curve.name.lastIndexOf('/')
    const name = curve.name.slice(cut + 1)
    const line = { ...curve, name: cut < 0 ? name : curve.name.slice(0, cut) }
    byName.set(name, [...(byName.get(name) ?? []), line])
  }
  return [...byName]
}

/** What metrics.jsonl gives to be drawn. */
interface RunMetrics {
  readonly curves: readonly Curve[]
  /** Lines that are no rows. */
  readonly skipped: number
}

/** The curves with the rows that have come since. */
const extended = (before: RunMetrics | undefined, rows: readonly MetricsRow[]): RunMetrics => {
  const known = new Map(
    (before?.curves ?? []).map(({ name, x, y }) => [name, { name, x: [...x], y: [...y] }]),
  )
  for (const { series, step, values } of rows)
    for (const [name, value] of Object.entries(values)) {
      const full = series === undefined ? name : `${series}/${name}`
      const curve = known.get(full) ?? { name: full, x: [], y: [] }
      known.set(full, curve)
      curve.x.push(step ?? curve.x.length)
      curve.y.push(value)
    }
  return { curves: [...known.values()], skipped: before?.skipped ?? 0 }
}

const Log = ({ run }: { run: RunPage }): JSX.Element => {
  const [part, setPart] = useState<LogPart>()
  const show = (): void =>
    void get<LogPart>(`/api/runs/${run.id}/log`, { from: -65536, limit: 65536 }).then(setPart)
  return (
    <details onToggle={(e) => e.currentTarget.open && show()}>
      <summary>Log ({bytes(run.logBytes)})</summary>
      <pre class="log" tabIndex={0} role="region" aria-label="Log">
        {part?.text ?? ''}
      </pre>
    </details>
  )
}

const Settings = ({ title, values }: { title: string; values: Record<string, unknown> }): JSX.Element => (
  <details>
    <summary>{title}</summary>
    <dl class="settings">
      {Object.entries(values).map(([key, value]) => (
        <div key={key}>
          <dt>{key}</dt>
          <dd>{typeof value === 'string' ? value : JSON.stringify(value)}</dd>
        </div>
      ))}
    </dl>
  </details>
)

/** A run and its curves as they grow, and why they cannot be read. */
const useRun = (data: RunPage): { run: RunPage; metrics?: RunMetrics; error?: unknown } => {
  const [run, setRun] = useState(data)
  const [metrics, setMetrics] = useState<RunMetrics>()
  const [error, setError] = useState<unknown>()
  useEffect(() => {
    let offset = 0
    let stop = (): void => undefined
    const read = async (): Promise<RunPage> => {
      const path = `/api/runs/${data.id}`
      const [now, all] = await Promise.all([
        get<RunPage>(path),
        get<Metrics>(`${path}/metrics`, { points: 500 }),
      ])
      offset = all.offset
      setRun(now)
      setMetrics({ curves: all.series, skipped: all.skipped })
      if (now.status !== 'running') stop()
      return now
    }
    let hasLeft = false
    read().then(({ status }) => {
      if (hasLeft || status !== 'running') return
      stop = listen<RunEvents>({
        path: () => `/api/runs/${data.id}/events?from=${offset}`,
        handlers: {
          metrics: (event) => {
            offset = event.offset
            setMetrics((before) => extended(before, event.rows))
          },
          run: (row) => {
            setRun((before) => ({ ...before, ...row }))
            if (row.status === 'running') return
            stop()
            void read().catch(setError)
          },
        },
        // The stream itself begins where the last one was left.
        onOpen: () => undefined,
        poll: () => void read().catch(setError),
      })
    }, setError)
    return () => {
      hasLeft = true
      stop()
    }
  }, [])
  return { run, metrics, error }
}

/** What of the run could not be shown. */
const LeftOut = ({ run, skipped }: { run: RunPage; skipped: number }): JSX.Element | null => {
  const lines =
    skipped === 0 ? [] : [{ path: 'metrics.jsonl', reason: `${count(skipped, 'line')} are no rows` }]
  const all = [...run.leftOut, ...lines]
  if (all.length === 0) return null
  return (
    <ul class="left-out" aria-label="Left out">
      {all.map(({ path, reason }) => (
        <li key={path}>
          <code>{path}</code> was left out: {reason}
        </li>
      ))}
    </ul>
  )
}

const Files = ({ run }: { run: RunPage }): JSX.Element => (
  <section aria-labelledby="files">
    <h2 id="files">Files</h2>
    {run.artifacts.length === 0 ? (
      <Empty>It has written no file.</Empty>
    ) : (
      <ul class="lines">
        {run.artifacts.map(({ path, bytes: size }) => (
          <li key={path}>
            <a
              href={`/api/runs/${run.id}/files/${path.split('/').map(encodeURIComponent).join('/')}`}
              download
            >
              {path}
            </a>{' '}
            <span class="muted">{bytes(size)}</span>
          </li>
        ))}
      </ul>
    )}
  </section>
)

export const Run = ({ data }: { data: RunPage }): JSX.Element => {
  const { run, metrics, error } = useRun(data)
  const [refusal, setRefusal] = useState<unknown>()
  const curves = metrics?.curves
  return (
    <article class="run">
      <h1>{run.id}</h1>
      <p class="facts">
        <State of={run.status} />
        <span>
          {run.command} {run.paper ? <a href={`/papers/${run.paper}`}>{run.subject}</a> : run.subject}
        </span>
        <span>{moment(run.started)}</span>
        {run.status !== 'interrupted' && <span>{between(run.started, run.ended)}</span>}
        {run.status === 'running' && (
          <button onClick={() => void post(`/api/runs/${run.id}/cancel`).catch(setRefusal)}>Cancel</button>
        )}
      </p>
      <p>
        <code>weft {run.argv.join(' ')}</code>
      </p>
      {run.error && <Failure error={run.error.message} />}
      {error !== undefined && <Failure error={error} />}
      {refusal !== undefined && <Failure error={refusal} />}
      <LeftOut run={run} skipped={metrics?.skipped ?? 0} />
      {curves?.length === 0 && run.plots.length === 0 && (
        <Empty>
          {run.status === 'running' ? 'It has recorded nothing yet.' : 'It has recorded no metric.'}
        </Empty>
      )}
      <div class="plots">
        {plots(curves ?? []).map(([name, ofName]) => (
          <Curves key={name} title={name} curves={ofName} />
        ))}
      </div>
      {run.plots.length > 0 && (
        <section aria-labelledby="findings">
          <h2 id="findings">What it found</h2>
          <div class="plots">
            {run.plots.map((plot) => (
              <PlotFigure key={plot.title} plot={plot} />
            ))}
          </div>
        </section>
      )}
      {run.documents.map(({ path, text }) => (
        <details key={path} open={path === 'recipe.yaml'}>
          <summary>{path}</summary>
          <pre class="log" tabIndex={0} role="region" aria-label={path}>
            {text}
          </pre>
        </details>
      ))}
      <Settings title="Settings" values={run.config} />
      <Settings title="Versions and machine" values={run.facts} />
      {run.logBytes > 0 && <Log run={run} />}
      <Files run={run} />
    </article>
  )
}
