import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { readListed, syncPapers, type SyncOptions, type SyncResult } from '../../catalogue/index.js'
import { readAtom } from './arxiv.js'

type Answer = (request: IncomingMessage, response: ServerResponse, url: URL) => void

/** A server that speaks both forms; tests replace its answers. */
let answers: { '/api/query': Answer; '/api/daily_papers': Answer }
let requests: { path: string; at: number; headers: IncomingMessage['headers']; search: URLSearchParams }[]
let server: Server
let base: string
let home: string

beforeAll(async () => {
  server = createServer((request, response) => {
    const url = new URL(request.url!, 'http://localhost')
    requests.push({ path: url.pathname, at: Date.now(), headers: request.headers, search: url.searchParams })
    answers[url.pathname as keyof typeof answers](request, response, url)
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterAll(() => server.close())

const now = new Date('2026-03-03T12:00:00Z')

const entry = (id: string, published: string, title = `Title ${id}`): string => `
  <entry>
    <id>http://arxiv.org/abs/${id}v1</id><published>${published}</published>
    <title>${title}</title><summary>  About
      ${id} &amp; more. </summary>
    <author><name>Ada L.</name></author><author><name>Bo &#233;</name></author>
    <arxiv:primary_category term="cs.LG"/><category term="cs.LG"/><category term="cs.CL"/>
  </entry>`
const feed = (...entries: string[]): string =>
  `<?xml version="1.0" encoding="UTF-8"?><feed xmlns="http://www.w3.org/2005/Atom" xmlns:arxiv="http://arxiv.org/schemas/atom"><title>q</title>${entries.join('')}</feed>`

const daily = (id: string, publishedAt = '2026-03-02T00:00:00.000Z'): object => ({
  paper: {
    id,
    title: `Daily ${id}`,
    summary: 'S',
    publishedAt,
    upvotes: 7,
    authors: [{ name: 'Cy', hidden: false }],
  },
  publishedAt,
  numComments: 2,
})

const send =
  (body: string, headers: Record<string, string> = {}, status = 200): Answer =>
  (_, response) =>
    response.writeHead(status, headers).end(body)

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'weft-sync-'))
  requests = []
  answers = {
    '/api/query': send(
      feed(entry('2603.00001', '2026-03-03T08:00:00Z'), entry('2602.09999', '2026-02-20T08:00:00Z')),
    ),
    '/api/daily_papers': (_, response, url) =>
      response.end(
        JSON.stringify(url.searchParams.get('date') === '2026-03-03' ? [daily('2603.00002')] : []),
      ),
  }
})
afterEach(() => rmSync(home, { recursive: true, force: true }))

const sync = (options: SyncOptions = {}): Promise<SyncResult> =>
  syncPapers(home, {
    arxivUrl: `${base}/api/query`,
    dailyUrl: `${base}/api/daily_papers`,
    pause: 0,
    now,
    ...options,
  })

