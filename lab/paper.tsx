/** @file One paper: claims against measurements, plots, its source, and its reproduction as a job. */
import type { JSX } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import type { Job, JobEvents, LabEvents, PaperPage } from '../src/lab/api.js'
import { count, day, duration, moment, number } from './format.js'
import { get, post } from './http.js'
import { listen } from './listen.js'
import { Card, Vote } from './papers.js'
import { claimWords, Empty, Failure, State, stateWords } from './parts.js'
import { PlotFigure } from './plots.js'

const Claims = ({ paper: { claimList, measurement } }: { paper: PaperPage }): JSX.Element => (
  <section aria-labelledby="claims">
    <h2 id="claims">Claims</h2>
    {measurement && (
      <p class="facts">
        <span>Measured {moment(measurement.at)}</span>
        <span>{count(measurement.seeds, 'seed')}</span>
        {measurement.quick && <span>quick form: verdicts need a full run</span>}
        {measurement.run === null ? (
          <span>kept in reference/</span>
        ) : (
          <a href={`/runs/${measurement.run}`}>its run</a>
        )}
      </p>
    )}
    {claimList.length === 0 ? (
      <Empty>Its claims are not written down yet.</Empty>
    ) : (
      <div class="scroll" tabIndex={0} role="region" aria-label="Claims against measurements">
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
            {claimList.map(({ text, paper, here, why, state }) => (
              <tr key={text}>
                <th scope="row">
                  {text}
                  {why && <small>{why}</small>}
                </th>
                <td>{paper ?? '–'}</td>
                <td>{here ?? '–'}</td>
                <td>
                  <State of={state}>{claimWords[state]}</State>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    )}
  </section>
)

const over = ({ status }: Job): boolean => status !== 'queued' && status !== 'running'

const JobState = ({
  job,
  lines,
  onCancel,
}: {
  job: Job
  lines: readonly string[]
  onCancel: () => void
}): JSX.Element => {
  const { progress } = job
  const share = progress?.done != null && progress.total ? progress.done / progress.total : undefined
  return (
    <div class="job" role="status">
      <p>
        <State of={job.status} />
        {job.status === 'queued' && ` ${job.position} before it`}
        {progress?.name && ` ${progress.name}`}
        {progress &&
          Object.entries(progress.metrics).map(([name, value]) => (
            <span class="metric" key={name}>{` ${name} ${number(value)}`}</span>
          ))}
        {job.started &&
          job.ended &&
          ` in ${duration((Date.parse(job.ended) - Date.parse(job.started)) / 1000)}`}
        {job.runs.map((run) => (
          <a key={run} href={`/runs/${run}`}>
            {' '}
            its run
          </a>
        ))}
      </p>
      {!over(job) && <progress aria-label="Progress of the reproduction" value={share} />}
      {!over(job) && <button onClick={onCancel}>Cancel</button>}
      {job.error && <Failure error={job.error} />}
      {lines.length > 0 && (
        <pre class="log" tabIndex={0} role="region" aria-label="What the reproduction prints">
          {lines.join('\n')}
        </pre>
      )}
    </div>
  )
}

/** Follows a job until it is over. */
const useJob = (job: Job | undefined, setJob: (job: Job) => void): readonly string[] => {
  const [lines, setLines] = useState<readonly string[]>([])
  useEffect(() => {
    if (!job) return
    const update = (now: Job): void => {
      setJob(now)
      if (over(now)) stop()
    }
    const stop = listen<JobEvents>({
      path: () => `/api/jobs/${job.id}/events`,
      handlers: { job: update, log: ({ line }) => setLines((before) => [...before.slice(-199), line]) },
      // The stream begins with the last lines.
      onOpen: () => setLines([]),
      poll: () => void get<Job>(`/api/jobs/${job.id}`).then(update),
    })
    return stop
  }, [job?.id])
  return lines
}

/** Starts the reproduction and follows it; a reload finds it again. */
const Reproduce = ({ paper }: { paper: PaperPage }): JSX.Element => {
  const [job, setJob] = useState<Job>()
  const [error, setError] = useState<unknown>()
  const lines = useJob(job, setJob)
  useEffect(() => {
    void get<{ jobs: Job[] }>('/api/jobs').then(({ jobs }) =>
      setJob((known) => known ?? jobs.find((j) => j.paper === paper.id && !over(j))),
    )
  }, [])
  const start = (quick: boolean) => async (): Promise<void> => {
    setError(undefined)
    await post<Job>('/api/jobs', { paper: paper.id, quick }).then(setJob, setError)
  }
  const busy = job !== undefined && !over(job)
  return (
    <section aria-labelledby="run">
      <h2 id="run">Run it</h2>
      <p class="buttons">
        <button class="main" disabled={busy} onClick={() => void start(true)()}>
          Run, quick form
        </button>
        <button disabled={busy} onClick={() => void start(false)()}>
          Run in full
        </button>
        <code>{paper.command}</code>
      </p>
      {error !== undefined && <Failure error={error} />}
      {job && (
        <JobState
          job={job}
          lines={lines}
          onCancel={() => void post(`/api/jobs/${job.id}/cancel`).catch(setError)}
        />
      )}
    </section>
  )
}

export const Paper = ({ data }: { data: PaperPage }): JSX.Element => {
  const [paper, setPaper] = useState(data)
  useEffect(() => {
    const read = (): void => void get<PaperPage>(`/api/papers/${data.id}`).then(setPaper)
    return listen<LabEvents>({
      path: () => '/api/events',
      handlers: {
        papers: ({ id }) => {
          if (id === null || id === data.id) read()
        },
      },
      onOpen: read,
      poll: read,
    })
  }, [])
  const {
    title,
    date,
    authors,
    family,
    state,
    summary,
    arxiv,
    code,
    plots,
    source,
    command,
    similar,
    recent,
  } = paper
  return (
    <article class="paper" data-paper={paper.id}>
      <div class="heading">
        <Vote paper={paper} />
        <h1>{title}</h1>
      </div>
      <p class="facts">
        <span class="family">{family}</span>
        <State of={state}>{stateWords[state]}</State>
        <time dateTime={date}>{day(date)}</time>
        {authors !== null && <span>{count(authors, 'author')}</span>}
        {arxiv && (
          <a href={`https://arxiv.org/abs/${arxiv}`} rel="noreferrer">
            arXiv {arxiv}
          </a>
        )}
        {code && /^https?:/.test(code) && (
          <a href={code} rel="noreferrer">
            Authors’ code
          </a>
        )}
      </p>
      <p class="summary">{summary}</p>
      <Claims paper={paper} />
      {command ? (
        <Reproduce paper={paper} />
      ) : (
        <Empty>There is nothing to run yet: its method is planned.</Empty>
      )}
      {plots.length > 0 && (
        <section aria-labelledby="plots">
          <h2 id="plots">Measurements</h2>
          {plots.map((plot) => (
            <PlotFigure plot={plot} key={plot.title} />
          ))}
        </section>
      )}
      {recent.length > 0 && (
        <section aria-labelledby="runs">
          <h2 id="runs">Runs</h2>
          <ul class="lines">
            {recent.map(({ id, status, started }) => (
              <li key={id}>
                <a href={`/runs/${id}`}>{id}</a> <State of={status} /> {moment(started)}
              </li>
            ))}
          </ul>
        </section>
      )}
      {source && (
        <details class="source">
          <summary>Source: {source.path}</summary>
          <pre tabIndex={0} role="region" aria-label={`Source of ${source.path}`}>
            {source.text}
          </pre>
        </details>
      )}
      {similar.length > 0 && (
        <section aria-labelledby="similar">
          <h2 id="similar">Similar papers</h2>
          <ul class="cards">
            {similar.map((other) => (
              <li key={other.id}>
                <Card paper={other} />
              </li>
            ))}
          </ul>
        </section>
      )}
    </article>
  )
}
