/**
 * @file The families whose papers the catalogue collects, one line a family and none a method: a method's folder is found
 * by its card, so that a list of papers loads cards alone, and one experiment the folder of its method alone.
 */
import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { WeftError } from '../errors.js'
import type { Paper } from '../papers/card.js'
import type { Entry } from '../papers/entry.js'

/** A family and how its list of entries is loaded. */
export interface MethodFamily {
  readonly name: string
  readonly entries: () => Promise<readonly Entry[]>
}

/** The folder of the sources, or of what they were compiled to, and how its files end. */
const root = new URL('../', import.meta.url)
const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'

/** The address of a module, by its path without an ending. */
const moduleAt = (path: string): URL => new URL(`${path}.${extension}`, root)

const isThere = (path: string): boolean => existsSync(fileURLToPath(moduleAt(path)))

const load = (path: string): Promise<unknown> => import(/* @vite-ignore */ moduleAt(path).href)

/** What a method's `index` gives; several entries where one paper has several methods. */
interface MethodModule {
  readonly entry?: Entry
  readonly entries?: readonly Entry[]
}

/** Loads the experiment of a method, and with it the method. */
const experimentIn = (folder: string): NonNullable<Entry['experiment']> => {
  return async () => {
    const { entry, entries = [] } = (await load(`${folder}/index`)) as MethodModule
    const experiment = (entry ?? entries[0])?.experiment
    if (experiment) return experiment()
    throw new WeftError('BrokenEntry', `${folder}/index.ts: its entry does not name ${folder}/experiment.ts`)
  }
}

/** The entry of the method in a folder, without the method; none where the folder has no card. */
const entryIn = async (folder: string): Promise<Entry[]> => {
  if (!isThere(`${folder}/card`)) return []
  const { card } = (await load(`${folder}/card`)) as { card: Paper }
  return [isThere(`${folder}/experiment`) ? { card, experiment: experimentIn(folder) } : { card }]
}

const entriesOf = async (family: string): Promise<Entry[]> => {
  const folders = await readdir(new URL(`${family}/`, root), { withFileTypes: true })
  const names = folders.filter((folder) => folder.isDirectory()).map(({ name }) => name)
  return (await Promise.all(names.map((name) => entryIn(`${family}/${name}`)))).flat()
}

const family = (name: string): MethodFamily => ({ name, entries: () => entriesOf(name) })

/** Families, in the order of the catalogue. */
export const families: readonly MethodFamily[] = ['adapt', 'merge'].map(family)
