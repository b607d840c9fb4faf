/** @file `weft merge --method NAME` where the method looks at data, searches, aligns or trains. */
import { z } from 'zod'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Checkpoint, JsonObject } from '../checkpoint/index.js'
import { adapterNames, formatJson, readAdapter } from '../checkpoint/index.js'
import { nearest, UsageError } from '../errors.js'
import type { Merged, Procedure } from '../merge/index.js'
import { closeAll, openSources } from '../merge/core/recipe/sources.js'
import { recordRun, runFiles } from '../runs/index.js'
import { checkOutput, saveInto } from './output.js'
import { openData } from './training.js'
import type { Context } from './verb.js'

/** What the flags of `weft merge` say to a procedure. */
export interface ProcedureFlags {
  readonly out?: string
  readonly base?: string
  readonly data?: string
  readonly evalData?: string
  readonly parameters?: Readonly<Record<string, number | boolean | string>>
  readonly seed?: number
  readonly force: boolean
  readonly dryRun: boolean
}

/** The procedure's own options from `-p KEY=VALUE`. Throws UsageError for a key that it has not. */
const ownOptions = (
  { name, options }: Procedure<never>,
  given: ProcedureFlags['parameters'] = {},
): object => {
  for (const key of Object.keys(given))
    if (!(key in options.shape))
      throw new UsageError('BadOption', `--method ${name}: -p ${key}: it has no such option`, {
        hint: `Nearest: ${nearest(key, Object.keys(options.shape)).join(', ')}. ${described(options)}`,
      })
  return given
}

const described = (options: z.ZodObject): string =>
  `Its options: ${Object.entries(options.shape)
    .map(([key, schema]) => `${key} (${(schema as z.ZodType).description ?? ''})`)
    .join('; ')}.`

/** Merges `inputs` and writes the folder `out`, with the procedure's findings in merge-report.json. */
export const runProcedure = async (
  procedure: Procedure<never>,
  inputs: readonly string[],
  flags: ProcedureFlags,
  context: Context,
): Promise<void> => {
  const { out, base, data, evalData, seed, force, dryRun } = flags
  const own = ownOptions(procedure, flags.parameters)
  if (out === undefined && !dryRun)
    throw new UsageError('NoOutput', 'no output folder', { hint: 'Name it: --out DIR' })
  if (out !== undefined) await checkOutput(out, { force })
  const { signal, progress } = context
  const opened = new Map<string, Checkpoint>()
  const work = out === undefined ? await mkdtemp(join(tmpdir(), 'weft-merge-')) : join(out, '.sources')
  try {
    for (const name of procedure.adapters ? inputs : [])
      if ((await adapterNames(name)).includes('default')) opened.set(name, (await readAdapter(name)).tensors)
    const plain = inputs.filter((name) => !opened.has(name))
    const recipe = {
      merge_method: procedure.name,
      base_model: base,
      models: plain.map((model) => ({ model })),
    }
    for (const [name, checkpoint] of await openSources(recipe, { work })) opened.set(name, checkpoint)
    const given = {
      ...own,
      names: inputs,
      base: base === undefined ? undefined : opened.get(base),
      data: data === undefined ? undefined : await openData(data, false, context),
      evaluation: evalData === undefined ? undefined : await openData(evalData, false, context),
      ...{ seed, signal, onProgress: progress },
    }
    if (dryRun)
      return context.result({ method: procedure.name, models: inputs, base, options: own }, planText)
    const models = inputs.map((name) => opened.get(name)!)
    const config = { method: procedure.name, models: inputs, base, data, options: own, out }
    const start = { command: 'merge', subject: procedure.name, config, seed }
    const merged = await recordRun(
      context.home,
      start,
      async (run): Promise<Merged> => {
        const result = await procedure(models, given as never)
        await saveInto(out!, async (fresh) => {
          await result.save(fresh)
          await writeFile(join(fresh, 'merge-report.json'), formatJson(result.report))
        })
        await run.artifact('merge-report.json', formatJson(result.report))
        if (result.plots?.length) await run.artifact(runFiles.plots, JSON.stringify(result.plots))
        return result
      },
      { signal },
    )
    merged.notes.forEach(context.info)
    context.result(
      { folder: out, method: procedure.name, ...merged.report } as JsonObject,
      () => `Merged ${inputs.length} models by ${procedure.name}. Wrote ${out}`,
    )
  } finally {
    await closeAll(opened)
    await rm(work, { recursive: true, force: true })
  }
}

const planText = ({ method, models }: { method: string; models: readonly string[] }): string =>
  `Would merge ${models.length} models by ${method}: the models open, and the options are good.`
