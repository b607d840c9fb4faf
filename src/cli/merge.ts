/** @file `weft merge`: several checkpoints into one, by a recipe of mergekit's or by a method's name. */
import { rm } from 'node:fs/promises'
import type { Explanation, MergeReport, Recipe } from '../merge/index.js'
import type { Run, RunStart } from '../runs/index.js'
import { formatBytes } from './progress.js'
import { grouped, table } from './table.js'
import { action } from './verb.js'
import type { Context, Verb } from './verb.js'

/** The recipe that the arguments are: its documents, its text where it is a file, and the output folder given. */
interface Given {
  recipes: Recipe[]
  source?: string
  out?: string
}

export const merge: Verb = {
  group: 'Checkpoints',
  ...action({
    name: 'merge',
    summary: 'merge several checkpoints into one: a mergekit recipe, or a method and models',
    arguments: [
      {
        name: 'inputs',
        summary: 'a recipe (.yaml) and perhaps the output folder; with --method: models',
        many: true,
      },
    ],
    examples: [
      'weft merge recipe.yaml --out models/merged',
      'weft merge recipe.yaml --dry-run                # what happens to every tensor',
      'weft merge recipe.yaml --out models/merged --analyse --data test.jsonl      # and what it did: see weft lab',
      'weft merge --method linear models/a models/b --weight 0.7,0.3 --out models/merged',
      'weft merge --method ties --base models/base models/a models/b --weight 1,1 -p density=0.3 --out models/merged',
    ],
    options: async () => {
      const [{ z }, { common, flag }, { methods, procedures }] = await Promise.all([
        import('zod'),
        import('./options.js'),
        import('../merge/index.js'),
      ])
      return z.object({
        out: flag(z.string().min(1).optional(), 'folder to write', { short: 'o', value: 'DIR' }),
        method: flag(
          z.enum([...methods, ...procedures].map(({ name }) => name)).optional(),
          'merge the models given, without a recipe',
          {
            value: 'NAME',
          },
        ),
        base: flag(z.string().optional(), 'base model, with --method', { value: 'MODEL' }),
        weight: flag(z.array(z.number()).optional(), "each model's weight, with --method (equal)", {
          value: 'W,W,...',
        }),
        parameters: flag(
          z.record(z.string(), z.union([z.number(), z.boolean(), z.string()])).optional(),
          'further parameters of the method, with --method',
          { short: 'p', value: 'KEY=VALUE' },
        ),
        data: flag(z.string().optional(), 'JSONL file, for a method that looks at data', { value: 'FILE' }),
        evalData: flag(z.string().optional(), 'JSONL file that such a method scores on', { value: 'FILE' }),
        dtype: common.dtype,
        seed: flag(common.seed.unwrap().optional(), 'seed of the methods that draw at random (0)', {
          value: 'N',
        }),
        maxShardSize: common.maxShardSize,
        threads: common.threads,
        analyse: flag(
          z.boolean().default(false),
          'afterwards, plot for the lab where the result lies among its models; with --data also the loss between them',
        ),
        dryRun: flag(z.boolean().default(false), 'explain what would happen to every tensor, and stop'),
        resume: common.resume,
        force: common.force,
        allowCrimes: flag(
          z.boolean().default(false),
          'merge what fits by name and shape, whatever the architectures',
        ),
        copyTokenizer: flag(z.boolean().default(true), 'do not copy tokenizer and generation settings'),
        outShardSize: flag(
          z.string().regex(sizePattern, { error: 'expected a size such as 5B or 500M' }).optional(),
          "mergekit's --max-shard-size: 5B, 500M",
          { value: 'SIZE' },
        ),
        randomSeed: flag(common.seed.unwrap().optional(), "mergekit's --seed", { value: 'N' }),
        trustRemoteCode: flag(z.boolean().default(false), 'refused: Weft runs no code from model folders'),
      })
    },
    run: async ({ arguments: { inputs }, options }, context) => {
      if (options.trustRemoteCode) await refuseCode()
      const { explainMerge, formatRecipe, mergeRecipe, procedures } = await import('../merge/index.js')
      const procedure = procedures.find(({ name }) => name === options.method)
      if (procedure) {
        const { runProcedure } = await import('./merge-procedure.js')
        return runProcedure(
          procedure,
          inputs,
          { ...options, seed: options.seed ?? options.randomSeed },
          context,
        )
      }
      if ((options.data !== undefined && !options.analyse) || options.evalData !== undefined)
        await usage(
          'UnwantedData',
          `--data: ${options.method ?? 'a recipe'} looks at no data`,
          'To plot the loss between the result and its models on them: --analyse',
        )
      const given = options.method ? await fromFlags(inputs, options) : await fromFile(inputs)
      const out = options.out ?? given.out
      const { allowCrimes, resume, force, threads } = options
      const { progress: onProgress, signal } = context
      if (options.dryRun) {
        const explanations = await explainMerge(given.recipes, { allowCrimes, threads, signal, onProgress })
        return context.result(explanations, (all) => all.map(page).join('\n\n'))
      }
      const folder = await outputOf(out, options)
      const last = given.recipes[given.recipes.length - 1]
      const about = {
        command: 'merge',
        subject: last.merge_method,
        config: { recipes: given.recipes, out: folder },
        seed: options.seed ?? options.randomSeed,
      }
      const merged = (): Promise<MergeReport> =>
        mergeRecipe(given.recipes, folder, {
          allowCrimes,
          threads,
          resume,
          overwrite: force,
          source: given.source,
          seed: options.seed ?? options.randomSeed,
          maxShardBytes: shardBytes(options.outShardSize) ?? options.maxShardSize,
          copyTokenizer: options.copyTokenizer,
          signal,
          onProgress,
        })
      const work = async (run: Run): Promise<MergeReport> => {
        const report = await merged()
        await run.artifact('recipe.yaml', given.source ?? formatRecipe(last))
        if (options.analyse) {
          const { analysed } = await import('./merge-analysis.js')
          const plots = await analysed(given.recipes, folder, options.data, context)
          await run.artifact('plots.json', JSON.stringify(plots))
        }
        return report
      }
      const report = await recorded(context, about, work)
      report.notes.forEach(context.info)
      context.result(
        report,
        ({ tensors, bytes, method }) =>
          `Merged ${grouped(tensors)} tensors by ${method}. Wrote ${folder} (${formatBytes(bytes)})`,
      )
    },
  }),
}

