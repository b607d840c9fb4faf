import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { scratch } from '../../test/lab.js'
import { thisProcess } from '../runs/index.js'
import { lockFolder } from './lock.js'

const { folder, remove } = scratch('lock')
const path = join(folder, 'lab.pid')
beforeEach(() => rmSync(path, { recursive: true, force: true }))
afterAll(remove)

describe('a lock', () => {
  test('keeps others out until it is given free', async () => {
    const unlock = await lockFolder(folder)
    await expect(lockFolder(folder)).rejects.toMatchObject({ code: 'LabRunning' })
    await unlock()
    await (
      await lockFolder(folder)
    )()
    expect(readdirSync(folder)).toEqual([])
  })

  test('is one of many that ask at once', async () => {
    const asked = await Promise.allSettled(Array.from({ length: 20 }, () => lockFolder(folder)))
    expect(asked.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  })

  test.each([
    ['a process that is gone', JSON.stringify({ ...thisProcess(), pid: 2 ** 22 + 1 })],
    ['a process whose number is another one now', JSON.stringify({ ...thisProcess(), born: '1' })],
    ['everybody', '-1'],
    ['a group', '0'],
    ['half a record', '{"host":"x","pi'],
    ['nothing', ''],
    ['a list', '[1]'],
  ])('that names %s is no lock', async (_, text) => {
    writeFileSync(path, text)
    const unlock = await lockFolder(folder)
    expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual(thisProcess())
    await unlock()
    expect(readdirSync(folder)).toEqual([])
  })

  test('that is a pipe or a folder is no lock', async () => {
    execFileSync('mkfifo', [path])
    await (
      await lockFolder(folder)
    )()
    mkdirSync(path)
    await (
      await lockFolder(folder)
    )()
    expect(readdirSync(folder)).toEqual([])
  })
})
