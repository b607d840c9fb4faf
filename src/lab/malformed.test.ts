import { connect } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { scratch, writeRun } from '../../test/lab.js'
import { openLab } from './lab.js'
import type { Lab } from './lab.js'
import { listen } from './server.js'
import type { Listening } from './server.js'

const { folder, remove } = scratch('malformed')
const warnings: string[] = []
let lab: Lab
let server: Listening

beforeAll(async () => {
  const home = join(folder, 'runs')
  writeRun(home, 'a')
  lab = await openLab({ home, interval: 1e6, warn: (text) => warnings.push(text) })
  await lab.ready
  server = await listen(lab.app, { host: '127.0.0.1', port: 0 })
})
afterAll(async () => {
  await server.close()
  await lab.close()
  remove()
})

/** Sends `text` as it is and resolves with what comes back until the connection ends. */
const send = (text: string): Promise<string> =>
  new Promise((done) => {
    const socket = connect(server.port, '127.0.0.1')
    let answer = ''
    socket.on('data', (bytes: Buffer) => (answer += bytes.toString()))
    socket.once('close', () => done(answer))
    socket.once('error', () => done(answer))
    socket.write(Buffer.from(text, 'latin1'))
  })

const head = (line: string, ...headers: string[]): string =>
  [line, 'Host: localhost', 'Connection: close', ...headers, '', ''].join('\r\n')
const vote = (...headers: string[]): string =>
  head(
    'POST /api/papers/lora/vote HTTP/1.1',
    `X-Weft-Token: ${lab.token}`,
    'Content-Type: application/json',
    ...headers,
  )
const chunked = 'Transfer-Encoding: chunked'
const chunks = (...texts: string[]): string =>
  [...texts, ''].map((text) => `${text.length.toString(16)}\r\n${text}\r\n`).join('')
const get = (path: string, ...headers: string[]): string => head(`GET ${path} HTTP/1.1`, ...headers)

/** What a client may send, and the status that it gets; none where the connection is just closed. */
const requests: [string, number | undefined, () => string][] = [
  ['a body without a length', 400, () => vote()],
  ['a body behind a head without a length', 400, () => `${vote()}{"vote":true}`],
  ['a body in chunks', 200, () => vote(chunked) + chunks('{"vote"', ':true}')],
  ['no chunk at all', 400, () => vote(chunked) + chunks()],
  ['chunks that are none', 400, () => `${vote(chunked)}zz\r\n`],
  ['chunks and a length', 400, () => vote(chunked, 'Content-Length: 2') + chunks('{}')],
  ['too large a body', 413, () => vote('Content-Length: 100000') + ' '.repeat(100_000)],
  [
    'too large a body in chunks',
    413,
    () => vote(chunked) + chunks(...Array<string>(40).fill(' '.repeat(4000))),
  ],
  ['an empty body', 400, () => vote('Content-Length: 0')],
  ['a length that is no number', 400, () => vote('Content-Length: x')],
  ['two lengths', 400, () => `${vote('Content-Length: 2', 'Content-Length: 3')}{}`],
  ['half of a JSON', 400, () => `${vote('Content-Length: 5')}{"vot`],
  ['a list for an object', 400, () => `${vote('Content-Length: 2')}[]`],
  ['null for an object', 400, () => `${vote('Content-Length: 4')}null`],
  ['text for a boolean', 400, () => `${vote('Content-Length: 14')}{"vote":"yes"}`],
  ['bytes that are no text', 400, () => `${vote('Content-Length: 4')}"\xff\xfe"`],
  ['sixty thousand lists in each other', 400, () => vote('Content-Length: 60000') + '['.repeat(60_000)],
  [
    'another form',
    415,
    () =>
      `${head('POST /api/papers/lora/vote HTTP/1.1', `X-Weft-Token: ${lab.token}`, 'Content-Type: text/plain', 'Content-Length: 2')}{}`,
  ],
  ['an expectation that nobody meets', 417, () => `${vote('Expect: 200-ok', 'Content-Length: 2')}{}`],
  ['an origin that is no address', 403, () => `${vote('Origin: [', 'Content-Length: 2')}{}`],
  [
    'a cancellation without a body',
    400,
    () =>
      head(
        'POST /api/runs/a/cancel HTTP/1.1',
        `X-Weft-Token: ${lab.token}`,
        'Content-Type: application/json',
      ),
  ],
  ['a confirmation without a body', 404, () => head('POST /confirm/abc HTTP/1.1')],
  [
    'a change that nobody offers',
    404,
    () => head('DELETE / HTTP/1.1', `X-Weft-Token: ${lab.token}`, 'Content-Type: application/json'),
  ],
  ['a path that is badly encoded', 404, () => get('/api/papers/%zz')],
  ['a path that is no text', 404, () => get('/api/runs/%ff')],
  ['a file whose name breaks off', 404, () => get('/api/runs/a/files/%E0%A4%A')],
  ['a file with a NUL', 404, () => get('/api/runs/a/files/%00')],
  ['a run with a NUL', 404, () => get('/api/runs/a%00')],
  ['a query that is badly encoded', 200, () => get('/api/runs?q=%zz')],
  ['half a character in a query', 200, () => get('/api/runs?q=%ed%a0%80')],
  ['a number that is none', 400, () => get('/api/runs?limit=many')],
  ['an endless number', 400, () => get('/api/runs?offset=1e400')],
  ['two slashes', 404, () => get('//')],
  ['a cookie that is none', 200, () => get('/api/lab', 'Cookie: weft_visitor=%zz; =; ;;')],
  ['a body where none belongs', 200, () => `${get('/api/lab', 'Content-Length: 5')}hello`],
  ['a place in a stream that is none', 200, () => get('/api/runs/a/events', 'Last-Event-ID: 1e400')],
  ['a header without an end', 431, () => get('/', `X-Long: ${'x'.repeat(20_000)}`)],
  ['a path without an end', 431, () => get(`/?q=${'x'.repeat(20_000)}`)],
  ['a host that is none', 400, () => 'GET / HTTP/1.1\r\nHost: [\r\nConnection: close\r\n\r\n'],
  ['a host with a space', 400, () => 'GET / HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n'],
  ['no host', 400, () => 'GET / HTTP/1.1\r\nConnection: close\r\n\r\n'],
  ['an address that is none', 400, () => head('GET http://[/ HTTP/1.1')],
  ['a star for a path', 400, () => head('OPTIONS * HTTP/1.1')],
  ['a method that is none', 400, () => head('FOO / HTTP/1.1')],
  ['lines that end too early', 400, () => 'GET / HTTP/1.1\nHost: localhost\nConnection: close\n\n'],
  ['the beginning of TLS', 400, () => '\x16\x03\x01\x02\x00\x01'],
  ['a tunnel', undefined, () => head('CONNECT localhost:1 HTTP/1.1')],
]

test.each(requests)('%s: %s, and the lab goes on', async (_, status, text) => {
  expect(Number(/^HTTP\/1\.1 (\d+)/.exec(await send(text()))?.[1])).toBe(status ?? NaN)
  expect((await fetch(`http://127.0.0.1:${server.port}/api/lab`)).status).toBe(200)
  expect(warnings).toEqual([])
})