/** The merge as a run under `home`. One that is refused leaves none. */
const recorded = async <T>(
  { home, signal }: Context,
  about: RunStart,
  work: (run: Run) => Promise<T>,
): Promise<T> => {
  const [{ recordRun }, { exitCodes, WeftError }] = await Promise.all([
    import('../runs/index.js'),
    import('../errors.js'),
  ])
  const refusals: readonly number[] = [exitCodes.usage, exitCodes.checkpoint]
  let folder: string | undefined
  const noted = (run: Run): Promise<T> => {
    folder = run.folder
    return work(run)
  }
  try {
    return await recordRun(home, about, noted, { signal })
  } catch (error) {
    if (folder !== undefined && error instanceof WeftError && refusals.includes(error.exitCode))
      await rm(folder, { recursive: true, force: true })
    throw error
  }
}

const usage = async (code: string, message: string, hint?: string): Promise<never> => {
  const { UsageError } = await import('../errors.js')
  throw new UsageError(code, message, { hint })
}

const refuseCode = (): Promise<never> =>
  usage(
    'RemoteCode',
    '--trust-remote-code: Weft runs no code that comes with a model',
    'It merges tensors by their names, for which no code is needed: leave the flag out.',
  )

const outputOf = async (
  out: string | undefined,
  { force, resume }: { force: boolean; resume: boolean },
): Promise<string> => {
  if (out === undefined) return usage('NoOutput', 'no output folder', 'Name it: --out DIR')
  const { checkOutput } = await import('./output.js')
  const { isInterrupted } = await import('../merge/index.js')
  // What an interrupted merge left is not the folder's content: the merge itself says what to do then.
  await checkOutput(out, { force, resume: resume || (await isInterrupted(out)) })
  return out
}

const sizePattern = /^(\d+(?:\.\d+)?)([KMGB]?)$/i

/** mergekit's sizes, in bytes for all that they are said to count parameters: 5B is 5e9. */
const shardBytes = (text: string | undefined): number | undefined => {
  if (text === undefined) return undefined
  const [, number, unit = ''] = sizePattern.exec(text)!
  return Number(number) * { '': 1, K: 1e3, M: 1e6, G: 1e9, B: 1e9 }[unit.toUpperCase()]!
}

const fromFlags = async (
  models: string[],
  options: {
    method?: string
    base?: string
    weight?: number[]
    parameters?: Record<string, number | boolean | string>
    dtype?: Recipe['dtype']
  },
): Promise<Given> => {
  const { methods } = await import('../merge/index.js')
  const method = methods.find(({ name }) => name === options.method)
  const weighted = method !== undefined && 'weight' in method.perModel
  const parameters = { ...method?.unlessGiven, ...options.parameters }
  const recipe: Recipe = {
    merge_method: options.method!,
    ...(options.base === undefined ? {} : { base_model: options.base }),
    models: models.map((model, i) => ({
      model,
      ...(weighted || options.weight ? { parameters: { weight: options.weight?.[i] ?? 1 } } : {}),
    })),
    ...(Object.keys(parameters).length ? { parameters: parameters as Recipe['parameters'] } : {}),
    ...(options.dtype ? { dtype: options.dtype } : {}),
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

const fromFile = async ([file, out, ...more]: string[]): Promise<Given> => {
  if (more.length)
    await usage('TooManyArguments', `expected a recipe and a folder, found also ${more.join(' ')}`)
  const [{ readFile }, { check, parseConfig }, { recipeSchema }] = await Promise.all([
    import('node:fs/promises'),
    import('./config.js'),
    import('../merge/index.js'),
  ])
  const source = await readFile(file, 'utf8').catch((error: Error) =>
    usage(
      'NoConfig',
      `cannot read the recipe ${file}: ${error.message}`,
      'To merge models without a recipe, name a method: --method linear',
    ),
  )
  const recipes = documents(source).map((text) => {
    // As mergekit reads them.
    const config = parseConfig(text, file, { version: '1.1' })
    return check(recipeSchema, config.data ?? {}, config.place)
  })
  if (!recipes.length) await usage('BadConfig', `${file}: the recipe is empty`)
  return { recipes, source, out }
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
