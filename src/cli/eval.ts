/** @file `weft eval`: how well a model does its task on data, and what that costs. */
import { UsageError } from '../errors.js'
import type { OpenedTask } from '../tasks/index.js'
import type { Evaluation } from '../train/index.js'
import { short, formatBytes } from './progress.js'
import { grouped } from './table.js'
import { action } from './verb.js'
import type { Verb } from './verb.js'
import { maxOf } from '../tensor/numbers.js'

/** What `weft eval --json` prints. */
export interface EvaluationReport extends Evaluation {
  model: string
  adapter?: string
  data: string
  /** Bytes: the most that the process has held. */
  peakMemory: number
}

export const evaluation: Verb = {
  group: 'Use',
  ...action({
    name: 'eval',
    summary:
      'loss on data and the measures of the task: perplexity, accuracy, F1, exact match; speed and memory',
    arguments: [
      { name: 'model', summary: 'folder or hub id of a model, or folder of an adapter', names: 'model' },
    ],
    examples: [
      'weft eval models/SmolLM2-135M --data test.jsonl',
      'weft eval models/SmolLM2-135M --adapter adapters/first --data test.jsonl --json',
      'weft eval models/vit --data photos/                     # photos/CLASS/NAME.jpg',
      'weft eval models/SmolLM2-135M --data choices.jsonl      # {"question", "choices", "answer"} a line',
    ],
    options: async () => {
      const [{ z }, { flag }, { dataHelp, taskFlags }, { adapterFlags, machineFlags }] = await Promise.all([
        import('zod'),
        import('./options.js'),
        import('./training.js'),
        import('./use-options.js'),
      ])
      const count = z.number().int().positive()
      return z.object({
        data: flag(z.string().min(1), dataHelp('evaluate on'), { short: 'd', value: 'FILE', names: 'data' }),
        ...adapterFlags,
        batch: flag(count.default(8), 'rows in a batch', { short: 'b' }),
        batches: flag(count.optional(), 'at most so many batches (all)'),
        length: flag(count.optional(), "longest row in tokens (512, or the model's own limit)"),
        packing: flag(z.boolean().default(false), 'lay documents end to end instead of padding each'),
        ...taskFlags,
        ...machineFlags,
      })
    },
    run: async ({ arguments: { model: folder }, options }, context) => {
      const [{ openForUse }, { openTask }, { peakMemory }, { evaluate }] = await Promise.all([
        import('./open-model.js'),
        import('../tasks/index.js'),
        import('./engine.js'),
        import('../train/index.js'),
      ])
      const { data: file, adapter, batch, batches, length, packing } = options
      const opened = await openForUse(folder, options, context)
      const { model, checkpoint } = opened
      await using _open = checkpoint
      const { task, textColumn, labelColumn, map, skipMalformed, everyToken, overlap } = options
      const { signal, progress, info } = context
      const columns = { task, textColumn, labelColumn, map, skipMalformed, everyToken, overlap }
      const hooks = { signal, onProgress: progress, onWarning: info }
      const openedTask = await openTask(model.checkpoint, {
        data: file,
        ...columns,
        batch,
        length,
        packing,
        steps: 0,
        ...hooks,
      })
      checkNamed(folder, openedTask)
      const tokenizer = openedTask.task === 'image' ? undefined : await opened.tokenizer()
      const rows = { batch, batches, length, packing, tokenizer, signal, onProgress: progress }
      const measured = await evaluate(model, openedTask.data, rows)
      signal.throwIfAborted()
      const report: EvaluationReport = {
        model: folder,
        adapter,
        data: file,
        ...measured,
        peakMemory: peakMemory(),
      }
      context.result(report, page)
    },
  }),
}

/** Throws UsageError where neither the model nor all of the data say which class has which number. */
const checkNamed = (folder: string, { config }: OpenedTask): void => {
  const names = Object.values((config?.id2label ?? {}) as Record<string, string>)
  if (!names.some((name) => /^LABEL_\d+$/.test(name))) return
  throw new UsageError(
    'UnnamedClasses',
    `${folder}: it does not name its classes, and the data have not all of them`,
    {
      hint: 'Give labels as numbers, or name the classes in config.json (id2label).',
    },
  )
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`

const page = (report: EvaluationReport): string => {
  const { loss, perplexity, labels, tokensPerSecond, peakMemory } = report
  const shares: [string, number | undefined][] = [
    ['accuracy', report.accuracy],
    ['accuracy, per token', report.accuracyPerToken ?? report.perTokenAccuracy],
    ['F1, mean over classes', report.f1],
    ['F1 of entities', report.entityF1],
    ['exact match', report.exactMatch],
    ['F1 of words', report.wordF1],
    ['image recall at 1', report.imageRecall],
    ['text recall at 1', report.textRecall],
    ['image recall at 5', report.imageRecall5],
    ['text recall at 5', report.textRecall5],
  ]
  const known = shares.flatMap(([name, share]): [string, string][] =>
    share === undefined ? [] : [[name, percent(share)]],
  )
  const rows: [string, string][] = [
    ['loss', `${short(loss)} over ${grouped(labels)} ${perplexity === undefined ? 'records' : 'tokens'}`],
    ...(perplexity === undefined ? [] : [['perplexity', short(perplexity)] as [string, string]]),
    ...known,
    ['speed', `${short(tokensPerSecond)} ${perplexity === undefined ? 'inputs' : 'tokens'}/s`],
    ['peak memory', formatBytes(peakMemory)],
  ]
  const width = maxOf(rows.map(([name]) => name.length)) + 2
  return rows.map(([name, value]) => name.padEnd(width) + value).join('\n')
}
