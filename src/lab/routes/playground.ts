/** @file The playground: checkpoints, tensors, generation. */
import type { GenerateEvents } from '../api.js'
import { bodyOf, queryOf } from '../body.js'
import { describeError } from '../errors.js'
import { generateRequest, tensorQuery, tensorsQuery } from '../requests.js'
import { Bell } from '../streams.js'
import type { App, Services } from './context.js'

export const playgroundRoutes = (app: App, { playground, streams }: Services): void => {
  app.get('/api/checkpoints', async (c) => c.json(await playground.list()))
  app.get('/api/tensors', async (c) => c.json(await playground.tensors(queryOf(c, tensorsQuery).checkpoint)))
  app.get('/api/tensor', async (c) => {
    const { checkpoint, name } = queryOf(c, tensorQuery)
    return c.json(await playground.statistics(checkpoint, name))
  })
  app.post('/api/generate', async (c) => {
    const request = await bodyOf(c, generateRequest)
    const place = await playground.place(request)
    return streams.respond(c.req.raw, async (send, signal) => {
      const waiting: [keyof GenerateEvents, unknown][] = []
      const bell = new Bell()
      let over = false
      const work = playground
        .generate(
          place,
          request,
          (event, data) => {
            waiting.push([event, data])
            bell.wake()
          },
          signal,
        )
        .catch((error: unknown) => waiting.push(['error', describeError(error).body.error]))
        .finally(() => {
          over = true
          bell.wake()
        })
      while (!signal.aborted && (!over || waiting.length > 0)) {
        for (const [event, data] of waiting.splice(0)) await send(event, data)
        if (waiting.length === 0 && !over) await bell.wait(signal)
      }
      await work
    })
  })
}
