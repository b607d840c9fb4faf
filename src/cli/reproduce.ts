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
      const { quick, seeds, out } = options
      const library = await import('../catalogue/index.js')
      if (out !== undefined && ids.length > 1)
        throw new UsageError('BadUsage', `--out ${out} is one folder, but ${ids.length} papers are named`)
      const entries = await library.catalogue()
      const experiments = await Promise.all(
        ids.map((id) => library.experimentOf(library.findPaper(entries, id))),
      )
      const { home, signal, progress: onProgress } = context
      const done: Reproduced[] = []
      for (const experiment of experiments) {
        const settings = { quick, seeds, folder: out, signal, onProgress }
        const reproduced = await library.recordReproduction(home, experiment, settings)
        done.push({ ...reproduced.result, folder: reproduced.folder })
      }
      context.result(done, () => done.map((result) => report(result, widthOf(context.stdout))).join('\n\n'))
    },
  }),
}

const report = (result: Reproduced, width: number): string => {
  const { paper, quick, seeds, seconds, folder } = result
  const title = `${paper}${quick ? ', quick' : ''}: ${seeds.length} ${seeds.length === 1 ? 'seed' : 'seeds'}, ${formatTime(seconds)}`
  return [title, armTable(result, width), resultTable(result, width), `Kept in ${folder}`].join('\n\n')
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
