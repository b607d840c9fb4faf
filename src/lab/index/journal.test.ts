import { appendFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { scratch } from '../../../test/lab.js'
import type { LeftOut } from '../../runs/index.js'
import { openDatabase } from './database.js'
import type { Database } from './database.js'
import { Journal } from './journal.js'

const { folder, remove } = scratch('journal')
const path = join(folder, 'journal.jsonl')
let db: Database
let left: readonly LeftOut[] = []

beforeAll(async () => {
  db = await openDatabase(join(folder, 'index'))
})
beforeEach(() => rmSync(path, { force: true }))
afterAll(async () => {
  await db.destroy()
  remove()
})

const open = (): Promise<Journal> => Journal.open(path, db, (what) => (left = what))
const reopen = async (): Promise<void> => (await open()).close()

const state = async (): Promise<string[]> => {
  const votes = await db.selectFrom('votes').select(['paper', 'visitor']).orderBy('paper').execute()
  const readers = await db.selectFrom('subscriptions').select('email').orderBy('email').execute()
  return [
    ...votes.map(({ paper, visitor }) => `${paper} ${visitor}`),
    ...readers.map(({ email }) => email),
  ].sort()
}

/** What people do in order, and the state after each. */
const written = async (): Promise<{ bytes: Buffer; states: string[][] }> => {
  const journal = await open()
  const states = [await state()]
  const note = async (event: Parameters<Journal['record']>[0]): Promise<void> => {
    await journal.record(event)
    states.push(await state())
  }
  await note({ type: 'vote', paper: 'a', visitor: 'ü', vote: true })
  await note({ type: 'vote', paper: 'a', visitor: 'ü', vote: false })
  await journal.close()
  return { bytes: readFileSync(path), states }
}

const lines = (bytes: Uint8Array): number => bytes.filter((byte) => byte === 0x0a).length

describe('a journal', () => {
  test('cut at any byte keeps what was whole, and takes the next event whole', async () => {
    const { bytes, states } = await written()
    const head = bytes.indexOf(0x0a) + 1
    for (let cut = 0; cut <= bytes.length; cut++) {
      writeFileSync(path, bytes.subarray(0, cut))
      const journal = await open()
      // Nothing but its newline is lost of an event that ends at the cut.
      const whole = lines(bytes.subarray(0, Math.min(cut + 1, bytes.length))) - 1
      const before = cut < head ? states[0] : states[whole]
      expect(await state(), `cut at ${cut}`).toEqual(before)
      await journal.record({ type: 'vote', paper: 'z', visitor: 'w', vote: true })
      await journal.close()
      await db.deleteFrom('position').execute()
      await reopen()
      expect(await state(), `after ${cut}`).toEqual([...before, 'z w'].sort())
      expect(left).toEqual([])
    }
  })

  test('that is torn while the lab runs loses no event that was acknowledged', async () => {
    const journal = await open()
    await journal.record({ type: 'subscribe', email: 'a@example.org', token: 't', topics: ['runs'] })
    appendFileSync(path, '{"type":"vote","paper":"q","vis')
    await journal.record({ type: 'unsubscribe', token: 't' })
    await journal.record({ type: 'vote', paper: 'a', visitor: 'v', vote: true })
    await journal.close()
    expect(await state()).toEqual(['a v'])
    await db.deleteFrom('position').execute()
    await reopen()
    expect(await state()).toEqual(['a v'])
    expect(left).toEqual([
      { path: 'journal.jsonl', reason: expect.stringMatching(/^line 3 is not JSON/) as string },
    ])
  })

  test('with lines that are no events, or that the index refuses, says which and applies the others', async () => {
    await reopen()
    const at = '2026-01-01T00:00:00.000Z'
    const subscribe = { type: 'subscribe', token: 'same', topics: ['runs'], at }
    const odd = [
      { type: 'vote', paper: 5, visitor: 'v', vote: true, at },
      { type: 'seen', at },
      { type: 'job', job: null, at },
      { ...subscribe, email: 'one@example.org' },
      { ...subscribe, email: 'two@example.org' },
      { type: 'vote', paper: 'good', visitor: 'v\u0000\ud800', vote: true, at },
    ]
    appendFileSync(path, odd.map((event) => `${JSON.stringify(event)}\n`).join(''))
    await reopen()
    expect(await state()).toEqual([`good v\ufffd`, 'one@example.org'])
    expect(left.map(({ reason }) => /^line \d+/.exec(reason)?.[0])).toEqual([
      'line 2',
      'line 3',
      'line 4',
      'line 6',
    ])
  })

  test('with any JSON in its lines opens, and keeps the events around them', async () => {
    const vote = (paper: string): string =>
      JSON.stringify({ type: 'vote', paper, visitor: 'v', vote: true, at: '2026-01-01T00:00:00.000Z' })
    const types = ['vote', 'seen', 'subscribe', 'confirm', 'unsubscribe', 'told', 'job', 'constructor']
    const line = fc.oneof(
      fc.json(),
      fc.string(),
      fc
        .record({
          type: fc.constantFrom(...types),
          paper: fc.jsonValue(),
          token: fc.jsonValue(),
          job: fc.jsonValue(),
        })
        .map((event) => JSON.stringify({ ...event, at: '2026-01-01T00:00:00.000Z' })),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(line, { maxLength: 4 }), async (odd) => {
        writeFileSync(path, ['{"journal":"x"}', vote('first'), ...odd, vote('last'), ''].join('\n'))
        await db.deleteFrom('position').execute()
        await reopen()
        const votes = await state()
        expect(votes).toContain('first v')
        expect(votes).toContain('last v')
      }),
      { numRuns: 60 },
    )
  })
})
