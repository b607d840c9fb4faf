/** @file Papers: lists, pages, votes. */
import type { PaperList, PaperPage } from '../api.js'
import { bodyOf, queryOf } from '../body.js'
import { listRuns } from '../index/runs.js'
import { papersQuery, voteRequest } from '../requests.js'
import type { App, Services } from './context.js'
import { rowOf } from './context.js'

/** A paper's page, with its latest reproductions. Throws HttpError 404. */
export const paperPage = async (services: Services, id: string, visitor: string): Promise<PaperPage> => {
  services.papers.entry(id)
  const { runs } = await listRuns(services.db, { subject: id, limit: 10, offset: 0 })
  const recent = runs.map((run) => rowOf(services, run))
  return services.papers.page(id, visitor, recent)
}

export const paperRoutes = (app: App, services: Services): void => {
  const { papers, hub } = services
  app.get('/api/papers', async (c) =>
    c.json<PaperList>(await papers.list(queryOf(c, papersQuery), c.get('visitor'))),
  )
  app.get('/api/papers/:id', async (c) =>
    c.json(await paperPage(services, c.req.param('id'), c.get('visitor'))),
  )
  app.post('/api/papers/:id/vote', async (c) => {
    const { vote } = await bodyOf(c, voteRequest)
    const id = c.req.param('id')
    const result = await papers.vote(id, c.get('visitor'), vote)
    hub.emit({ type: 'papers', data: { id } })
    return c.json(result)
  })
}
