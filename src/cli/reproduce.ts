/** @file `weft reproduce`: a paper's experiment at small scale, its claims judged, the run kept. */
import { measuredWords } from '../papers/words.js'
import type { ReproductionResult } from '../papers/index.js'
import { UsageError } from '../errors.js'
import { widthOf, wrappedTable } from './columns.js'
import { resultTable } from './papers.js'
import { formatTime } from './progress.js'
import { action } from './verb.js'
import type { Verb } from './verb.js'

/** What one reproduction prints with `--json`. */
export interface Reproduced extends ReproductionResult {
  /** The run's folder. */
  folder: string
  /** The file in `reference/`, where it is kept there too. */
  reference?: string
}

export const reproduce: Verb = {
  group: 'Research',
  ...action({
    name: 'reproduce',
    summary: "run a paper's experiment at small scale and judge its claims",
    arguments: [{ name: 'papers', summary: 'ids of papers: weft papers lists them', many: true }],
    keepsRun: true,
    examples: [
      'weft reproduce lora --quick',
      'weft reproduce mos lift --seeds 5',
      'weft reproduce mos --reference      # keeps reference/mos.json',
      'weft reproduce lora --json | jq ".[0].claims"',
    ],
    options: async () => {
      const [{ z }, { common, flag }] = await Promise.all([import('zod'), import('./options.js')])
      return z.object({
        quick: flag(
          z.boolean().default(false),
          'in seconds: smaller, fewer seeds, verdicts in direction only',
        ),
        seeds: flag(z.number().int().positive().optional(), 'how many seeds (3; 2 when quick)', {
          value: 'N',
        }),
        reference: flag(
          z.boolean().default(false),
          'keep this full run as reference/ID.json, from which states and verdicts come (in a clone)',
        ),
        out: flag(common.out.optional(), 'folder of the run; for a single paper', {
          short: 'o',
          value: 'DIR',
          names: 'output',
        }),
        device: common.device,
        threads: common.threads,
      })
    },
    run: async ({ arguments: { papers: ids }, options }, context) => {
      const { quick, seeds, reference, out, ...engine } = options
      if (out !== undefined && ids.length > 1)
        throw new UsageError('BadUsage', `--out ${out} is one folder, but ${ids.length} papers are named`)
      if (reference && quick)
        throw new UsageError('BadUsage', '--reference keeps a full run; --quick makes none')
      const [library, { referenceFolder }, { useEngine }] = await Promise.all([
        import('../catalogue/record.js'),
        import('../catalogue/reference.js'),
        import('./engine.js'),
      ])
      const experiments = await library.findExperiments(ids)
      if (reference) for (const experiment of experiments) library.checkReference(experiment, { seeds })
      await useEngine(engine)
      const settings = {
        quick,
        seeds,
        engine,
        folder: out,
        reference: reference ? referenceFolder : undefined,
        signal: context.signal,
        onProgress: context.progress,
      }
      const done: Reproduced[] = []
      for (const experiment of experiments) {
        const { result, ...kept } = await library.recordReproduction(context.home, experiment, settings)
        done.push({ ...result, ...kept })
      }
      context.result(done, () => done.map((result) => report(result, widthOf(context.stdout))).join('\n\n'))
    },
  }),
}

const report = (result: Reproduced, width: number): string => {
  const { paper, quick, seeds, seconds, folder, reference } = result
  const title = `${paper}${quick ? ', quick' : ''}: ${seeds.length} ${seeds.length === 1 ? 'seed' : 'seeds'}, ${formatTime(seconds)}`
  const kept = `Kept in ${folder}${reference === undefined ? '' : ` and ${reference}`}`
  return [title, armTable(result, width), resultTable(result, width), kept].join('\n\n')
}

/** Mean and spread of every metric, an arm a row. */
const armTable = ({ arms }: ReproductionResult, width: number): string => {
  const metrics = [...new Set(Object.values(arms).flatMap((arm) => Object.keys(arm)))]
  const cell = (arm: ReproductionResult['arms'][string], metric: string): string =>
    metric in arm
      ? measuredWords({ text: '', verdict: 'holds', mean: arm[metric].mean, spread: arm[metric].spread })!
      : ''
  const rows = Object.entries(arms).map(([name, arm]) => [
    name,
    ...metrics.map((metric) => cell(arm, metric)),
  ])
  return wrappedTable(['arm', ...metrics], rows, width)
}
