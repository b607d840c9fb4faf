/** @file Runs: lists, curves, logs, files, comparisons, live events. */
import { basename } from 'node:path'
import { Readable } from 'node:stream'
import type { Context } from 'hono'
import { readRun, runFiles } from '../../runs/index.js'
import type { LogPart, RunList, RunPage, RunRow } from '../api.js'
import { bodyOf, queryOf } from '../body.js'
import { HttpError, notFound } from '../errors.js'
import { openInside, readPart } from '../files.js'
import { comparison, contentsOf } from '../run-page.js'
import { listRuns, runOf } from '../index/runs.js'
import { stopRun } from '../jobs/jobs.js'
import { curvesOf, metricsFrom } from '../metrics.js'
import { compareQuery, eventsQuery, logQuery, metricsQuery, nothing, runsQuery } from '../requests.js'
import { Bell } from '../streams.js'
import type { Send } from '../streams.js'
import type { App, Services } from './context.js'
import { folderOf, rowOf } from './context.js'

/** Rows of metrics in one event. */
const rowsInEvent = 500
/** Bytes of metrics read at once for events. */
const readAtOnce = 1 << 20

/** The row of run `id`. Throws HttpError 404. */
const known = async (services: Services, id: string): Promise<RunRow> => {
  const run = await runOf(services.db, id)
  if (!run) throw notFound('run', id)
  return rowOf(services, run)
}

/** Everything about one run. Throws HttpError 404. */
export const runPage = async (services: Services, id: string): Promise<RunPage> => {
  const row = await known(services, id)
  const folder = folderOf(services, id)
  const run = await readRun(folder)
  if (!run) throw notFound('run', id)
  const { versions, machine, process, commit, seed, config, result, error } = run
  const indexed = await runOf(services.db, id)
  return {
    ...row,
    config,
    facts: { seed, versions, machine, host: process.host, pid: process.pid, commit },
    ...(await contentsOf(folder)),
    metricNames: Object.keys(row.metrics),
    result: result ?? null,
    error: error ?? null,
    offset: indexed?.bytes ?? 0,
  }
}

export const runList = async (services: Services, c: Context): Promise<RunList> => {
  const { paper, ...query } = queryOf(c, runsQuery)
  const { runs, total } = await listRuns(services.db, { ...query, subject: paper })
  return { runs: runs.map((run) => rowOf(services, run)), total }
}

/** Throws HttpError 400 for fewer than one or more than 16 runs, 404 for unknown ones. */
export const compareRuns = async (services: Services, c: Context): ReturnType<typeof comparison> => {
  const { runs, points } = queryOf(c, compareQuery)
  const ids = [...new Set(runs.split(',').filter(Boolean))]
  if (ids.length === 0 || ids.length > 16)
    throw new HttpError(400, 'BadRequest', 'runs: expected 1 to 16 ids')
  const rows = await Promise.all(ids.map((id) => known(services, id)))
  return comparison(
    rows,
    ids.map((id) => folderOf(services, id)),
    points,
  )
}

const logPart = async (
  folder: string,
  { from, limit }: { from: number; limit: number },
): Promise<LogPart> => {
  const { file, size } = await openInside(folder, runFiles.log)
  try {
    const start = Math.min(size, Math.max(0, from < 0 ? size + from : from))
    const bytes = await readPart(file, start, Math.min(limit, size - start))
    return { text: new TextDecoder().decode(bytes), from: start, to: start + bytes.length, size }
  } finally {
    await file.close()
  }
}

/** A file of a run, to be saved and never shown: it may be a page with a script. */
const download = async (folder: string, path: string): Promise<Response> => {
  const { file, size } = await openInside(folder, path)
  const stream = Readable.toWeb(file.createReadStream()) as ReadableStream
  return new Response(stream, {
    headers: {
      'content-type': 'application/octet-stream',
      'content-length': String(size),
      'content-disposition': `attachment; filename*=UTF-8''${encodeURIComponent(basename(path))}`,
      'content-security-policy': "default-src 'none'; sandbox",
    },
  })
}

/** Sends rows from byte `from` on as they are written, until the run has ended. */
const follow = async (
  services: Services,
  id: string,
  from: number,
  send: Send,
  signal: AbortSignal,
): Promise<void> => {
  const folder = folderOf(services, id)
  const bell = new Bell()
  let offset = from
  let row = await known(services, id)
  const quiet = services.hub.listen(({ type, data }) => {
    if (type === 'run' && data.id === id) row = data
    else if (type !== 'removed' || data.run !== id) return
    bell.wake()
  })
  try {
    for (;;) {
      const now = row
      const page = await metricsFrom(folder, { from: offset, limit: readAtOnce })
      offset = page.next
      for (let at = 0; at < page.rows.length; at += rowsInEvent) {
        const last = at + rowsInEvent >= page.rows.length
        const data = { rows: page.rows.slice(at, at + rowsInEvent), offset }
        await send('metrics', data, last ? offset : undefined)
      }
      if (page.more) continue
      await send('run', now)
      if (now.status !== 'running' || signal.aborted) return
      if (row === now) await bell.wait(signal)
    }
  } finally {
    quiet()
  }
}

export const runRoutes = (app: App, services: Services): void => {
  const { streams } = services
  app.get('/api/runs', async (c) => c.json(await runList(services, c)))
  app.get('/api/compare', async (c) => c.json(await compareRuns(services, c)))
  app.get('/api/runs/:id', async (c) => c.json(await runPage(services, c.req.param('id'))))
  app.get('/api/runs/:id/metrics', async (c) => {
    const { names, points } = queryOf(c, metricsQuery)
    const { id } = await known(services, c.req.param('id'))
    return c.json(await curvesOf(folderOf(services, id), { points, names: names?.split(',') }))
  })
  app.get('/api/runs/:id/events', async (c) => {
    const { from } = queryOf(c, eventsQuery)
    const { id } = await known(services, c.req.param('id'))
    const last = Number(c.req.header('last-event-id'))
    const start = Number.isSafeInteger(last) && last > 0 ? last : from
    return streams.respond(c.req.raw, (send, signal) => follow(services, id, start, send, signal))
  })
  app.get('/api/runs/:id/log', async (c) => {
    const { id } = await known(services, c.req.param('id'))
    return c.json(await logPart(folderOf(services, id), queryOf(c, logQuery)))
  })
  app.get('/api/runs/:id/files/:path{.+}', async (c) => {
    const { id } = await known(services, c.req.param('id'))
    return download(folderOf(services, id), c.req.param('path'))
  })
  app.post('/api/runs/:id/cancel', async (c) => {
    await bodyOf(c, nothing)
    const { id, job } = await known(services, c.req.param('id'))
    if (job) await services.jobs.cancel(job)
    else if (!(await stopRun(services.home, id)))
      throw new HttpError(409, 'NotRunning', `run ${id} is not running on this machine`)
    return c.json(await known(services, id))
  })
}
