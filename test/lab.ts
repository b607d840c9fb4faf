/** @file What the tests of the lab share: run folders, a lab over them, a real PostgreSQL. */
import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { RunRecord } from '../src/runs/index.js'
import { thisProcess } from '../src/runs/process.js'

/** A fresh folder, and what removes it. */
export const scratch = (name = 'lab'): { folder: string; remove: () => void } => {
  const folder = mkdtempSync(join(tmpdir(), `weft-${name}-`))
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }) }
}

/** Writes a run as another process would have, and returns its folder. */
export const writeRun = (
  home: string,
  id: string,
  record: Partial<RunRecord> = {},
  metrics: readonly object[] = [],
): string => {
  const folder = join(home, id)
  mkdirSync(folder, { recursive: true })
  const started = '2026-01-02T03:04:05.000Z'
  const whole: RunRecord = {
    id,
    command: 'train',
    argv: ['train'],
    config: {},
    versions: {},
    machine: { platform: 'linux', arch: 'x64', processor: 'test', cores: 2, memory: 1e9 },
    process: thisProcess(),
    started,
    ended: started,
    status: 'finished',
    ...record,
  }
  writeFileSync(join(folder, 'metrics.jsonl'), metrics.map((row) => `${JSON.stringify(row)}\n`).join(''))
  writeFileSync(join(folder, 'run.json'), JSON.stringify(whole))
  return folder
}

/** A JSON request that the lab accepts. */
export const post = (token: string, body: unknown, headers: Record<string, string> = {}): RequestInit => ({
  method: 'POST',
  headers: { 'content-type': 'application/json', 'x-weft-token': token, ...headers },
  body: typeof body === 'string' ? body : JSON.stringify(body),
})

/** One Server-Sent Event. */
export interface StreamedEvent {
  event: string
  id?: string
  data: unknown
}

/** The events of an answer as they come. */
export async function* eventsOf(response: Response): AsyncGenerator<StreamedEvent> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const bytes of response.body!) {
    rest += decoder.decode(bytes as Uint8Array, { stream: true })
    for (let end = rest.indexOf('\n\n'); end >= 0; end = rest.indexOf('\n\n')) {
      const lines = rest.slice(0, end).split('\n')
      rest = rest.slice(end + 2)
      const field = (name: string): string | undefined =>
        lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2)
      const [event, id, data] = [field('event'), field('id'), field('data')]
      if (event !== undefined) yield { event, id, data: JSON.parse(data!) as unknown }
    }
  }
}

/** Waits until `holds` does; throws after `seconds`. */
export const until = async (holds: () => unknown, seconds = 300): Promise<void> => {
  const end = Date.now() + seconds * 1000
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`not within ${seconds} s`)
    await new Promise((done) => setTimeout(done, 20))
  }
}

const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((done) => server.once('listening', done))
  const { port } = server.address() as AddressInfo
  await new Promise((done) => server.close(done))
  return port
}

/** Debian keeps the server's programs out of the path, by version. */
const postgresFolder = (): string | undefined => {
  const debian = '/usr/lib/postgresql'
  const versions = existsSync(debian) ? readdirSync(debian).sort((a, b) => Number(b) - Number(a)) : []
  const folders = [...versions.map((v) => join(debian, v, 'bin')), ...(process.env.PATH ?? '').split(':')]
  return folders.find((folder) => existsSync(join(folder, 'initdb')) && existsSync(join(folder, 'postgres')))
}

const root = process.getuid?.() === 0

/** Why no PostgreSQL server can be started here; undefined where one can. */
export const noPostgres = (): string | undefined => {
  if (!postgresFolder()) return 'no PostgreSQL server: apt-get install postgresql'
  if (!root) return undefined
  try {
    execFileSync('id', ['-u', 'postgres'], { stdio: 'ignore' })
    return undefined
  } catch {
    return 'initdb refuses root, and there is no user postgres'
  }
}

/** Starts an empty PostgreSQL server on the loopback. Only where `noPostgres` gives no reason. */
export const startPostgres = async (): Promise<{ url: string; stop: () => Promise<void> }> => {
  const bin = postgresFolder()!
  const { folder, remove } = scratch('postgres')
  if (root) execFileSync('chown', ['postgres', folder])
  const as = (program: string, args: string[]): [string, string[]] =>
    root ? ['runuser', ['-u', 'postgres', '--', join(bin, program), ...args]] : [join(bin, program), args]
  const data = join(folder, 'data')
  execFileSync(...as('initdb', ['-D', data, '-A', 'trust', '-U', 'postgres', '--no-sync']), {
    stdio: 'ignore',
    cwd: '/',
  })
  const port = await freePort()
  const settings = ['listen_addresses=127.0.0.1', `unix_socket_directories=${folder}`, 'fsync=off']
  const flags = settings.flatMap((setting) => ['-c', setting])
  const server = spawn(...as('postgres', ['-D', data, '-p', String(port), ...flags]), {
    stdio: ['ignore', 'ignore', 'pipe'],
    cwd: '/',
  })
  let said = ''
  server.stderr.on('data', (bytes: Buffer) => (said += bytes.toString()))
  await until(() => said.includes('ready to accept connections'))
  return {
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
    stop: async () => {
      const ended = new Promise((done) => server.once('exit', done))
      // The server itself: who started it for another user does not pass signals on.
      process.kill(Number(readFileSync(join(data, 'postmaster.pid'), 'utf8').split('\n')[0]), 'SIGINT')
      await ended
      remove()
    },
  }
}
