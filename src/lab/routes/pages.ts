/** @file The pages, and the files of the build that they load. */
import { extname } from 'node:path'
import { Readable } from 'node:stream'
import type { Context } from 'hono'
import { queryOf } from '../body.js'
import { openInside } from '../files.js'
import type { Subscriptions } from '../mail/subscriptions.js'
import { layout } from '../pages/layout.js'
import type { Page } from '../pages/layout.js'
import { confirmation, leaving, notice, scripted } from '../pages/notices.js'
import { paperPage as paperHtml } from '../pages/paper.js'
import { papersPage } from '../pages/papers.js'
import { papersQuery } from '../requests.js'
import type { LabEnv } from '../security.js'
import type { App, Services } from './context.js'
import { infoOf } from './context.js'
import { paperPage } from './papers.js'
import { compareRuns, runList, runPage } from './runs.js'

const types: Record<string, string> = {
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.woff2': 'font/woff2',
  '.ico': 'image/x-icon',
  '.json': 'application/json',
  '.map': 'application/json',
}

/** A file of the build. Names under assets/ hold a hash of their content and never change. */
const built = async (folder: string, path: string): Promise<Response> => {
  const { file, size } = await openInside(folder, path)
  const stream = Readable.toWeb(file.createReadStream()) as ReadableStream
  return new Response(stream, {
    headers: {
      'content-type': types[extname(path)] ?? 'application/octet-stream',
      'content-length': String(size),
      'cache-control': path.startsWith('assets/') ? 'public, max-age=31536000, immutable' : 'max-age=3600',
    },
  })
}

type Ask = Context<LabEnv>

/** Answers with a whole page. */
export const showPage = async (
  c: Ask,
  { page: folder, token, leftOut }: Services,
  page: Page,
  status: 200 | 404 = 200,
): Promise<Response> =>
  c.html(await layout(page, { folder, token, leftOut: leftOut.shown() }), status, {
    'cache-control': 'no-store',
  })

const contentPages = (app: App, services: Services): void => {
  const { papers, playground } = services
  app.get('/', async (c) => {
    const query = queryOf(c, papersQuery)
    const data = await papers.list(query, c.get('visitor'))
    return showPage(c, services, { name: 'papers', title: '', content: papersPage(data, query), data })
  })
  app.get('/papers/:id', async (c) => {
    const data = await paperPage(services, c.req.param('id'), c.get('visitor'))
    return showPage(c, services, { name: 'paper', title: data.title, content: paperHtml(data), data })
  })
  app.get('/runs', async (c) => {
    const data = await runList(services, c)
    return showPage(c, services, {
      name: 'runs',
      title: 'Runs',
      content: scripted('Runs', 'The list of runs'),
      data,
    })
  })
  app.get('/runs/:id', async (c) => {
    const data = await runPage(services, c.req.param('id'))
    return showPage(c, services, { name: 'run', title: data.id, content: scripted(data.id, 'A run'), data })
  })
  app.get('/compare', async (c) => {
    const data = await compareRuns(services, c)
    const content = scripted('Compare runs', 'Comparing runs')
    return showPage(c, services, { name: 'compare', title: 'Compare runs', content, data })
  })
  app.get('/playground', async (c) => {
    const data = await playground.list()
    const content = scripted('Playground', 'The playground')
    return showPage(c, services, { name: 'playground', title: 'Playground', content, data })
  })
  app.get('/subscribe', async (c) => {
    const data = await infoOf(services)
    const content = scripted('Subscribe', 'Subscribing by e-mail')
    return showPage(c, services, { name: 'subscribe', title: 'Subscribe', content, data })
  })
}

/** Where the links of a mail lead. */
const mailPages = (app: App, services: Services, subscriptions: Subscriptions): void => {
  const show = (
    c: Ask,
    title: string,
    content: Page['content'],
    status: 200 | 404 = 200,
  ): Promise<Response> => showPage(c, { ...services, token: '' }, { name: 'notice', title, content }, status)
  const gone = (c: Ask): Promise<Response> =>
    show(
      c,
      'Link not valid',
      notice('Link not valid', 'This subscription does not exist, or not any more.'),
      404,
    )
  app.get('/confirm/:token', async (c) => {
    const pending = await subscriptions.find(c.req.param('token'))
    return pending ? show(c, 'Confirm', confirmation(pending)) : gone(c)
  })
  app.post('/confirm/:token', async (c) => {
    if (!(await subscriptions.confirm(c.req.param('token')))) return gone(c)
    return show(c, 'Subscribed', notice('Subscribed', 'The daily digest will come to you from now on.'))
  })
  app.get('/unsubscribe/:token', async (c) => {
    const found = await subscriptions.find(c.req.param('token'))
    return found ? show(c, 'Unsubscribe', leaving(found)) : gone(c)
  })
  app.post('/unsubscribe/:token', async (c) => {
    await subscriptions.leave(c.req.param('token'))
    return show(c, 'Unsubscribed', notice('Unsubscribed', 'Nothing more will be sent to this address.'))
  })
}

export const pageRoutes = (app: App, services: Services, subscriptions: Subscriptions): void => {
  contentPages(app, services)
  mailPages(app, services, subscriptions)
  app.get('/api/lab', async (c) => c.json(await infoOf(services)))
  app.get('/assets/:path{.+}', (c) => built(services.page, `assets/${c.req.param('path')}`))
  app.get('/favicon.svg', () => built(services.page, 'favicon.svg'))
}
