import { appendFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { eventsOf, noPostgres, post, scratch, startPostgres, until, writeRun } from '../../test/lab.js'
import type {
  Comparison,
  DailyPaper,
  LogPart,
  Metrics,
  PaperList,
  PaperPage,
  RunEvents,
  RunList,
  RunPage,
  VoteResult,
} from './api.js'
import { type Lab, openLab } from './lab.js'
import { append, maxOf, minOf } from '../tensor/numbers.js'

const indexes = [
  { name: 'PGlite', skipped: undefined },
  { name: 'PostgreSQL', skipped: noPostgres() },
]

for (const { name, skipped } of indexes)
  describe.skipIf(skipped !== undefined)(`a lab on ${name}${skipped ? ` (skipped: ${skipped})` : ''}`, () => {
    const { folder, remove } = scratch('app')
    const home = join(folder, 'runs')
    const page = join(folder, 'page')
    let lab: Lab
    let stop = async (): Promise<void> => undefined
    const warnings: string[] = []
    const get = async <T>(path: string, init?: RequestInit): Promise<T> => {
      const response = await lab.app.request(path, init)
      expect(response.status, await response.clone().text()).toBe(200)
      return (await response.json()) as T
    }

    const statusOf = async (path: string, init?: RequestInit): Promise<number> =>
      (await lab.app.request(path, init)).status

    const loraResult = (verdict: string): object => ({
      paper: 'lora',
      quick: false,
      seeds: [0, 1],
      arms: {},
      claims: [{ text: 'a higher rank is better', verdict, mean: 0.9, spread: 0.01, unit: 'of lora2' }],
      plots: [{ kind: 'bars', title: 'loss', x: { label: 'arm' }, y: { label: 'loss' }, series: [] }],
      seconds: 1,
    })

    beforeAll(async () => {
      writeFileSync(join(folder, 'secret.txt'), 'secret')
      const a = writeRun(home, 'a', { config: { rank: 2, data: { name: 'x' } }, seed: 1 }, [
        ...Array.from({ length: 1000 }, (_, i) => ({ step: i, loss: 1000 - i })),
      ])
      writeFileSync(join(a, 'log.txt'), 'first line\nlast line\n')
      writeFileSync(join(a, 'page.html'), '<script>alert(1)</script>')
      symlinkSync(join(folder, 'secret.txt'), join(a, 'link.txt'))
      symlinkSync(folder, join(a, 'out'))
      symlinkSync(join(folder, 'secret.txt'), join(home, 'linked-run'))
      writeRun(home, 'b', { config: { rank: 4, data: { name: 'x' } }, started: '2026-01-03T00:00:00.000Z' }, [
        { step: 0, loss: 5, accuracy: 0.5 },
      ])
      const c = writeRun(home, 'c', {
        status: 'failed',
        command: 'merge',
        started: '2026-01-01T00:00:00.000Z',
      })
      symlinkSync(join(folder, 'secret.txt'), join(c, 'log.txt'))
      writeRun(home, 'd', {
        command: 'reproduce',
        subject: 'lora',
        result: loraResult('fails') as never,
        started: '2025-01-01T00:00:00.000Z',
      })
      mkdirSync(join(page, '.vite'), { recursive: true })
      mkdirSync(join(page, 'assets'))
      writeFileSync(
        join(page, '.vite', 'manifest.json'),
        JSON.stringify({
          'main.tsx': { file: 'assets/main-1.js', css: ['assets/main-1.css'], isEntry: true },
        }),
      )
      writeFileSync(join(page, 'assets', 'main-1.js'), 'export {}')
      let databaseUrl: string | undefined
      if (name === 'PostgreSQL') ({ url: databaseUrl, stop } = await startPostgres())
      lab = await openLab({ home, page, databaseUrl, interval: 50, warn: (text) => warnings.push(text) })
      await lab.ready
      await until(async () => (await get<PaperPage>('/api/papers/lora')).measurement)
    })
    afterAll(async () => {
      await lab.close()
      await stop()
      remove()
    })

    describe('papers', () => {
      test('all are listed, newest first, with counts of families and states', async () => {
        const { papers, total, families } = await get<PaperList>('/api/papers?limit=200')
        expect(total).toBe(papers.length)
        expect(papers.map(({ date }) => date)).toEqual(
          papers
            .map(({ date }) => date)
            .sort()
            .reverse(),
        )
        expect(families.reduce((sum, { count }) => sum + count, 0)).toBe(total)
        expect(papers.find(({ id }) => id === 'lora')).toMatchObject({ state: 'short', runs: 1, votes: 0 })
      })

      test('filters and search give what fits, in pages', async () => {
        const merge = await get<PaperList>('/api/papers?family=merge&limit=2&offset=1')
        const all = await get<PaperList>('/api/papers?family=merge')
        expect(merge.papers.map(({ id }) => id)).toEqual(all.papers.slice(1, 3).map(({ id }) => id))
        expect(all.papers.every(({ family }) => family === 'merge')).toBe(true)
        const short = (await get<PaperList>('/api/papers?state=short')).papers
        expect(short.map(({ id }) => id)).toContain('lora')
        expect(short.every(({ state }) => state === 'short')).toBe(true)
        const found = await get<PaperList>('/api/papers?q=low-rank+adaptation+of+large+language+models')
        expect(found.papers[0].id).toBe('lora')
      })

      test('a paper says how its claims stand, with plots, source, command and runs', async () => {
        const paper = await get<PaperPage>('/api/papers/lora')
        expect(paper.claimList).toEqual([
          {
            text: 'a higher rank is better',
            state: 'fails',
            paper: null,
            here: '0.9 ± 0.01 of lora2',
            why: null,
          },
        ])
        expect(paper.measurement).toMatchObject({ run: 'd', quick: false, seeds: 2 })
        expect(paper.plots).toHaveLength(1)
        expect(paper.source?.text).toBe(readFileSync(paper.source!.path, 'utf8'))
        expect(paper.command).toBe('weft reproduce lora')
        expect(paper.recent.map(({ id }) => id)).toEqual(['d'])
        expect(paper.similar.length).toBeGreaterThan(0)
      })

      test('a visitor votes once, and can take it back; votes make a trend', async () => {
        const first = await lab.app.request('/api/papers/mos/vote', post(lab.token, { vote: true }))
        const cookie = first.headers.get('set-cookie')!.split(';')[0]
        expect(await first.json()).toEqual({ votes: 1, voted: true } satisfies VoteResult)
        const again = await lab.app.request(
          '/api/papers/mos/vote',
          post(lab.token, { vote: true }, { cookie }),
        )
        expect(await again.json()).toEqual({ votes: 1, voted: true })
        const trend = await get<PaperList>('/api/papers?sort=trending', { headers: { cookie } })
        expect(trend.papers[0]).toMatchObject({ id: 'mos', voted: true })
        const back = await lab.app.request(
          '/api/papers/mos/vote',
          post(lab.token, { vote: false }, { cookie }),
        )
        expect(await back.json()).toEqual({ votes: 0, voted: false })
        expect(await statusOf('/api/papers/nothing/vote', post(lab.token, { vote: true }))).toBe(404)
      })

      test('papers can be read as HTML without a script, and text is escaped', async () => {
        const list = await (await lab.app.request('/?q=%3Cscript%3Ealert(1)%3C/script%3E')).text()
        expect(list).toContain('<main id="app" data-page="papers"')
        expect(list).not.toContain('<script>alert')
        const text = await (await lab.app.request('/papers/lora')).text()
        expect(text).toContain('a higher rank is better')
        expect(text).toContain('does not hold')
        expect(text).toContain('<script type="module" src="/assets/main-1.js">')
        expect(text).toContain('<link rel="stylesheet" href="/assets/main-1.css"')
        expect(text.match(/<script(?![^>]*(src=|application\/json))/)).toBeNull()
        const data = /<script type="application\/json" id="data">(.*?)<\/script>/s.exec(text)![1]
        expect((JSON.parse(data) as PaperPage).id).toBe('lora')
      })

      test('files of the build are kept for ever, and nothing else is served', async () => {
        const asset = await lab.app.request('/assets/main-1.js')
        expect(asset.headers.get('cache-control')).toContain('immutable')
        expect(await asset.text()).toBe('export {}')
        expect(await statusOf('/assets/../.vite/manifest.json')).toBe(404)
        expect(await statusOf('/assets/..%2f.vite%2fmanifest.json')).toBe(404)
      })
    })

    describe('runs', () => {
      test('are listed newest first, found and filtered, in pages', async () => {
        const ids = async (query: string): Promise<string[]> =>
          (await get<RunList>(`/api/runs?${query}`)).runs.map(({ id }) => id)
        expect(await ids('')).toEqual(['b', 'a', 'c', 'd'])
        expect(await ids('limit=2&offset=1')).toEqual(['a', 'c'])
        expect(await ids('status=failed')).toEqual(['c'])
        expect(await ids('paper=lora')).toEqual(['d'])
        expect(await ids('q=MERGE')).toEqual(['c'])
        expect((await get<RunList>('/api/runs?limit=1')).total).toBe(4)
      })

      test('a run shows its settings, files and metrics; links to elsewhere are not among them', async () => {
        const run = await get<RunPage>('/api/runs/a')
        expect(run).toMatchObject({
          id: 'a',
          config: { rank: 2 },
          rows: 1000,
          step: 999,
          metricNames: ['loss'],
        })
        expect(run.artifacts.map(({ path }) => path)).toEqual(['log.txt', 'page.html'])
        const curves = await get<Metrics>('/api/runs/a/metrics?points=10')
        const [{ x, y, low, high }] = curves.series
        expect(x.length).toBeGreaterThan(3)
        expect(x.length).toBeLessThanOrEqual(10)
        expect([minOf(low), maxOf(high)]).toEqual([1, 1000])
        for (const [i, at] of x.entries()) expect(y[i]).toBeCloseTo(1000 - at, 6)
        expect(curves.rows).toBe(1000)
      })

      test('the log is read in parts, from either end', async () => {
        expect(await get<LogPart>('/api/runs/a/log?limit=5')).toEqual({
          text: 'first',
          from: 0,
          to: 5,
          size: 21,
        })
        expect((await get<LogPart>('/api/runs/a/log?from=-10')).text).toBe('last line\n')
        expect(await statusOf('/api/runs/b/log')).toBe(404)
      })

      test('several are compared: their curves, and the settings in which they differ', async () => {
        const { runs, metrics, config } = await get<Comparison>('/api/compare?runs=a,b')
        expect(runs.map(({ id }) => id)).toEqual(['a', 'b'])
        expect(metrics.map(({ name }) => name)).toEqual(['accuracy', 'loss'])
        expect(metrics[0].series[0]).toBeNull()
        expect(config).toEqual([
          { key: 'rank', values: [2, 4] },
          { key: 'seed', values: [1, null] },
        ])
        expect(await statusOf('/api/compare?runs=')).toBe(400)
        expect(await statusOf('/api/compare?runs=a,nothing')).toBe(404)
      })

      test('the rows of a running run stream as they are written, once each, until it ends', async () => {
        const started = { status: 'running', ended: undefined } as const
        const run = writeRun(home, 'live', started, [{ step: 0, loss: 3 }])
        await lab.look()
        const response = await lab.app.request('/api/runs/live/events')
        const steps: (number | undefined)[] = []
        for await (const { event, data } of eventsOf(response)) {
          if (event === 'metrics')
            append(
              steps,
              (data as RunEvents['metrics']).rows.map(({ step }) => step),
            )
          if (event !== 'run') continue
          const { status, rows } = data as RunEvents['run']
          if (status === 'finished') break
          if (rows === 1) appendFileSync(join(run, 'metrics.jsonl'), '{"step":1,"loss":2}\n')
          else
            writeRun(home, 'live', {}, [
              { step: 0, loss: 3 },
              { step: 1, loss: 2 },
              { step: 2, loss: 1 },
            ])
        }
        expect(steps).toEqual([0, 1, 2])
        const { size } = { size: readFileSync(join(run, 'metrics.jsonl')).length }
        const again = await lab.app.request('/api/runs/live/events', {
          headers: { 'last-event-id': String(size) },
        })
        const events: string[] = []
        for await (const { event } of eventsOf(again)) events.push(event)
        expect(events).toEqual(['run'])
      })
    })

    describe('feeds', () => {
      test('the daily-papers form has what clients of that interface read', async () => {
        const [daily] = await get<DailyPaper[]>(
          '/api/daily_papers?q=low-rank+adaptation+of+large+language+models&limit=1',
        )
        expect(daily).toMatchObject({ title: expect.stringContaining('LoRA') as string, numComments: 0 })
        expect(daily.paper).toMatchObject({ id: '2106.09685', publishedAt: '2021-06-17T00:00:00.000Z' })
        const dates = async (query: string): Promise<string[]> =>
          (await get<DailyPaper[]>(`/api/daily_papers?${query}`)).map(({ publishedAt }) =>
            publishedAt.slice(0, 10),
          )
        expect(await dates('date=2021-06-17')).toContain('2021-06-17')
        expect(new Set(await dates('date=2021-06-17'))).toEqual(new Set(['2021-06-17']))
        expect(await dates('week=2021-W24')).toContain('2021-06-17')
        expect(await dates('week=2021-W25')).not.toContain('2021-06-17')
        expect(await dates('month=2021-06')).toContain('2021-06-17')
        expect(await dates('limit=3&p=1')).toEqual((await dates('limit=6')).slice(3))
        expect(await statusOf('/api/daily_papers?week=2021-24')).toBe(400)
      })

      test('the Atom and the JSON feed hold the newest papers', async () => {
        const atom = await (await lab.app.request('/feed.atom')).text()
        const feed = await get<{ items: { title: string }[] }>('/feed.json')
        expect(atom.match(/<entry>/g)).toHaveLength(feed.items.length)
        expect(feed.items.length).toBeGreaterThan(60)
      })
    })

    describe('what must not work', () => {
      test.each([
        '/api/runs/a/files/../../../secret.txt',
        '/api/runs/a/files/..%2f..%2f..%2fsecret.txt',
        '/api/runs/a/files/%2e%2e%2f%2e%2e%2fsecret.txt',
        '/api/runs/a/files/%2fetc%2fpasswd',
        '/api/runs/a/files/link.txt',
        '/api/runs/a/files/out%2fsecret.txt',
        '/api/runs/a/files/out/runs/b/run.json',
        '/api/runs/a/files/log.txt%00.html',
        '/api/runs/..%2f..%2fsecret.txt',
        '/api/runs/linked-run',
        '/api/runs/.lab/files/token',
        '/api/runs/c/log',
      ])('reading outside the run folders: %s', async (path) => {
        const response = await lab.app.request(path)
        expect(response.status).toBe(404)
        expect(await response.text()).not.toContain('secret"')
      })

      test('a file of a run is saved and never shown', async () => {
        const response = await lab.app.request('/api/runs/a/files/page.html')
        expect(await response.text()).toBe('<script>alert(1)</script>')
        expect(response.headers.get('content-disposition')).toContain('attachment')
        expect(response.headers.get('content-type')).toBe('application/octet-stream')
        expect(response.headers.get('content-security-policy')).toContain('sandbox')
      })

      test('changing something without the token, from another site, or not as JSON', async () => {
        const path = '/api/papers/lora/vote'
        const vote = { vote: true }
        expect(await statusOf(path, post('', vote))).toBe(401)
        expect(await statusOf(path, post(`${lab.token}x`, vote))).toBe(401)
        expect(await statusOf(path, post(lab.token, vote, { origin: 'https://evil.example' }))).toBe(403)
        expect(await statusOf(path, post(lab.token, vote, { origin: 'null' }))).toBe(403)
        expect(await statusOf(path, post(lab.token, vote, { 'sec-fetch-site': 'cross-site' }))).toBe(403)
        expect(await statusOf(path, post(lab.token, vote, { 'content-type': 'text/plain' }))).toBe(415)
        expect(await statusOf(path, post(lab.token, vote, { origin: 'http://localhost' }))).toBe(200)
        expect(await statusOf('http://evil.example/api/papers')).toBe(403)
      })

      test.each([
        ['half of JSON', '{"vote":'],
        ['nothing', ''],
        ['another type', '{"vote":"yes"}'],
        ['a key that is not known', '{"vote":true,"__proto__x":1}'],
        ['a list', '[]'],
      ])('a body that is %s is a 400', async (_, body) => {
        const response = await lab.app.request('/api/papers/lora/vote', post(lab.token, body))
        expect(response.status).toBe(400)
        expect(((await response.json()) as { error: { code: string } }).error.code).toMatch(/^Bad/)
      })

      test('a body larger than the limit is a 413, announced or streamed', async () => {
        const body = JSON.stringify({ vote: true, padding: 'x'.repeat(1 << 17) })
        expect(await statusOf('/api/papers/lora/vote', post(lab.token, body))).toBe(413)
        const streamed = { ...post(lab.token, ''), body: new Blob([body]).stream(), duplex: 'half' }
        expect(await statusOf('/api/papers/lora/vote', streamed as RequestInit)).toBe(413)
      })

      test.each([
        `' or '1'='1`,
        `'; drop table votes; --`,
        '%_\\',
        '\u0000',
        '"; select pg_sleep(10); --',
        '$1 $$ {}',
        'x'.repeat(400),
      ])('a search for %j harms nothing', async (q) => {
        const text = encodeURIComponent(q)
        for (const path of [
          `/api/papers?q=${text}`,
          `/api/runs?q=${text}`,
          `/api/daily_papers?q=${text}`,
          `/?q=${text}`,
        ])
          expect(await statusOf(path)).toBe(200)
        for (const path of [`/api/papers/${text}`, `/api/runs/${text}`, `/api/jobs/${text}`])
          expect(await statusOf(path)).toBe(404)
        expect((await get<RunList>('/api/runs')).total).toBe(5)
      })

      test('queries out of range are a 400 that names them', async () => {
        for (const query of ['limit=0', 'limit=201', 'offset=-1', 'limit=x', 'state=odd'])
          expect(await statusOf(`/api/papers?${query}`)).toBe(400)
        expect(await statusOf(`/api/runs?q=${'x'.repeat(401)}`)).toBe(400)
      })

      test('every answer forbids scripts of others, framing and guessing types', async () => {
        for (const path of ['/', '/api/papers', '/nothing', '/runs/a', '/feed.atom']) {
          const { headers } = await lab.app.request(path)
          expect(headers.get('content-security-policy')).toMatch(/default-src 'none'.*script-src 'self'/)
          expect(headers.get('content-security-policy')).not.toContain('unsafe')
          expect(headers.get('x-content-type-options')).toBe('nosniff')
        }
        expect(warnings).toEqual([])
      })
    })
  })
