import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { Hono } from 'hono'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { eventsOf, until } from '../../test/lab.js'
import { describeError } from './errors.js'
import { listen } from './server.js'
import type { Listening } from './server.js'
import { Streams } from './streams.js'
import type { LabEnv } from './security.js'

const slowCrowd = 1000
const patience = { headers: 1500, request: 2500, idle: 1000, stalled: 3000 }

let server: Listening
let address = ''
const streams = new Streams(3)
let left = 0

beforeAll(async () => {
  const app = new Hono<LabEnv>()
  app.get('/', (c) => c.text('here'))
  app.post('/', async (c) => c.text(await c.req.text()))
  app.get('/events', (c) =>
    streams.respond(c.req.raw, async (send, signal) => {
      await send('hello', { n: 1 }, 7)
      await new Promise((done) => signal.addEventListener('abort', done))
      left++
    }),
  )
  app.get('/flood', (c) =>
    streams.respond(c.req.raw, async (send, signal) => {
      try {
        while (!signal.aborted) await send('flood', 'x'.repeat(1 << 16))
      } finally {
        left++
      }
    }),
  )
  app.onError((error, c) => c.json(describeError(error).body, describeError(error).status))
  server = await listen(app, { host: '127.0.0.1', port: 0, patience })
  address = `http://127.0.0.1:${server.port}`
})
afterAll(async () => {
  streams.close()
  await server.close()
})

const dial = async (text: string): Promise<Socket> => {
  const socket = connect(server.port, '127.0.0.1')
  socket.on('error', () => undefined)
  await new Promise((done) => socket.once('connect', done))
  socket.write(text)
  return socket
}

/** How many of the sockets the server has ended. */
const ended = (sockets: readonly Socket[]): number =>
  sockets.filter(({ destroyed, readableEnded }) => destroyed || readableEnded).length

describe('a server among slow clients', () => {
  test.each([
    ['that send half of their headers', 'GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: '],
    [
      'that send half of their body',
      'POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{',
    ],
    ['that send nothing', ''],
  ])('answers while a thousand connect %s, and is rid of them in the end', async (_, text) => {
    const sockets = await Promise.all(Array.from({ length: slowCrowd }, () => dial(text)))
    for (const socket of sockets) socket.resume()
    expect(ended(sockets)).toBe(0)
    expect(await (await fetch(address)).text()).toBe('here')
    await until(() => ended(sockets) === slowCrowd)
    expect(await (await fetch(address)).text()).toBe('here')
  })

  test('refuses headers that have no end', async () => {
    const socket = await dial(`GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: ${'x'.repeat(1 << 16)}`)
    let said = ''
    socket.on('data', (bytes: Buffer) => (said += bytes.toString()))
    await until(() => socket.destroyed || socket.readableEnded)
    expect(said).toContain('431')
  })

  test('a stream ends when its client leaves, and no more than so many are open', async () => {
    const stop = new AbortController()
    const response = await fetch(`${address}/events`, { signal: stop.signal })
    const first = await eventsOf(response).next()
    expect(first.value).toEqual({ event: 'hello', id: '7', data: { n: 1 } })
    const more = new AbortController()
    for (let i = 0; i < 2; i++)
      expect((await fetch(`${address}/events`, { signal: more.signal })).status).toBe(200)
    expect((await fetch(`${address}/events`)).status).toBe(503)
    const before = left
    more.abort()
    stop.abort()
    await until(() => left === before + 3)
    const again = new AbortController()
    expect((await fetch(`${address}/events`, { signal: again.signal })).status).toBe(200)
    again.abort()
    await until(() => left === before + 4)
  })

  test('a client that does not read what it asked for costs no memory, and is left after a while', async () => {
    const before = left
    const memory = process.memoryUsage().rss
    const socket = await dial('GET /flood HTTP/1.1\r\nHost: localhost\r\n\r\n')
    socket.pause()
    await new Promise((done) => setTimeout(done, 500))
    expect(process.memoryUsage().rss - memory).toBeLessThan(200e6)
    await until(() => left === before + 1)
    socket.destroy()
  })
})

test('a port that is taken is named', async () => {
  await expect(listen(new Hono<LabEnv>(), { host: '127.0.0.1', port: server.port })).rejects.toThrow(
    `port ${server.port} of 127.0.0.1 is taken`,
  )
})
