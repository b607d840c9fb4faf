/** @file A lab put together: index, journal, watcher, papers, jobs, playground, mail, and the routes over them. */
import { mkdir, readFile, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { readListed } from '../catalogue/index.js'
import type { LeftOut } from '../runs/index.js'
import { listedFolder } from '../catalogue/sync/listed.js'
import { labApp } from './app.js'
import { Hub } from './hub.js'
import { openDatabase } from './index/database.js'
import type { Database } from './index/database.js'
import { Journal } from './index/journal.js'
import { Watcher } from './index/watcher.js'
import { Jobs, reproduceCommand } from './jobs/jobs.js'
import type { JobsOptions } from './jobs/jobs.js'
import { LeftOutList } from './left-out.js'
import { lockFolder } from './lock.js'
import { Digests } from './mail/digest.js'
import { Mailbox } from './mail/mailbox.js'
import { Subscriptions } from './mail/subscriptions.js'
import { Papers } from './papers.js'
import { EmbedderProcess } from './playground/embedder.js'
import { Playground } from './playground/playground.js'
import type { App, Services } from './routes/context.js'
import { rowOf } from './routes/context.js'
import { tokenIn } from './security.js'
import { Streams } from './streams.js'

/** How a lab is set up. */
export interface LabOptions {
  /** The runs' folder. The lab's own files lie in `.lab` under it. */
  home: string
  /** Folders whose checkpoints the playground may open, beside the runs' folder. Default: none. */
  models?: readonly string[]
  /** Jobs at once. Default 1. */
  jobs?: number
  /** A `postgres://` URL instead of the embedded index. */
  databaseUrl?: string
  smtpUrl?: string
  /** Where mails come from. */
  from?: string
  /** Hour of the day at which the digest goes out. Default 7. */
  digestHour?: number
  /** Whether it is reached over the loopback alone. Default true. */
  local?: boolean
  /** Where people reach it; asked when a mail or a feed is written. */
  url?: () => string
  /** Folder of a BERT checkpoint whose sentence vectors the search uses too. */
  embedder?: string
  /** Milliseconds between two looks at the run folders. Default 500. */
  interval?: number
  /** The build of the page. Default: the package's own. */
  page?: string
  /** Folder of the full reproductions that decide where no run does. Default: the package's own. */
  reference?: string
  /** What a job runs; for tests. */
  command?: JobsOptions['command']
  warn?: (text: string) => void
}

/** A lab that runs. */
export interface Lab {
  readonly app: App
  readonly token: string
  /** Resolves when the run folders have been read for the first time. */
  readonly ready: Promise<void>
  /** Brings the index up to date now. */
  look(): Promise<void>
  /** Sends the digests due before a time; see Digests. */
  digest(due: Date): Promise<number>
  /** Ends jobs, streams and the index. */
  close(): Promise<void>
}

const versionOf = async (): Promise<string> => {
  const text = await readFile(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}

/** The build of the page beside the built server, from either of them. */
const ownPage = (): string => fileURLToPath(new URL('../../dist/lab/page', import.meta.url))

/** Milliseconds between two looks whether sync has found papers. */
const syncInterval = 5000

/** When sync last found a paper, in milliseconds; 0 for never. */
const lastSynced = async (home: string): Promise<number> =>
  (await stat(listedFolder(home)).catch(() => undefined))?.mtimeMs ?? 0

/** Reads the catalogue now, and again when a reproduction has ended or gone, and when sync has found papers. */
const keepFresh = async (
  { papers, hub, home }: Services,
  warn: (text: string) => void,
): Promise<() => Promise<void>> => {
  let known = await lastSynced(home)
  await papers.refresh()
  let timer: NodeJS.Timeout | undefined
  let work = Promise.resolve()
  const refresh = (): void => {
    work = work
      .then(() => papers.refresh())
      .then(() => hub.emit({ type: 'papers', data: { id: null } }))
      .catch((error: unknown) => warn(`the catalogue: ${String(error)}`))
  }
  const quiet = hub.listen(({ type, data }) => {
    if (type !== 'run' && type !== 'removed') return
    papers.forget()
    if (type === 'run' && (data.command !== 'reproduce' || data.status === 'running')) return
    clearTimeout(timer)
    timer = setTimeout(refresh, 50)
  })
  const look = async (): Promise<void> => {
    const now = await lastSynced(home)
    if (now !== known) refresh()
    known = now
  }
  const looking = setInterval(() => void look(), syncInterval)
  looking.unref()
  return async () => {
    quiet()
    clearInterval(looking)
    clearTimeout(timer)
    await work
  }
}

/** What a lab is made of. */
interface Parts {
  services: Services
  watcher: Watcher
  subscriptions: Subscriptions
  embedder?: EmbedderProcess
}

/** Where the catalogue's papers come from. */
const sourcesOf = (
  { home, reference, warn }: LabOptions,
  leftOut: LeftOutList,
  embedder: EmbedderProcess | undefined,
): ConstructorParameters<typeof Papers>[0] => ({
  home,
  listed: async () => {
    const skipped: LeftOut[] = []
    const listed = await readListed(home, (what) => skipped.push(what))
    leftOut.set('listed', skipped)
    return listed
  },
  reference,
  leftOut: (what: readonly LeftOut[]) => leftOut.set('results', what),
  embedder: embedder?.embed,
  warn: (reason: unknown) => warn?.(`no sentence vectors: ${String(reason)}`),
})

/** Everything that the routes use. */
const servicesOf = async (options: LabOptions, db: Database, folder: string): Promise<Parts> => {
  const { home, models = [], jobs = 1, smtpUrl, from, digestHour = 7 } = options
  const url = options.url ?? ((): string => 'http://localhost')
  const warn = options.warn ?? ((): void => undefined)
  const leftOut = new LeftOutList()
  const journal = await Journal.open(join(folder, 'journal.jsonl'), db, (what) =>
    leftOut.set('journal', what),
  )
  const hub = new Hub()
  const mailbox = smtpUrl ? new Mailbox(smtpUrl, from) : undefined
  const embedder = options.embedder === undefined ? undefined : new EmbedderProcess(options.embedder)
  const sources = sourcesOf(options, leftOut, embedder)
  const papers = new Papers(sources, db, journal)
  const watcher = new Watcher(home, db, {
    changed: (runs) => {
      for (const run of runs) hub.emit({ type: 'run', data: rowOf(services, run) })
    },
    removed: (ids) => {
      for (const run of ids) hub.emit({ type: 'removed', data: { run } })
    },
    leftOut: (id, what) => leftOut.set(`run ${id}`, what),
    failed: (reason) => {
      const what = { path: 'runs', reason: `the runs could not be indexed: ${String(reason)}` }
      leftOut.set('index', reason === undefined ? [] : [what])
    },
  })
  const services: Services = {
    home,
    version: await versionOf(),
    token: await tokenIn(join(folder, 'token')),
    url,
    db,
    journal,
    hub,
    streams: new Streams(),
    papers,
    leftOut,
    jobs: new Jobs({
      home,
      logs: join(folder, 'jobs'),
      parallel: jobs,
      db,
      journal,
      hub,
      look: () => watcher.look(),
      command: options.command ?? reproduceCommand,
    }),
    playground: new Playground([...models, home]),
    mailbox,
    digests: new Digests({ home, db, papers, journal, mailbox, url, hour: digestHour, warn }),
    page: options.page ?? ownPage(),
  }
  return { services, watcher, embedder, subscriptions: new Subscriptions({ db, journal, mailbox, url }) }
}

/** Opens a lab over the runs in `home`. Throws WeftError when another lab has that folder. */
export const openLab = async (choices: LabOptions): Promise<Lab> => {
  const options = { ...choices, home: resolve(choices.home) }
  const warn = options.warn ?? ((): void => undefined)
  const folder = join(options.home, '.lab')
  await mkdir(options.home, { recursive: true })
  // Others on this machine may read the runs; the token and the subscribers are nobody else's business.
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const unlock = await lockFolder(folder)
  let db: Database | undefined
  try {
    db = await openDatabase(options.databaseUrl || join(folder, 'index'))
    const { services, watcher, subscriptions, embedder } = await servicesOf(options, db, folder)
    const { jobs, digests, streams, playground, journal, mailbox, token } = services
    await jobs.start()
    const stopRefreshing = await keepFresh(services, warn)
    digests.start()
    const ready = watcher.start(options.interval)
    ready.catch((error: unknown) => warn(`the run folders: ${String(error)}`))
    return {
      app: labApp(services, subscriptions, { token, local: options.local ?? true }, warn),
      token,
      ready,
      look: () => watcher.look(),
      digest: (due) => digests.send(due),
      close: async () => {
        streams.close()
        playground.close()
        embedder?.close()
        await jobs.close()
        await watcher.stop()
        await stopRefreshing()
        await digests.stop()
        await mailbox?.close()
        await journal.close()
        await db!.destroy()
        await unlock()
      },
    }
  } catch (error) {
    await db?.destroy().catch(() => undefined)
    await unlock()
    throw error
  }
}
