/** @file The lab as a function from requests to answers; a test asks it without a socket. */
import { Hono } from 'hono'
import { declaredLength } from './body.js'
import { describeError, notFound } from './errors.js'
import type { Subscriptions } from './mail/subscriptions.js'
import { notice } from './pages/notices.js'
import type { App, Services } from './routes/context.js'
import { jobRoutes } from './routes/jobs.js'
import { pageRoutes, showPage } from './routes/pages.js'
import { paperRoutes } from './routes/papers.js'
import { playgroundRoutes } from './routes/playground.js'
import { runRoutes } from './routes/runs.js'
import { subscribeRoutes } from './routes/subscribe.js'
import { ownHost, safeHeaders, tokenToChange, tokenToRead, visitors } from './security.js'
import type { Guard, LabEnv } from './security.js'

/** The routes of a lab, guarded. `warn` hears of failures that are the lab's own. */
export const labApp = (
  services: Services,
  subscriptions: Subscriptions,
  guard: Guard,
  warn: (text: string) => void,
): App => {
  const app: App = new Hono<LabEnv>()
  app.use(safeHeaders, ownHost(guard), tokenToRead(guard), tokenToChange(guard), declaredLength, visitors)
  app.use('/api/*', async (c, next) => {
    await next()
    if (!c.res.headers.has('cache-control')) c.header('cache-control', 'no-store')
  })
  pageRoutes(app, services, subscriptions)
  paperRoutes(app, services)
  runRoutes(app, services)
  jobRoutes(app, services)
  playgroundRoutes(app, services)
  subscribeRoutes(app, services, subscriptions)
  app.notFound((c) => {
    throw notFound('page', c.req.path)
  })
  app.onError((error, c) => {
    const { status, body } = describeError(error)
    if (status === 500) warn(`${c.req.method} ${c.req.path}: ${error.stack ?? error.message}`)
    const wantsPage =
      c.req.method === 'GET' &&
      !c.req.path.startsWith('/api/') &&
      /text\/html/.test(c.req.header('accept') ?? '')
    if (!wantsPage) return c.json(body, status)
    const [title, text] =
      status === 404 ? ['Not found', 'There is no such page.'] : ['That did not work', body.error.message]
    // Who has not shown the token is not given it.
    return showPage(
      c,
      { ...services, token: '' },
      { name: 'notice', title, content: notice(title, text) },
    ).then((page) => new Response(page.body, { status, headers: page.headers }))
  })
  return app
}
