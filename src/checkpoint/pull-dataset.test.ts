import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { commit, TestHub } from '../../test/hub.js'
import { pull, type PullOptions } from './pull.js'

const hub = new TestHub()
const cache = mkdtempSync(join(tmpdir(), 'weft-hub-'))
const get = (options: PullOptions): Promise<string> =>
  pull('org/tiny', { endpoint: hub.endpoint, cache, backoff: 1, env: {}, ...options })

beforeAll(async () => {
  hub.kind = 'dataset'
  for (const file of ['data/train.parquet', 'cats/1.png', 'script.py', 'README.md'])
    hub.files.set(file, Uint8Array.of(7))
  await hub.start()
})
afterAll(() => {
  hub.stop()
  rmSync(cache, { recursive: true })
})

it('fetches a dataset: its tables and images, into the layout of datasets', async () => {
  const snapshot = await get({ kind: 'dataset' })
  expect(snapshot).toBe(join(cache, 'datasets--org--tiny', 'snapshots', commit))
  expect(readdirSync(snapshot).sort()).toEqual(['README.md', 'cats', 'data'])
  expect([...readFileSync(join(snapshot, 'data', 'train.parquet'))]).toEqual([7])
  expect(await get({ kind: 'dataset', offline: true })).toBe(snapshot)
  await expect(get({ offline: true })).rejects.toMatchObject({ code: 'Offline' })
  await expect(get({})).rejects.toMatchObject({ code: 'NotFound' })
})
