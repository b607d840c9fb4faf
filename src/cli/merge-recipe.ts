/** @file `weft merge` by a recipe, or by a method whose recipe the flags are. */
import { readFile } from 'node:fs/promises'
import { UsageError } from '../errors.js'
import {
  explainMerge,
  type Explanation,
  formatRecipe,
  isInterrupted,
  type MergeReport,
  mergeRecipe,
  methods,
  type Recipe,
  recipeSchema,
} from '../merge/index.js'
import { recordRun, type Run, runFiles } from '../runs/index.js'
import { check, parseConfig } from './config.js'
import type { MergeFlags } from './merge-options.js'
import { checkOutput } from './output.js'
import { formatBytes } from './progress.js'
import { grouped, table } from './table.js'
import type { Context } from './verb.js'

/** Recipe that the arguments are: its documents, its text where it is a file, and the output folder named beside it. */
interface Given {
  recipes: Recipe[]
  source?: string
  out?: string
}

/** Merges what `inputs` and the flags say, or explains it with `--dry-run`. Throws UsageError, CheckpointError. */
export const runRecipe = async (
  inputs: readonly string[],
  flags: MergeFlags,
  context: Context,
): Promise<void> => {
  const recipe = flags.method === undefined ? await fromFile(inputs, flags.out) : fromFlags(inputs, flags)
  const { progress: onProgress, signal } = context
  if (flags.dryRun) {
    const { allowCrimes, threads, strict } = flags
    const reading = { strict, onWarning: context.info }
    const options = { allowCrimes, threads, ...reading, signal, onProgress }
    const explanations = await explainMerge(recipe.recipes, options)
    return context.result(explanations, (all) => all.map(page).join('\n\n'))
  }
  const out = await outputOf(flags.out ?? recipe.out, flags)
  const last = recipe.recipes[recipe.recipes.length - 1]
  const report = await recordRun(
    context.home,
    {
      command: 'merge',
      subject: last.merge_method,
      config: { recipes: recipe.recipes, out },
      seed: flags.seed ?? flags.randomSeed,
    },
    (run) => mergeInto(run, out, recipe, flags, context),
    { signal },
  )
  report.notes.forEach(context.info)
  context.result(
    report,
    ({ tensors, bytes, method }) =>
      `Merged ${grouped(tensors)} tensors by ${method}. Wrote ${out} (${formatBytes(bytes)})`,
  )
}

const mergeInto = async (
  run: Run,
  out: string,
  { recipes, source }: Given,
  flags: MergeFlags,
  context: Context,
): Promise<MergeReport> => {
  const { progress: onProgress, signal } = context
  const { allowCrimes, threads, strict, resume, force, copyTokenizer, analyse, data } = flags
  const seed = flags.seed ?? flags.randomSeed
  const maxShardBytes = flags.outShardSize ?? flags.maxShardSize
  const report = await mergeRecipe(recipes, out, {
    ...{ allowCrimes, threads, resume, overwrite: force, source, seed, maxShardBytes, copyTokenizer },
    ...{ strict, onWarning: context.info, signal, onProgress },
  })
  await run.artifact('recipe.yaml', source ?? formatRecipe(recipes[recipes.length - 1]))
  if (analyse) {
    const { analysed } = await import('./merge-analysis.js')
    const plots = await analysed(recipes, out, data, context)
    await run.artifact(runFiles.plots, JSON.stringify(plots))
  }
  return report
}

const outputOf = async (
  out: string | undefined,
  { force, resume }: Pick<MergeFlags, 'force' | 'resume'>,
): Promise<string> => {
  if (out === undefined) throw new UsageError('NoOutput', 'no output folder', { hint: 'Name it: --out DIR' })
  // What an interrupted merge left is not the folder's content: the merge itself says what to do then.
  await checkOutput(out, { force, resume: resume || (await isInterrupted(out)) })
  return out
}

const fromFlags = (models: readonly string[], flags: MergeFlags): Given => {
  const { method, base, weight, parameters, dtype } = flags
  if (weight && weight.length !== models.length)
    throw new UsageError(
      'BadUsage',
      `--weight: ${weight.length} weights for ${models.length} models; expected one for each`,
    )
  const chosen = methods.find(({ name }) => name === method)!
  const isWeighted = 'weight' in chosen.perModel
  const settings = { ...chosen.unlessGiven, ...parameters }
  const recipe: Recipe = {
    merge_method: chosen.name,
    ...(base === undefined ? {} : { base_model: base }),
    models: models.map((model, i) => ({
      model,
      ...(isWeighted ? { parameters: { weight: weight?.[i] ?? 1 } } : {}),
    })),
    ...(Object.keys(settings).length ? { parameters: settings as Recipe['parameters'] } : {}),
    ...(dtype ? { dtype } : {}),
  }
  return { recipes: [recipe] }
}

/** The text of each document, with as many lines before it as there are in the file, so that positions are the file's. */
const documents = (text: string): string[] => {
  const lines = text.split('\n')
  const starts = [0, ...lines.flatMap((line, i) => (/^---(\s|$)/.test(line) ? [i + 1] : []))]
  return starts
    .map((start, d) => {
      const end = d + 1 < starts.length ? starts[d + 1] - 1 : lines.length
      return { start, body: lines.slice(start, end) }
    })
    .filter(({ body }) => body.some((line) => line.trim() && !line.trim().startsWith('#')))
    .map(({ start, body }) => '\n'.repeat(start) + body.join('\n'))
}

const fromFile = async (
  [file, folder, ...more]: readonly string[],
  out: string | undefined,
): Promise<Given> => {
  const surplus = out === undefined ? more : [folder ?? [], more].flat()
  if (surplus.length)
    throw new UsageError(
      'TooManyArguments',
      `expected a recipe and a folder, found also ${surplus.join(' ')}`,
      { hint: 'To merge models without a recipe, name a method: --method linear' },
    )
  const source = await readFile(file, 'utf8').catch((cause: Error) => {
    throw new UsageError('NoConfig', `cannot read the recipe ${file}: ${cause.message}`, {
      hint: 'To merge models without a recipe, name a method: --method linear',
      cause,
    })
  })
  const recipes = documents(source).map((text) => {
    // As mergekit reads them.
    const config = parseConfig(text, file, { version: '1.1' })
    return check(recipeSchema, config.data ?? {}, config.place)
  })
  if (!recipes.length) throw new UsageError('BadConfig', `${file}: the recipe is empty`)
  return { recipes, source, out: folder }
}

const shown = (value: unknown): string => (Array.isArray(value) ? value.map(short).join(',') : short(value))
const short = (value: unknown): string =>
  typeof value === 'number' ? String(Number(value.toPrecision(4))) : String(value)

const page = ({ name, method, notes, bytes, memory, tensors }: Explanation): string => {
  const head = ['tensor', 'dtype', 'shape', 'action', 'from', 'parameters']
  const rows = tensors.map((t) => [
    t.name,
    t.dtype,
    t.shape.join('x'),
    t.action,
    [...(t.base === undefined ? [] : [`${t.base} (base)`]), ...t.models.map(({ model }) => model)].join(' '),
    Object.entries(t.parameters)
      .map(([key, value]) => `${key}=${shown(value)}`)
      .join(' '),
  ])
  return [
    `Would ${name === undefined ? 'merge' : `make ${name}`} by ${method}: ${grouped(tensors.length)} tensors, ${formatBytes(bytes)}; it takes about ${formatBytes(memory)} of memory.`,
    ...notes.map((note) => `Note: ${note}`),
    '',
    table(head, rows),
  ].join('\n')
}
