/**
 * @file Full reproductions kept in `reference/`, one file a paper: they decide states and verdicts wherever nobody has run
 * the experiment, and are part of the package.
 */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import type { ZodType } from 'zod'
import { writeFileAtomic } from '../checkpoint/atomic.js'
import { UsageError } from '../errors.js'
import type { Paper } from '../papers/card.js'
import type { ReproductionResult } from '../papers/result.js'
import { FileRefused, readRecord, time } from '../runs/index.js'
import type { LeftOut, StoredRun } from '../runs/index.js'
import type { Outcome } from './outcome.js'
import { armResults, claimResult, seeds } from './schemas.js'

/** The folder with `src/` or `dist/`, `reference/` and package.json. */
const root = fileURLToPath(new URL('../../', import.meta.url))

/** Folder of the references. */
export const referenceFolder: string = join(root, 'reference')

/** Contents of `reference/ID.json`: a full reproduction without its plots, and what it was made with. */
export interface Reference extends Omit<ReproductionResult, 'quick' | 'plots'> {
  /** When it ended: ISO 8601. */
  readonly at: string
  /** Commit of the repository, with `+` where files differed from it. */
  readonly commit?: string
  /** Hash of the code that decides it; see `codeOf`. */
  readonly code: string
  /** The options of `weft reproduce` that it was run with. */
  readonly options: { readonly [name: string]: unknown }
  readonly versions: { readonly [name: string]: string }
}

const reference: ZodType<Reference> = z.object({
  paper: z.string(),
  at: time,
  commit: z.string().optional(),
  code: z.string().regex(/^sha256:[0-9a-f]{64}$/),
  options: z.record(z.string(), z.unknown()),
  versions: z.record(z.string(), z.string()),
  seeds,
  seconds: z.number().nonnegative(),
  arms: armResults,
  claims: z.array(claimResult).min(1),
})

/**
 * The full reproduction of `id` that is kept in `folder`. `leftOut` hears of a file that cannot be used. Throws
 * Error where the file system fails otherwise.
 */
export const readReference = async (
  folder: string,
  id: string,
  leftOut?: (what: LeftOut) => void,
): Promise<Outcome | undefined> => {
  const name = `${id}.json`
  try {
    const kept = await readRecord(folder, name, reference)
    if (kept === undefined) return undefined
    const { at, paper, arms, claims, seconds } = kept
    if (paper !== id) throw new FileRefused('BadRecord', `${name}: paper: ${paper} is not ${id}`)
    return { at, result: { paper, quick: false, seeds: kept.seeds, arms, claims, plots: [], seconds } }
  } catch (error) {
    if (!(error instanceof FileRefused)) throw error
    leftOut?.({ path: `reference/${name}`, reason: error.message })
    return undefined
  }
}

/** Throws UsageError where there are no sources whose reproduction could be kept: in an installed package. */
export const checkSources = ({ id, family }: Paper, folder: string = root): void => {
  if (existsSync(join(folder, 'src', family, id))) return
  throw new UsageError('NoSources', `--reference: there is no src/${family}/${id} in ${folder}`, {
    hint: 'References are kept with the sources: run it in a clone of the repository.',
  })
}

/** Keeps a full reproduction and the run that it was made in as `ID.json` in `folder`, whole or not at all. Returns the path. */
export const writeReference = async (
  paper: Paper,
  result: ReproductionResult,
  run: StoredRun,
  folder: string = referenceFolder,
): Promise<string> => {
  const { quick: _, plots: __, seeds, seconds, arms, claims } = result
  const { seeds: asked, quick: ___, ...options } = run.config
  const kept: Reference = {
    paper: paper.id,
    at: run.ended ?? run.started,
    ...(run.commit === undefined ? {} : { commit: run.commit }),
    code: await codeOf(paper),
    options: asked === null ? options : { seeds: asked, ...options },
    versions: run.versions,
    seeds,
    seconds,
    arms,
    claims,
  }
  const path = join(folder, `${paper.id}.json`)
  await writeFileAtomic(path, `${JSON.stringify(kept, null, 2)}\n`)
  return path
}

/**
 * Hash of the code that decides a reproduction: every file of the method's folder but tests, and what they import of
 * their family. What lies below the families is told by the commit.
 */
export const codeOf = async ({ id, family }: Paper, folder: string = root): Promise<string> => {
  const home = join(folder, 'src', family)
  const names = await readdir(join(home, id), { recursive: true })
  const files = new Set(names.filter(isCode).map((name) => join(home, id, name)))
  const hash = createHash('sha256')
  for (const file of files) for (const imported of await importsOf(file, home)) files.add(imported)
  for (const file of [...files].sort()) {
    hash.update(`${relative(home, file).split(sep).join('/')}\0`)
    hash.update(await readFile(file))
  }
  return `sha256:${hash.digest('hex')}`
}

const isCode = (name: string): boolean => /\.ts$/.test(name) && !/\.test\.ts$/.test(name)

/** The files under `home` that the module `file` names, by import of any kind. */
const importsOf = async (file: string, home: string): Promise<string[]> => {
  const text = await readFile(file, 'utf8')
  const names = [...text.matchAll(/(?:from|import\()\s*'(\.[^']+)\.js'/g)].map(([, name]) => name)
  return names
    .map((name) => resolve(dirname(file), `${name}.ts`))
    .filter((path) => path.startsWith(home + sep) && existsSync(path))
}
