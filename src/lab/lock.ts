/** @file One lab over one folder. */
import { randomUUID } from 'node:crypto'
import { link, rename, rm } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { WeftError } from '../errors.js'
import { createExclusive, isAlive, readContained, recordedProcess, thisProcess } from '../runs/index.js'

const name = 'lab.pid'
/** Bytes of the file at most. */
const limit = 4096

/** The process that a lock names; the number of one alone, as older labs wrote it. */
const holder = z.union([recordedProcess, z.number().transform((pid) => ({ host: hostname(), pid }))])

/** The process that `text` names, if it lives. One of another machine is not believed to: a container's name is new each time. */
const holderIn = (text: string): number | undefined => {
  try {
    const { data } = holder.safeParse(JSON.parse(text))
    return data && data.host === hostname() && isAlive(data) ? data.pid : undefined
  } catch {
    return undefined
  }
}

/** Removes the lock that says `text`, and no other that has come in its place. */
const removeStale = async (folder: string, text: string | undefined): Promise<void> => {
  const aside = `.${name}.${randomUUID()}.stale`
  await rename(join(folder, name), join(folder, aside)).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
  })
  if ((await readContained(folder, aside, limit).catch(() => text)) !== text)
    await link(join(folder, aside), join(folder, name)).catch(() => undefined)
  await rm(join(folder, aside), { recursive: true, force: true })
}

/**
 * Makes this process the only lab over `folder`. Returns what gives it free. Throws WeftError LabRunning when another has
 * it.
 */
export const lockFolder = async (folder: string): Promise<() => Promise<void>> => {
  while (!(await createExclusive(join(folder, name), JSON.stringify(thisProcess())))) {
    const text = await readContained(folder, name, limit).catch(() => '')
    const pid = holderIn(text ?? '')
    if (pid !== undefined)
      throw new WeftError('LabRunning', `process ${pid} runs a lab over ${folder} already`, {
        hint: 'Open that one, or give this one another folder with --runs.',
      })
    await removeStale(folder, text)
  }
  return () => rm(join(folder, name), { force: true })
}
