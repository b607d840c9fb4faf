/** @file `weft lab`: the catalogue and the runs as a web page. */
import { action } from './verb.js'
import type { Verb } from './verb.js'

export const lab: Verb = {
  group: 'Research',
  ...action({
    name: 'lab',
    summary: 'a web page to find papers, run them and watch the runs',
    arguments: [],
    examples: [
      'weft lab',
      'weft lab --port 8080 --models models,adapters --jobs 2',
      'SMTP_URL=smtp://localhost weft lab --host 0.0.0.0 --url https://lab.example.org',
    ],
    options: async () => {
      const [{ z }, { flag }] = await Promise.all([import('zod'), import('./options.js')])
      return z.object({
        port: flag(z.number().int().min(0).max(65535).default(7800), 'port to listen on; 0 takes a free one'),
        host: flag(
          z.string().min(1).default('127.0.0.1'),
          'address to listen on; beyond this machine the page needs a token',
        ),
        runs: flag(z.string().optional(), 'folder of the runs (WEFT_HOME)', { value: 'DIR' }),
        models: flag(
          z.array(z.string()).default(['models', 'adapters']),
          'folders whose checkpoints may be tried and inspected, beside the runs',
          { value: 'DIRS' },
        ),
        embedder: flag(z.string().optional(), 'a BERT sentence-embedding checkpoint to search with', {
          value: 'DIR',
        }),
        jobs: flag(z.number().int().positive().default(1), 'reproductions at once', { value: 'N' }),
        url: flag(z.url().optional(), 'where people reach the lab; mails and feeds link there'),
        digestHour: flag(z.number().int().min(0).max(23).default(7), 'hour at which the digest is mailed', {
          when: [{ smtpUrl: 'given' }],
          value: 'HOUR',
        }),
        databaseUrl: flag(z.string().optional(), 'a PostgreSQL server as index instead of the embedded one', {
          env: 'DATABASE_URL',
          value: 'URL',
        }),
        smtpUrl: flag(z.string().optional(), 'a mail server; without one nobody can subscribe', {
          env: 'SMTP_URL',
          value: 'URL',
        }),
        from: flag(z.string().optional(), 'sender of the mails', {
          env: 'SMTP_FROM',
          value: 'ADDRESS',
          when: [{ smtpUrl: 'given' }],
        }),
      })
    },
    run: async ({ options }, context) => {
      const { isLoopback, listen, openLab } = await import('../lab/index.js')
      const { port, host, runs, url, models, embedder, jobs } = options
      const { digestHour, databaseUrl, smtpUrl, from } = options
      const local = isLoopback(host)
      let here = ''
      const lab = await openLab({
        ...{ models, embedder, jobs, digestHour, databaseUrl, smtpUrl, from },
        home: runs ?? context.home,
        local,
        url: () => url?.replace(/\/+$/, '') ?? here,
        warn: context.info,
      })
      try {
        const listening = await listen(lab.app, { host, port })
        here = addressOf(listening.host, listening.port)
        const open = local ? `${here}/` : `${here}/?token=${lab.token}`
        context.result({ url: open, port: listening.port }, () => `Weft lab: ${open}`)
        lab.ready.then(() => context.debug('the run folders have been read')).catch(() => undefined)
        await aborted(context.signal)
        await listening.close()
      } finally {
        await lab.close()
      }
    },
  }),
}

const addressOf = (host: string, port: number): string =>
  `http://${host.includes(':') ? `[${host}]` : host === '0.0.0.0' ? 'localhost' : host}:${port}`

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((done) => {
    if (signal.aborted) done()
    else signal.addEventListener('abort', () => done(), { once: true })
  })
