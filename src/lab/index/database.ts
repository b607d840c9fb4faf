/** @file Opens the index: PGlite in a folder, or a PostgreSQL server. Queries never know which. */
import { mkdir, rm } from 'node:fs/promises'
import type { PostgresPool } from 'kysely'
import { Kysely, Migrator, PostgresDialect } from 'kysely'
import { RemoteError } from '../../errors.js'
import { migrations } from './schema.js'
import type { Tables } from './schema.js'

export type Database = Kysely<Tables>

/**
 * PGlite as a pool of one connection: who connects while another holds it waits, so a transaction is never interleaved
 * with anything.
 */
const embedded = async (folder: string): Promise<PostgresPool> => {
  const { PGlite } = await import('@electric-sql/pglite')
  await mkdir(folder, { recursive: true })
  // The index can always be made again, so no query waits for the disk.
  const pglite = await PGlite.create(folder, { relaxedDurability: true })
  let last = Promise.resolve()
  return {
    connect: async () => {
      const before = last
      let release = (): void => undefined
      last = new Promise((done) => (release = done))
      await before
      const query = async (text: string, parameters: readonly unknown[]): Promise<unknown> => {
        const { rows, affectedRows } = await pglite.query(text, [...parameters])
        return { rows, rowCount: affectedRows ?? 0, command: text.trimStart().slice(0, 6).toUpperCase() }
      }
      return { query, release } as Awaited<ReturnType<PostgresPool['connect']>>
    },
    end: () => pglite.close(),
  }
}

const server = async (url: string): Promise<PostgresPool> => {
  const { Pool } = (await import('pg')).default
  const pool = new Pool({ connectionString: url, max: 8, connectionTimeoutMillis: 10_000 })
  // An idle connection that breaks is replaced by the next query; without a listener it would end the process.
  pool.on('error', () => undefined)
  return pool
}

const isServer = (place: string): boolean => /^postgres(ql)?:\/\//.test(place)

const migrated = async (place: string): Promise<Database> => {
  const db = new Kysely<Tables>({
    dialect: new PostgresDialect({ pool: () => (isServer(place) ? server(place) : embedded(place)) }),
  })
  const provider = { getMigrations: async () => ({ ...migrations }) }
  const { error } = await new Migrator({ db, provider }).migrateToLatest()
  if (!error) return db
  await db.destroy().catch(() => undefined)
  throw error
}

/**
 * The index in the folder or at the `postgres://` URL `place`, its tables brought up to date. A folder that cannot be
 * opened is made anew: what it held is in the run folders and the journal. Throws RemoteError when a server cannot be
 * reached.
 */
export const openDatabase = async (place: string): Promise<Database> => {
  try {
    return await migrated(place)
  } catch (error) {
    if (!isServer(place)) {
      await rm(place, { recursive: true, force: true })
      return migrated(place)
    }
    const reason = error instanceof Error ? error.message : String(error)
    throw new RemoteError('IndexUnreachable', `the PostgreSQL server of DATABASE_URL: ${reason}`, {
      cause: error,
    })
  }
}
