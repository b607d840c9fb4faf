/**
 * @file Runs before every test file (see vitest.config.ts): what the tests opened, or what they test, is closed when they
 * end. An open file is closed by the garbage collector at best, which a later Node will refuse.
 */
import { promises } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { afterAll, expect } from 'vitest'
import { release } from './held.js'

/** Files that were opened, each with the calls in our code that led to it. */
const opened = new Map<FileHandle, string>()

const callers = (): string => {
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 40
  const { stack = '' } = new Error()
  Error.stackTraceLimit = stackTraceLimit
  return stack
    .split('\n')
    .filter((line) => /\/(src|test)\//.test(line) && !line.includes('/test/open-files.ts'))
    .join('\n')
}

const { open } = promises
promises.open = async (path, ...rest) => {
  const place = callers()
  const handle = await open(path, ...rest)
  opened.set(handle, `${String(path)}, opened by\n${place}`)
  return handle
}
syncBuiltinESMExports()

afterAll(async () => {
  promises.open = open
  syncBuiltinESMExports()
  await release()
  const left = [...opened].flatMap(([handle, place]) => (handle.fd < 0 ? [] : [place]))
  expect(left, `nobody closed ${left.join('\n')}`).toEqual([])
})
