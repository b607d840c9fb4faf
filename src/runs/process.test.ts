import { spawn } from 'node:child_process'
import { hostname } from 'node:os'
import fc from 'fast-check'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { isAlive, processOf, stopProcess } from './index.js'
import type { RunProcess } from './index.js'

afterEach(() => void vi.restoreAllMocks())

const idle = ['--eval', 'setInterval(() => 0, 1000)']

describe('a process that a record names', () => {
  test('is asked to stop only when it was born as the record says', async () => {
    const child = spawn(process.execPath, idle, { stdio: 'ignore' })
    const ended = new Promise((done) => child.once('exit', (_, signal) => done(signal)))
    const born = processOf(child.pid!)
    const others: RunProcess[] = [
      { ...born, born: '1' },
      { host: born.host, pid: born.pid },
      { ...born, host: 'elsewhere' },
      { ...born, pid: -born.pid },
      { ...born, pid: born.pid + 0.5 },
    ]
    for (const other of others) expect(stopProcess(other), JSON.stringify(other)).toBe(false)
    expect(isAlive(born)).toBe(true)
    expect(stopProcess(born)).toBe(true)
    expect(await ended).toBe('SIGTERM')
    expect(isAlive(born)).toBe(false)
    expect(stopProcess(born)).toBe(false)
  })

  test('is never the first of all, a group, or everybody, whatever the record says', () => {
    const asked = vi.spyOn(process, 'kill').mockImplementation((_pid, signal) => {
      if (signal !== 0) throw new Error('a signal was sent')
      return true
    })
    const pid = fc.oneof(
      fc.constantFrom(0, 1, -1, -0, 1.5, NaN, Infinity, -Infinity, 2 ** 31, 2 ** 53, -process.pid),
      fc.double(),
      fc.integer(),
    )
    const first = processOf(1).born
    fc.assert(
      fc.property(pid, fc.constantFrom(undefined, 'never', '-1'), (pid, born) => {
        const record = { host: hostname(), pid, ...(born === undefined ? {} : { born }) }
        expect(stopProcess(record)).toBe(false)
        expect(typeof isAlive(record)).toBe('boolean')
      }),
    )
    for (const pid of [1, 0, -1]) expect(stopProcess({ host: hostname(), pid, born: first })).toBe(false)
    expect(asked.mock.calls.filter(([, signal]) => signal !== 0)).toEqual([])
    expect(asked.mock.calls.every(([pid]) => Number.isInteger(pid) && pid >= 1)).toBe(true)
  })
})
