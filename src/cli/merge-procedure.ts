/** @file `weft merge --method NAME` where the method looks at data, searches, aligns or trains. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Checkpoint, JsonObject } from '../checkpoint/index.js'
import { adapterNames, formatJson, readAdapter } from '../checkpoint/index.js'
import { UsageError } from '../errors.js'
import type { Merged, Procedure, ProcedureContext } from '../merge/index.js'
import { checkGiven } from '../merge/index.js'
import { closeAll, openSources } from '../merge/index.js'
import { recordRun, type Run, runFiles } from '../runs/index.js'
import type { MergeFlags } from './merge-options.js'
import { checkOutput, saveInto } from './output.js'
import { openData } from './training.js'
import type { Context } from './verb.js'

/** Models and adapters of one call, by the name they were given. Close them when done. */
type Opened = Map<string, Checkpoint>

const openInputs = async (
  procedure: Procedure<never>,
  inputs: readonly string[],
  { base, strict }: MergeFlags,
  work: string,
  { info }: Context,
): Promise<Opened> => {
  const opened: Opened = new Map()
  try {
    for (const name of procedure.adapters ? inputs : [])
      if ((await adapterNames(name)).includes('default')) opened.set(name, (await readAdapter(name)).tensors)
    const plain = inputs.filter((name) => !opened.has(name))
    const models = plain.map((model) => ({ model }))
    const recipe = { merge_method: procedure.name, base_model: base, models }
    for (const [name, checkpoint] of await openSources(recipe, { work, strict, onWarning: info }))
      opened.set(name, checkpoint)
    return opened
  } catch (error) {
    await closeAll(opened)
    throw error
  }
}

/** Throws UsageError for what needs no model to be refused: the number of models, a missing base, data or output. */
const checkCall = async (
  procedure: Procedure<never>,
  inputs: readonly string[],
  { out, base, data, evalData, force, dryRun, ...flags }: MergeFlags,
): Promise<void> => {
  checkGiven(procedure, inputs.length, { base, data, evaluation: evalData })
  if (out === undefined && !dryRun)
    throw new UsageError('NoOutput', 'no output folder', { hint: 'Name it: --out DIR' })
  if (out !== undefined) await checkOutput(out, { force })
  const isSplit = (flags.outShardSize ?? flags.maxShardSize) !== undefined
  for (const name of procedure.adapters && isSplit ? inputs : [])
    if ((await adapterNames(name)).includes('default'))
      throw new UsageError('UnwantedOption', `--max-shard-size: ${name} is an adapter, which is one file`, {
        hint: 'Leave it out, or give models.',
      })
}

/** Merges `inputs` and writes the folder `out`, with the procedure's findings in merge-report.json. */
export const runProcedure = async (
  procedure: Procedure<never>,
  inputs: readonly string[],
  flags: MergeFlags,
  context: Context,
): Promise<void> => {
  const { out, base, parameters: methodOptions = {} } = flags
  await checkCall(procedure, inputs, flags)
  const work = await mkdtemp(join(tmpdir(), 'weft-merge-'))
  let opened: Opened = new Map()
  try {
    opened = await openInputs(procedure, inputs, flags, work, context)
    const handed = await givenTo(inputs, opened, flags, context)
    if (flags.dryRun)
      return context.result(
        { method: procedure.name, models: inputs, base, options: methodOptions },
        planText,
      )
    const models = inputs.map((name) => opened.get(name)!)
    const merge = (): Promise<Merged> => procedure(models, { ...methodOptions, ...handed } as never)
    const merged = await mergeInto(procedure.name, inputs, flags, merge, context)
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

/** What the procedure is given beside its own options. */
const givenTo = async (
  names: readonly string[],
  opened: Opened,
  { base, data, evalData, seed, randomSeed }: MergeFlags,
  context: Context,
): Promise<ProcedureContext> => ({
  names,
  base: base === undefined ? undefined : opened.get(base),
  data: data === undefined ? undefined : await openData(data, context),
  evaluation: evalData === undefined ? undefined : await openData(evalData, context),
  seed: seed ?? randomSeed,
  signal: context.signal,
  onProgress: context.progress,
})

/** The merge as a run, whose result is saved in the form that the flags say. */
const mergeInto = (
  method: string,
  models: readonly string[],
  flags: MergeFlags,
  merge: () => Promise<Merged>,
  { home, signal }: Context,
): Promise<Merged> => {
  const { out, base, data, parameters, seed, randomSeed, dtype, copyTokenizer } = flags
  const form = { dtype, maxShardBytes: flags.outShardSize ?? flags.maxShardSize, copyTokenizer }
  const config = { method, models, base, data, options: parameters, out }
  const start = { command: 'merge', subject: method, config, seed: seed ?? randomSeed }
  const work = async (run: Run): Promise<Merged> => {
    const merged = await merge()
    await saveInto(out!, async (fresh) => {
      await merged.save(fresh, form)
      await writeFile(join(fresh, 'merge-report.json'), formatJson(merged.report))
    })
    await run.artifact('merge-report.json', formatJson(merged.report))
    if (merged.plots?.length) await run.artifact(runFiles.plots, JSON.stringify(merged.plots))
    return merged
  }
  return recordRun(home, start, work, { signal })
}

const planText = ({ method, models }: { method: string; models: readonly string[] }): string =>
  `Would merge ${models.length} models by ${method}: the models open, and the options are good.`