describe('syncing', () => {
  test('lists what both sources have published in the last days, with all that a card shows', async () => {
    const { added, known } = await sync()
    expect(added.map(({ id }) => id).sort()).toEqual(['2603.00001', '2603.00002'])
    expect(known).toBe(0)
    const listed = await readListed(home)
    expect(listed.find(({ id }) => id === '2603.00001')).toEqual({
      ...{
        id: '2603.00001',
        arxiv: '2603.00001',
        title: 'Title 2603.00001',
        summary: 'About 2603.00001 & more.',
      },
      ...{ date: '2026-03-03', published: '2026-03-03T08:00:00.000Z', family: 'cs.LG', from: 'arxiv' },
      ...{ names: ['Ada L.', 'Bo é'], authors: 2, claims: [] },
    })
    expect(listed.find(({ id }) => id === '2603.00002')).toMatchObject({
      upvotes: 7,
      names: ['Cy'],
      from: 'daily',
    })
  })

  test('asks for what it was told to, and adds nothing twice', async () => {
    await sync({ days: 3, categories: ['cs.CV', 'stat.ML'] })
    const [dates, [query]] = [
      requests.filter(({ path }) => path === '/api/daily_papers').map(({ search }) => search.get('date')),
      requests.filter(({ path }) => path === '/api/query'),
    ]
    expect(dates).toEqual(['2026-03-03', '2026-03-02', '2026-03-01'])
    expect(query.search.get('search_query')).toBe('cat:cs.CV OR cat:stat.ML')
    expect(query.search.get('sortBy')).toBe('submittedDate')
    expect(await sync()).toMatchObject({ added: [], known: 2 })
  })

  test('asks again on condition, and takes 304 for no news', async () => {
    const tagged: Answer = (request, response) => {
      if (request.headers['if-none-match'] === '"a1"') return response.writeHead(304).end()
      return response.writeHead(200, { etag: '"a1"' }).end(feed(entry('2603.00001', '2026-03-03T08:00:00Z')))
    }
    const dated: Answer = (request, response) => {
      const modified = 'Tue, 03 Mar 2026 10:00:00 GMT'
      if (request.headers['if-modified-since'] === modified) return response.writeHead(304).end()
      return response.writeHead(200, { 'last-modified': modified }).end(JSON.stringify([daily('2603.00002')]))
    }
    answers = { '/api/query': tagged, '/api/daily_papers': dated }
    expect((await sync()).unchanged).toEqual([])
    const again = await sync()
    expect(again.unchanged).toHaveLength(3)
    expect(again).toMatchObject({ added: [], known: 0 })
    writeFileSync(join(home, 'papers', '.versions.json'), '{broken')
    expect((await sync()).unchanged).toEqual([])
  })

  test('reads page after page until one reaches back far enough, each within the rate', async () => {
    const page = (start: number): string[] =>
      Array.from({ length: 200 }, (_, i) =>
        entry(`2603.${String(start + i).padStart(5, '0')}`, '2026-03-03T08:00:00Z'),
      )
    answers['/api/query'] = (_, response, url) => {
      const start = Number(url.searchParams.get('start'))
      response.end(feed(...(start < 400 ? page(start) : [entry('2602.00001', '2026-02-01T00:00:00Z')])))
    }
    expect((await sync({ days: 1, pause: 60 })).added).toHaveLength(400)
    const times = requests.map(({ at }) => at)
    expect(requests).toHaveLength(4)
    // A timer may fire a millisecond early.
    for (let i = 1; i < times.length; i++) expect(times[i] - times[i - 1]).toBeGreaterThanOrEqual(55)
  })

  test('waits as long as a busy server asks, and gives up on one that stays busy', async () => {
    let busy = 1
    answers['/api/daily_papers'] = (_, response) =>
      busy-- > 0 ? response.writeHead(429, { 'retry-after': '0' }).end() : response.end('[]')
    await sync({ days: 1 })
    expect(requests.filter(({ path }) => path === '/api/daily_papers')).toHaveLength(2)
    answers['/api/daily_papers'] = send('', { 'retry-after': '3600' }, 503)
    const warnings: string[] = []
    await sync({ onWarning: (message) => warnings.push(message) })
    expect(warnings[0]).toMatch(/answered 503/)
  })

  test('keeps what one source gives when the other fails, and fails when both do', async () => {
    const warnings: string[] = []
    answers['/api/query'] = send('<feed><entry>')
    const { added } = await sync({ onWarning: (message) => warnings.push(message) })
    expect(added.map(({ id }) => id)).toEqual(['2603.00002'])
    expect(warnings).toHaveLength(1)
    answers['/api/daily_papers'] = send('{"error": "no"}')
    await expect(sync()).rejects.toMatchObject({ code: 'SyncFailed', exitCode: 5 })
  })

  test.each([
    ['no XML', 'nothing'],
    ['HTML', '<html><body>busy</body></html>'],
    ['an empty answer', ''],
  ])('refuses %s in place of a feed', async (_, body) => {
    answers['/api/query'] = send(body)
    const warnings: string[] = []
    await sync({ onWarning: (message) => warnings.push(message) })
    expect(warnings[0]).toMatch(/sent no/)
  })

  test('leaves out entries that are no papers, and ids that would be paths', async () => {
    answers['/api/query'] = send(
      feed(
        entry('../../etc/passwd', '2026-03-03T08:00:00Z'),
        entry('2603.00003', 'soon'),
        entry('2603.00004', '2026-03-03T08:00:00Z', ' '),
        '<entry/>',
      ),
    )
    answers['/api/daily_papers'] = send(
      JSON.stringify([daily('../x'), 7, null, { paper: {} }, daily('2603.00005')]),
    )
    expect((await sync({ days: 1 })).added.map(({ id }) => id)).toEqual(['2603.00005'])
    expect(readdirSync(join(home, 'papers'))).toEqual(['2603.00005.json'])
  })

  test('expands no entities of its own making', () => {
    const lines = Array.from({ length: 12 }, (_, i) => `<!ENTITY e${i + 1} "${`&e${i};`.repeat(10)}">`).join(
      '',
    )
    const bomb = `<?xml version="1.0"?><!DOCTYPE feed [<!ENTITY e0 "ha">${lines}]>${feed(entry('2603.00006', '2026-03-03T08:00:00Z', '&e12;')).replace(/<\?xml[^>]*>/, '')}`
    let text = ''
    try {
      text = JSON.stringify(readAtom(bomb, 'bomb'))
    } catch (error) {
      text = String(error)
    }
    expect(text.length).toBeLessThan(10_000)
  })

  test('stops at once when told to', async () => {
    const stop = new AbortController()
    answers['/api/daily_papers'] = (_, response) => {
      stop.abort(new Error('enough'))
      response.write('[')
    }
    await expect(sync({ signal: stop.signal })).rejects.toThrow()
    expect(await readListed(home)).toEqual([])
  })
})
