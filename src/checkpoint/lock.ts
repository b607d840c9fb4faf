/** @file Locks between processes: a file that only one can make, kept fresh while its holder lives. */
import { randomUUID } from 'node:crypto'
import { link, open, readFile, rename, rm, stat, utimes } from 'node:fs/promises'
import { hostname } from 'node:os'

/** Milliseconds between two signs of life, and after how many without one a lock counts as left behind. */
const beat = 2_000
const silence = 60_000
/** Milliseconds between two looks at a lock that another has. */
const patience = 50

const isLiving = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    // EPERM: it exists and belongs to somebody else.
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** What a lock says of its holder, where it says anything. */
const holderIn = (text: string): { host?: unknown; pid?: unknown } => {
  try {
    return (JSON.parse(text) as object | null) ?? {}
  } catch {
    return {}
  }
}

/** Whether nobody holds the lock that says `text`: its process is gone, or has given no sign of life for a minute. */
const isLeft = async (path: string, text: string): Promise<boolean> => {
  const { host, pid } = holderIn(text)
  if (host === hostname() && typeof pid === 'number' && !isLiving(pid)) return true
  const status = await stat(path).catch(() => undefined)
  return status !== undefined && Date.now() - status.mtimeMs > silence
}

/** Removes the lock that says `text`, and no other that has come in its place. */
const removeLeft = async (path: string, text: string): Promise<void> => {
  const aside = `${path}.${randomUUID()}`
  await rename(path, aside).catch(() => undefined)
  const taken = await readFile(aside, 'utf8').catch(() => text)
  if (taken !== text) await link(aside, path).catch(() => undefined)
  await rm(aside, { force: true })
}

const take = async (path: string): Promise<boolean> => {
  try {
    const file = await open(path, 'wx')
    await file.writeFile(JSON.stringify({ host: hostname(), pid: process.pid, id: randomUUID() }))
    await file.close()
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    return false
  }
}

/**
 * Result of `work`, during which nobody else holds the lock file `path`; waits while another process of any machine has it. A
 * lock whose process was killed is taken over. Throws Error where the file cannot be made.
 */
export const withLock = async <T>(path: string, work: () => Promise<T>): Promise<T> => {
  while (!(await take(path))) {
    const text = await readFile(path, 'utf8').catch(() => undefined)
    if (text !== undefined && (await isLeft(path, text))) await removeLeft(path, text)
    else await new Promise((resolve) => setTimeout(resolve, patience))
  }
  const refresh = (): void => {
    const now = new Date()
    void utimes(path, now, now).catch(() => undefined)
  }
  const timer = setInterval(refresh, beat)
  try {
    return await work()
  } finally {
    clearInterval(timer)
    await rm(path, { force: true })
  }
}
