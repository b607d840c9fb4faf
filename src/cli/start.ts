/** @file `weft start`: the main job on an embedded default, and what to try next. */
import { join } from 'node:path'
import type { Run } from '../runs/index.js'
import type { MainJob, Sample } from './main-job.js'
import { formatTime, short } from './progress.js'
import { table } from './table.js'
import { action } from './verb.js'
import type { Verb } from './verb.js'

export const start: Verb = {
  group: 'Start',
  ...action({
    name: 'start',
    summary: 'the main job on an embedded default: make a small Llama, adapt it, merge it',
    arguments: [],
    examples: ['weft start', 'weft start --out runs/other --seed 1'],
    options: async () => {
      const [{ z }, { common, flag }] = await Promise.all([import('zod'), import('./options.js')])
      return z.object({
        out: flag(z.string().min(1).optional(), 'folder to write (runs/start)', { short: 'o', value: 'DIR' }),
        quick: flag(z.boolean().default(false), 'a few steps, to see that everything works'),
        seed: common.seed,
        force: common.force,
        device: common.device,
        threads: common.threads,
      })
    },
    run: async ({ options }, context) => {
      const [{ checkOutput }, { mainJob }, { recordRun }] = await Promise.all([
        import('./output.js'),
        import('./main-job.js'),
        import('../runs/index.js'),
      ])
      const out = options.out ?? join(context.home, 'start')
      // The default folder holds nothing but what an earlier start wrote under the same names.
      await checkOutput(out, { force: options.force || options.out === undefined })
      const { progress, signal, info: say, env } = context
      const { seed, quick } = options
      const work = (run: Run): Promise<MainJob> =>
        mainJob(out, {
          seed,
          quick,
          progress,
          signal,
          say,
          log: (series, step, v) => run.log(v, { series, step }),
        })
      const about = {
        command: 'start',
        subject: 'stories',
        config: { seed, quick },
        seed,
        folder: out,
        replace: true,
      }
      const job = await recordRun(context.home, about, work, { signal })
      context.result(job, () => page(job, env.npm_lifecycle_event === 'start' ? 'npx weft' : 'weft'))
    },
  }),
}

const percent = (share = 0): string => `${Math.round(100 * share)} %`

const page = (job: MainJob, weft: string): string => {
  const { base, adapter, merged } = job
  const rows = [
    ['base: stories, loss', short(base.before.loss), short(base.after.loss)],
    ['adapter: questions, loss', short(adapter.before.loss), short(adapter.after.loss)],
    ['adapter: one of four, right', percent(adapter.before.accuracy), percent(adapter.after.accuracy)],
    ['merged: questions, loss', '', short(merged.evaluation.loss)],
  ]
  return [
    '',
    table(['on unseen data', 'before', 'after'], rows),
    ...[...base.samples, ...adapter.samples].map(sampleText),
    '',
    `In ${formatTime(job.seconds)}, as Hugging Face folders:`,
    ...[base, adapter, merged].map(({ folder }) => `  ${folder}`),
    '',
    'Look closer:',
    ...commandsFor(job).map((command) => `  ${weft} ${command}`),
    '',
    'Then your own model (see: weft --help):',
    ...ownCommands.map((command) => `  ${weft} ${command}`),
  ].join('\n')
}

const sampleText = ({ prompt, before, after }: Sample): string => {
  const line = (label: string, text: string): string => `  ${label}  ${text.trim().replaceAll('\n', ' ')}`
  return ['', prompt, line('before', before), line('after ', after)].join('\n')
}

/** What can be run at once on the folders that were written. */
const commandsFor = ({ base, adapter, merged, data }: MainJob): string[] => [
  `inspect ${merged.folder}`,
  `generate ${base.folder} --prompt 'Anna buys' --temperature 0.7`,
  `eval ${base.folder} --adapter ${adapter.folder} --data ${data.choices}`,
  `fold ${base.folder} ${adapter.folder} --out ${merged.folder}-again`,
  `adapt lora ${base.folder} --data ${data.questions} --epochs 1 --out ${adapter.folder}-again`,
]

const ownCommands = [
  'pull HuggingFaceTB/SmolLM2-135M',
  'adapt lora HuggingFaceTB/SmolLM2-135M --data train.jsonl --out adapters/first',
  "generate HuggingFaceTB/SmolLM2-135M --adapter adapters/first --prompt 'Once upon'",
  'fold HuggingFaceTB/SmolLM2-135M adapters/first --out models/first',
]
