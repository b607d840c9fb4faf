import { appendFileSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { noPostgres, scratch, startPostgres, writeRun } from '../../../test/lab.js'
import { openDatabase } from './database.js'
import type { Database } from './database.js'
import { Journal } from './journal.js'
import { latestReproductions, listRuns, runCounts, runOf } from './runs.js'
import { Watcher } from './watcher.js'
import { append } from '../../tensor/numbers.js'

const reason = noPostgres()

const indexes = [
  { name: 'PGlite', skipped: undefined },
  { name: 'PostgreSQL', skipped: reason },
]

for (const { name, skipped } of indexes)
  describe.skipIf(skipped !== undefined)(
    `the index in ${name}${skipped ? ` (skipped: ${skipped})` : ''}`,
    () => {
      const { folder, remove } = scratch('index')
      const journalPath = join(folder, 'journal.jsonl')
      let home = ''
      let tests = 0
      let place = ''
      let stop = async (): Promise<void> => undefined
      let db: Database

      beforeAll(async () => {
        if (name === 'PostgreSQL') ({ url: place, stop } = await startPostgres())
        else place = join(folder, 'index')
        db = await openDatabase(place)
      })
      beforeEach(async () => {
        home = join(folder, `home-${tests++}`)
        rmSync(journalPath, { force: true })
        for (const table of ['runs', 'jobs', 'votes', 'seen', 'subscriptions', 'position'] as const)
          await db.deleteFrom(table).execute()
      })
      afterAll(async () => {
        await db.destroy()
        await stop()
        remove()
      })

      interface Watch {
        watcher: Watcher
        changed: string[]
        removed: string[]
        /** By run, why it or a part of it is not in the index. */
        left: Map<string, string>
      }

      const watch = async (): Promise<Watch> => {
        const changed: string[] = []
        const removed: string[] = []
        const left = new Map<string, string>()
        const watcher = new Watcher(home, db, {
          changed: (runs) =>
            append(
              changed,
              runs.map(({ id }) => id),
            ),
          removed: (ids) => append(removed, ids),
          leftOut: (id, what) => void left.set(id, what.map(({ reason }) => reason).join('; ')),
          failed: () => undefined,
        })
        await watcher.start(1e6)
        return { watcher, changed, removed, left }
      }

      const voters = async (): Promise<string[]> => {
        const rows = await db.selectFrom('votes').select(['paper', 'visitor']).orderBy('visitor').execute()
        return rows.map(({ paper, visitor }) => `${paper} ${visitor}`)
      }

      test('opening it again keeps what is in it and migrates nothing twice', async () => {
        writeRun(home, 'a')
        const { watcher } = await watch()
        await watcher.stop()
        await db.destroy()
        db = await openDatabase(place)
        expect((await listRuns(db, { limit: 10, offset: 0 })).total).toBe(1)
      })

      test('a row says what the folder says, with the last values of its metrics', async () => {
        const record = {
          command: 'reproduce',
          subject: 'lora',
          argv: ['reproduce', 'lora'],
          result: { quick: true },
        }
        writeRun(home, 'a', record, [
          { step: 1, loss: 2, series: 'x/0' },
          { step: 2, loss: 1, series: 'x/0' },
          { step: 3, evaluation: { loss: 5 } },
        ])
        const { watcher } = await watch()
        await watcher.stop()
        expect(await runOf(db, 'a')).toMatchObject({
          command: 'reproduce',
          subject: 'lora',
          argv: ['reproduce', 'lora'],
          status: 'finished',
          quick: true,
          step: 3,
          rows: 3,
          metrics: { 'x/0/loss': 1, 'evaluation/loss': 5 },
        })
        expect(await latestReproductions(db)).toEqual(['a'])
        expect((await runCounts(db, '2026-01-01T00:00:00.000Z')).get('lora')).toEqual({ all: 1, recent: 1 })
        expect((await runCounts(db, '2026-02-01T00:00:00.000Z')).get('lora')).toEqual({ all: 1, recent: 0 })
      })

      test('rows appended to a running run are counted once, and half a line only when it is whole', async () => {
        const run = writeRun(home, 'a', { status: 'running', ended: undefined }, [{ step: 1, loss: 3 }])
        const { watcher, changed } = await watch()
        appendFileSync(join(run, 'metrics.jsonl'), '{"step":2,"loss":2}\n{"step":3,"lo')
        await watcher.look()
        expect(await runOf(db, 'a')).toMatchObject({ rows: 2, step: 2, metrics: { loss: 2 } })
        appendFileSync(join(run, 'metrics.jsonl'), 'ss":1}\n')
        await watcher.look()
        await watcher.look()
        expect(await runOf(db, 'a')).toMatchObject({ rows: 3, step: 3, metrics: { loss: 1 } })
        expect(changed).toEqual(['a', 'a', 'a'])
        await watcher.stop()
      })

      test('a record that is written whole while half of it is read is read again', async () => {
        const record = join(writeRun(home, 'a'), 'run.json')
        const whole = readFileSync(record)
        writeFileSync(record, whole.subarray(0, 40))
        const watcher = new Watcher(home, db, {
          changed: () => undefined,
          removed: () => undefined,
          // Told between the reading and whatever is noted of it.
          leftOut: (_, what) => {
            if (what.length > 0) writeFileSync(record, whole)
          },
          failed: () => undefined,
        })
        await watcher.start(1e6)
        await watcher.look()
        await watcher.stop()
        expect(await runOf(db, 'a')).toMatchObject({ status: 'finished' })
      })

      test('a record that is written whole within a tick of the clock is read again', async () => {
        const record = join(writeRun(home, 'a'), 'run.json')
        const whole = readFileSync(record)
        const tick = new Date('2026-01-02T03:04:05Z')
        writeFileSync(record, whole.subarray(0, 40))
        utimesSync(record, tick, tick)
        const { watcher, left } = await watch()
        expect(left.get('a')).not.toBe('')
        writeFileSync(record, whole)
        utimesSync(record, tick, tick)
        await watcher.look()
        await watcher.stop()
        expect(await runOf(db, 'a')).toMatchObject({ status: 'finished' })
      })

      test('a run whose process has died is interrupted', async () => {
        const gone = { host: (await import('node:os')).hostname(), pid: 2 ** 22 + 1 }
        writeRun(home, 'a', { status: 'running', ended: undefined, process: gone })
        const { watcher } = await watch()
        await watcher.stop()
        expect(await runOf(db, 'a')).toMatchObject({ status: 'interrupted' })
      })

      test('runs come and go with their folders', async () => {
        writeRun(home, 'a')
        const { watcher, changed, removed } = await watch()
        const b = writeRun(home, 'b', { started: '2026-01-03T00:00:00.000Z' })
        await watcher.look()
        expect((await listRuns(db, { limit: 10, offset: 0 })).runs.map(({ id }) => id)).toEqual(['b', 'a'])
        rmSync(b, { recursive: true })
        await watcher.look()
        expect((await listRuns(db, { limit: 10, offset: 0 })).runs.map(({ id }) => id)).toEqual(['a'])
        expect([changed, removed]).toEqual([['a', 'b'], ['b']])
        await watcher.stop()
      })

      test('a watcher that starts again finds what changed while none looked', async () => {
        const run = writeRun(home, 'a', { status: 'running', ended: undefined }, [{ step: 1, loss: 3 }])
        writeRun(home, 'gone')
        await (await watch()).watcher.stop()
        rmSync(join(home, 'gone'), { recursive: true })
        appendFileSync(join(run, 'metrics.jsonl'), '{"step":2,"loss":2}\n')
        const { watcher, changed, removed } = await watch()
        await watcher.stop()
        expect([changed, removed]).toEqual([['a'], ['gone']])
        expect(await runOf(db, 'a')).toMatchObject({ rows: 2 })
      })

      test('text that means something to SQL, to patterns or to JSON is text', async () => {
        const odd = `%_\\'";--\u0000\u2028 drop table runs`
        writeRun(home, 'a', { subject: odd, argv: [odd] })
        writeRun(home, 'b', { subject: 'plain' })
        const { watcher } = await watch()
        await watcher.stop()
        const found = async (q: string): Promise<string[]> =>
          (await listRuns(db, { q, limit: 10, offset: 0 })).runs.map(({ id }) => id)
        expect(await found(`%_\\'";--`)).toEqual(['a'])
        expect(await found('%')).toEqual(['a'])
        expect(await found('_')).toEqual(['a'])
        expect(await found('\\')).toEqual(['a'])
        expect(await found(`' or 1=1 --`)).toEqual([])
        expect(await found('plain\u0000')).toEqual(['b'])
        expect(await found('plain')).toEqual(['b'])
      })

      test('a journal makes an empty index as it was', async () => {
        const journal = await Journal.open(journalPath, db)
        await journal.record({ type: 'vote', paper: 'p', visitor: 'v1', vote: true })
        await journal.record({ type: 'vote', paper: 'p', visitor: 'v2', vote: true })
        await journal.record({ type: 'vote', paper: 'p', visitor: 'v1', vote: false })
        await journal.record({ type: 'subscribe', email: 'a@b.c', token: 't', topics: ['runs'] })
        await journal.record({ type: 'confirm', token: 't' }, '2026-01-01T00:00:00.000Z')
        await journal.close()
        const before = await db.selectFrom('subscriptions').selectAll().execute()
        expect(before).toMatchObject([
          { email: 'a@b.c', topics: ['runs'], confirmed: '2026-01-01T00:00:00.000Z' },
        ])
        for (const table of ['votes', 'subscriptions', 'position'] as const)
          await db.deleteFrom(table).execute()
        await (await Journal.open(journalPath, db)).close()
        expect(await voters()).toEqual(['p v2'])
        expect(await db.selectFrom('subscriptions').selectAll().execute()).toEqual(before)
      })

      test('an event that was written but not applied is applied at the next start, and half an event never', async () => {
        await (await Journal.open(journalPath, db)).close()
        const event = { type: 'vote', paper: 'p', visitor: 'v', vote: true, at: '2026-01-01T00:00:00.000Z' }
        appendFileSync(journalPath, `${JSON.stringify(event)}\n{"type":"vote","paper":"q","vis`)
        const journal = await Journal.open(journalPath, db)
        expect(await voters()).toEqual(['p v'])
        await journal.record({ type: 'vote', paper: 'p', visitor: 'w', vote: true })
        await journal.close()
        await (await Journal.open(journalPath, db)).close()
        expect(await voters()).toEqual(['p v', 'p w'])
      })

      test('an index that followed another journal follows this one', async () => {
        const journal = await Journal.open(journalPath, db)
        await journal.record({ type: 'vote', paper: 'old', visitor: 'v', vote: true })
        await journal.close()
        rmSync(journalPath)
        const other = await Journal.open(journalPath, db)
        await other.record({ type: 'vote', paper: 'new', visitor: 'v', vote: true })
        await other.close()
        expect(await voters()).toEqual(['new v'])
        expect(readFileSync(journalPath, 'utf8').split('\n')).toHaveLength(3)
      })

      if (name === 'PGlite')
        test('an index that cannot be read is made anew', async () => {
          const broken = join(folder, 'broken')
          await (await openDatabase(broken)).destroy()
          writeFileSync(join(broken, 'PG_VERSION'), 'nonsense')
          rmSync(join(broken, 'global'), { recursive: true })
          const again = await openDatabase(broken)
          expect((await listRuns(again, { limit: 1, offset: 0 })).total).toBe(0)
          await again.destroy()
        })
    },
  )
