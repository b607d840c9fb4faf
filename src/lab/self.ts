/** @file Starting this program again: arguments for `node`, from the built files or, under a loader, from the sources. */
import { createRequire } from 'node:module'
import { fileURLToPath, pathToFileURL } from 'node:url'

const source = import.meta.url.endsWith('.ts')

/** What `node` needs before the path of a module of ours. */
export const loader = (): string[] =>
  source ? ['--import', pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href] : []

/** The file of the module `name` (`../cli/main`), relative to this folder. */
export const moduleFile = (name: string): string =>
  fileURLToPath(new URL(`${name}.${source ? 'ts' : 'js'}`, import.meta.url))

/** Arguments with which `node` is the `weft` command. */
export const weftCommand = (): string[] => [...loader(), moduleFile('../cli/main')]
