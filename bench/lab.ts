/**
 * @file The lab with 10,000 runs and 5,000 papers: what a keystroke of the search, a page of each list and the first
 * page cost the server, against 50 ms, what a person takes for at once. Over a real socket, one request at a time.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { listen, openLab } from '../src/lab/index.js'
import { catalogue } from '../src/catalogue/index.js'
import type { CataloguedPaper } from '../src/catalogue/index.js'
import { Stream } from '../src/random/index.js'
import { median, row } from './row.js'
import type { Row } from './row.js'
import { maxOf } from '../src/tensor/numbers.js'

const runs = 10_000
const papers = 5_000
const budget = 50

const paperFile = (id: string, words: readonly string[], stream: Stream, day: number): object => {
  const text = (count: number): string =>
    Array.from({ length: count }, () => words[Math.floor(stream.uniform() * words.length)]).join(' ')
  const date = new Date(Date.UTC(2024, 0, 1 + (day % 700))).toISOString()
  return {
    id,
    arxiv: id,
    title: text(9),
    date: date.slice(0, 10),
    published: date,
    authors: 3,
    names: ['A', 'B', 'C'],
    family: 'cs.LG',
    summary: text(90),
    claims: [],
    from: 'arxiv',
  }
}

/** Papers made of the words of the catalogue's own. */
const seedPapers = (home: string, entries: readonly CataloguedPaper[]): void => {
  const words = entries.flatMap(({ summary }) => summary.split(/\s+/))
  const stream = new Stream('bench lab')
  mkdirSync(join(home, 'papers'), { recursive: true })
  for (let i = 0; i < papers; i++) {
    const id = `2401.${String(10_000 + i)}`
    writeFileSync(join(home, 'papers', `${id}.json`), JSON.stringify(paperFile(id, words, stream, i)))
  }
}

const seedRuns = (home: string, entries: readonly CataloguedPaper[]): void => {
  for (let i = 0; i < runs; i++) {
    const started = new Date(Date.UTC(2026, 0, 1) + i * 60_000).toISOString()
    const subject = entries[i % entries.length].id
    const command = i % 3 ? 'train' : 'reproduce'
    const id = `${started.replace(/\D/g, '').slice(0, 14)}-${command}-${subject}`
    const record = {
      id,
      command,
      subject,
      argv: [command, subject, '--steps', '100'],
      config: { steps: 100, seed: i },
      versions: {},
      machine: { platform: 'linux', arch: 'x64', processor: '', cores: 2, memory: 1e9 },
      process: { host: 'bench', pid: 1 },
      started,
      ended: started,
      status: 'finished',
    }
    mkdirSync(join(home, id), { recursive: true })
    writeFileSync(join(home, id, 'run.json'), JSON.stringify(record))
    const rows = Array.from({ length: 20 }, (_, step) => JSON.stringify({ step, loss: 1 / (step + 1) }))
    writeFileSync(join(home, id, 'metrics.jsonl'), `${rows.join('\n')}\n`)
  }
}

/** The prefixes of `text`: what is sent while a person types it. */
const typed = (text: string): string[] => Array.from(text, (_, i) => text.slice(0, i + 1))

const questions = ['merge several networks without training', 'fewer bits for weights', 'low rank adapters']

const timed = async (url: string): Promise<number> => {
  const start = performance.now()
  const response = await fetch(url)
  await response.text()
  if (!response.ok) throw new Error(`${url}: ${response.status}`)
  return performance.now() - start
}

/** Median and worst time of the requests, in milliseconds; the first is thrown away. */
const measure = async (name: string, urls: readonly string[]): Promise<Row[]> => {
  await timed(urls[0])
  const times: number[] = []
  for (const url of urls) times.push(await timed(url))
  return [
    row(`${name}, median`, median(times), 'at once', budget, 'ms'),
    row(`${name}, worst`, maxOf(times), 'at once', budget, 'ms'),
  ]
}

const repeated = (urls: readonly string[], times = 10): string[] =>
  Array.from({ length: times }, () => urls).flat()

export const bench = async (): Promise<Row[]> => {
  const home = mkdtempSync(join(tmpdir(), 'weft-bench-lab-'))
  try {
    const entries = await catalogue()
    seedPapers(home, entries)
    seedRuns(home, entries)
    const start = performance.now()
    const lab = await openLab({ home })
    const opened = performance.now() - start
    await lab.ready
    const read = performance.now() - start - opened
    console.error(`opened in ${Math.round(opened)} ms, ${runs} runs read in ${Math.round(read)} ms`)
    const server = await listen(lab.app, { host: '127.0.0.1', port: 0 })
    const url = `http://127.0.0.1:${server.port}`
    const search = (path: string): string[] =>
      questions.flatMap(typed).map((q) => `${url}${path}?q=${encodeURIComponent(q)}`)
    const pages = [0, 50, 2500, 4900].map((offset) => `${url}/api/papers?offset=${offset}`)
    const runPages = [0, 50, 5000, 9900].map((offset) => `${url}/api/runs?offset=${offset}`)
    const rows = [
      ...(await measure('a keystroke in the search of 5,000 papers', search('/api/papers'))),
      ...(await measure('a keystroke in the search of 10,000 runs', search('/api/runs'))),
      ...(await measure('a page of 5,000 papers', repeated(pages))),
      ...(await measure('trending of 5,000 papers', repeated([`${url}/api/papers?sort=trending`]))),
      ...(await measure('a page of 10,000 runs', repeated(runPages))),
      ...(await measure('the first page, as HTML', repeated([`${url}/`], 20))),
    ]
    await server.close()
    await lab.close()
    return rows
  } finally {
    rmSync(home, { recursive: true, force: true })
  }
}
