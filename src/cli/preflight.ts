/**
 * @file What the program looks at before a verb runs, for every verb alike and cheapest first: the device, the folder to
 * write, the files and models to read. Nothing is opened and nothing is made.
 */
import { constants } from 'node:fs'
import { access, stat } from 'node:fs/promises'
import type { ZodObject } from 'zod'
import { CheckpointError } from '../errors.js'
import { type EngineOptions, useEngine } from './engine.js'
import { kebab } from './options.js'
import { checkFolder, checkOutput } from './output.js'
import { shapeOf, styleOf } from './schema.js'
import type { Action } from './verb.js'

/** A call whose options are good by themselves. */
export interface Call {
  readonly action: Pick<Action, 'arguments' | 'keepsRun'>
  readonly schema: ZodObject
  readonly options: Readonly<Record<string, unknown>>
  /** Positional arguments by name. */
  readonly words: Readonly<Record<string, string | string[] | undefined>>
  /** Folder of the runs. */
  readonly home: string
}

const checkInput = async (flag: string, path: string): Promise<void> => {
  const refuse = (code: string, why: string, cause?: unknown): never => {
    throw new CheckpointError(code, `${path}: ${why} (${flag})`, { cause })
  }
  const info = await stat(path).catch((error: Error) => refuse('NoSuchFile', 'there is no such file', error))
  if (info.isDirectory()) refuse('UnreadableFile', 'it is a folder')
  await access(path, constants.R_OK).catch((error: Error) => refuse('UnreadableFile', error.message, error))
}

/** Data may be a file, a folder, a pattern, or a dataset of the hub. */
const checkData = async (flag: string, where: string): Promise<void> => {
  const { findData } = await import('../data/where.js')
  const place = await findData(where)
  const files = place.kind === 'rows' ? place.files : [place.folder]
  for (const file of files)
    await access(file, constants.R_OK).catch((cause: Error) => {
      throw new CheckpointError('UnreadableFile', `${file}: ${cause.message} (${flag})`, { cause })
    })
}

const keysNaming = (schema: ZodObject, kind: 'input' | 'data' | 'output'): string[] =>
  Object.entries(shapeOf(schema)).flatMap(([key, option]) => (styleOf(option).names === kind ? [key] : []))

/**
 * Throws EngineError for a device that is not here, UsageError for an output that cannot be written, and CheckpointError
 * for files and models that are missing.
 */
export const preflight = async ({ action, schema, options, words, home }: Call): Promise<void> => {
  const { device, threads } = options as EngineOptions
  await useEngine({ device, threads })
  const { force, resume } = options as { force?: boolean; resume?: boolean }
  const outputs = keysNaming(schema, 'output').map((key) => options[key])
  for (const out of outputs) if (typeof out === 'string') await checkOutput(out, { force, resume })
  if (action.keepsRun && options.out === undefined) await checkFolder(home, `runs are kept in ${home}`)
  for (const key of keysNaming(schema, 'input')) {
    const path = options[key]
    if (typeof path === 'string') await checkInput(`--${kebab(key)}`, path)
  }
  for (const key of keysNaming(schema, 'data')) {
    const where = options[key]
    if (typeof where === 'string') await checkData(`--${kebab(key)}`, where)
  }
  for (const { name, names } of action.arguments)
    if (names === 'model') await checkModels([words[name] ?? []].flat())
}

/** A model may be named with adapters on it (`base+adapter`); a folder's own name may hold a plus too. */
const checkModels = async (models: readonly string[]): Promise<void> => {
  const { resolveModel } = await import('../checkpoint/index.js')
  for (const model of models)
    await resolveModel(model).catch(async (error: unknown) => {
      const parts = model.split('+')
      if (parts.length < 2) throw error
      for (const part of parts) await resolveModel(part)
    })
}
