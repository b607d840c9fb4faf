/** @file Jobs, and what happens in the lab, live. */
import type { Job, LabEvents } from '../api.js'
import { bodyOf } from '../body.js'
import { HttpError } from '../errors.js'
import type { LabEvent } from '../hub.js'
import { jobRequest, nothing } from '../requests.js'
import { Bell } from '../streams.js'
import type { Send } from '../streams.js'
import type { App, Services } from './context.js'

/** Whether a job is over. */
const ended = ({ status }: Job): boolean => status !== 'queued' && status !== 'running'

/** Sends a job's lines and its state as they come, until it has ended. */
const follow = async (
  { jobs, hub }: Services,
  id: string,
  send: Send,
  signal: AbortSignal,
): Promise<void> => {
  const bell = new Bell()
  const quiet = hub.listen(({ type, data }) => {
    if (type === 'job' && data.id === id) bell.wake()
  })
  try {
    let next = 0
    for (;;) {
      const job = await jobs.get(id)
      const log = await jobs.log(id)
      for (next = Math.max(next, log.first); next < log.first + log.lines.length; next++)
        await send('log', { line: log.lines[next - log.first] })
      await send('job', job)
      if (ended(job) || signal.aborted) return
      await bell.wait(signal)
    }
  } finally {
    quiet()
  }
}

const keyOf = ({ type, data }: LabEvent): string =>
  `${type} ${'run' in data ? data.run : String((data as LabEvents['run']).id)}`

/** Sends everything that happens. Of what happens to one thing while the client is busy, only the last. */
const followAll = async ({ hub }: Services, send: Send, signal: AbortSignal): Promise<void> => {
  const waiting = new Map<string, LabEvent>()
  const bell = new Bell()
  const quiet = hub.listen((event) => {
    waiting.set(keyOf(event), event)
    bell.wake()
  })
  try {
    while (!signal.aborted) {
      const events = [...waiting.values()]
      waiting.clear()
      for (const { type, data } of events) await send(type, data)
      if (waiting.size === 0) await bell.wait(signal)
    }
  } finally {
    quiet()
  }
}

export const jobRoutes = (app: App, services: Services): void => {
  const { jobs, papers, streams } = services
  app.get('/api/jobs', async (c) => c.json({ jobs: await jobs.list(), parallel: jobs.parallel }))
  app.post('/api/jobs', async (c) => {
    const request = await bodyOf(c, jobRequest)
    if (!papers.entry(request.paper).reproduction)
      throw new HttpError(409, 'NoReproduction', `${request.paper} has no reproduction yet`)
    return c.json(await jobs.create(request), 202)
  })
  app.get('/api/jobs/:id', async (c) => c.json(await jobs.get(c.req.param('id'))))
  app.get('/api/jobs/:id/events', async (c) => {
    const { id } = await jobs.get(c.req.param('id'))
    return streams.respond(c.req.raw, (send, signal) => follow(services, id, send, signal))
  })
  app.post('/api/jobs/:id/cancel', async (c) => {
    await bodyOf(c, nothing)
    return c.json(await jobs.cancel(c.req.param('id')))
  })
  app.get('/api/events', (c) =>
    streams.respond(c.req.raw, (send, signal) => followAll(services, send, signal)),
  )
}
