/** @file Which process writes a run, and whether it is still that process: a pid alone is used again. */
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import type { RunProcess } from './run.js'

/** Fields of a process's line in `/proc`, from its state (field 3) on; undefined where the system has none. */
const statusOf = (pid: number): string[] | undefined => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The name in field 2 may contain spaces and brackets; the last bracket ends it.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  } catch {
    return undefined
  }
}

/** Ticks since boot at which a process began, where the system tells (Linux): field 22. */
const birthOf = (pid: number): string | undefined => statusOf(pid)?.[19]

/** The process `pid` of this machine as it is now. */
export const processOf = (pid: number): RunProcess => {
  const born = birthOf(pid)
  return { host: hostname(), pid, ...(born === undefined ? {} : { born }) }
}

/** This process. */
export const thisProcess = (): RunProcess => processOf(process.pid)

/** Whether there is such a process. A killed one stays in the table, as a zombie, until its parent has asked for it. */
const exists = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
  } catch (error) {
    // EPERM: it exists and belongs to somebody else.
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false
  }
  return statusOf(pid)?.[0] !== 'Z'
}

/** Below it stand the caller's group (0), groups and everybody (negative): no process. */
const isPid = (pid: number): boolean => Number.isSafeInteger(pid) && pid >= 1 && pid < 2 ** 31

/** Whether the process lives. One of another machine is believed to. */
export const isAlive = ({ host, pid, born }: RunProcess): boolean => {
  if (host !== hostname()) return true
  if (!isPid(pid) || !exists(pid)) return false
  return born === undefined || birthOf(pid) === born
}

/**
 * Asks a process to stop, when it is certainly the one that was recorded: of this machine, not the first of all, and
 * begun when the record says. Where the system does not tell when a process began, none is asked. Returns whether it
 * was.
 */
export const stopProcess = ({ host, pid, born }: RunProcess): boolean => {
  const certain = born !== undefined && isPid(pid) && pid > 1 && birthOf(pid) === born
  if (host !== hostname() || !certain) return false
  try {
    return process.kill(pid, 'SIGTERM')
  } catch {
    return false
  }
}
