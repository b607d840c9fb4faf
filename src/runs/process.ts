/** @file Whether the process that began a run is still there. */
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import type { RunProcess } from './run.js'

/** Ticks since boot at which a process began, where the system tells (Linux): field 22 of its `stat`. */
const bornOf = (pid: number): string | undefined => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The name in field 2 may contain spaces and brackets; the last bracket ends it.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  } catch {
    return undefined
  }
}

/** A killed process stays in the table until its parent has asked for it. */
const isZombie = (pid: number): boolean => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return stat.slice(stat.lastIndexOf(')') + 2).startsWith('Z')
  } catch {
    return false
  }
}

/** This process. */
export const thisProcess = (): RunProcess => {
  const born = bornOf(process.pid)
  return { host: hostname(), pid: process.pid, ...(born === undefined ? {} : { born }) }
}

const exists = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return !isZombie(pid)
  } catch (error) {
    // EPERM: it exists and belongs to somebody else.
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** Whether the process lives. One of another machine is believed to. */
export const isAlive = ({ host, pid, born }: RunProcess): boolean => {
  if (host !== hostname()) return true
  if (!exists(pid)) return false
  return born === undefined || bornOf(pid) === born
}
