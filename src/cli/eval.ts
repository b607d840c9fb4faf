/** @file `weft eval`: how well a model predicts a JSONL file, and what that costs. */
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
    summary: 'loss and perplexity on a JSONL file; accuracy on multiple choice; speed and memory',
    arguments: [
      { name: 'model', summary: 'folder or hub id of a model, or folder of an adapter', names: 'model' },
    ],
    examples: [
      'weft eval models/SmolLM2-135M --data test.jsonl',
      'weft eval models/SmolLM2-135M --adapter adapters/first --data test.jsonl --json',
      'weft eval models/SmolLM2-135M --data choices.jsonl      # {"question", "choices", "answer"} a line',
    ],
    options: async () => {
      const [{ z }, { common, flag }] = await Promise.all([import('zod'), import('./options.js')])
      const count = z.number().int().positive()
      return z.object({
        data: flag(z.string().min(1), 'JSONL file to evaluate on', {
          short: 'd',
          value: 'FILE',
          names: 'input',
        }),
        adapter: flag(z.string().optional(), 'folder of an adapter to put on the model', { value: 'DIR' }),
        batch: flag(count.default(8), 'rows in a batch', { short: 'b' }),
        batches: flag(count.optional(), 'at most so many batches (all)'),
        length: flag(count.optional(), "longest row in tokens (512, or the model's own limit)"),
        packing: flag(z.boolean().default(false), 'lay documents end to end instead of padding each'),
        skipMalformed: flag(z.boolean().default(false), 'leave out lines that are no record'),
        anyBase: flag(z.boolean().default(false), 'put the adapter also on another base than its own', {
          when: [{ adapter: 'given' }],
        }),
        strict: common.strict,
        device: common.device,
        threads: common.threads,
      })
    },
    run: async ({ arguments: { model: folder }, options }, context) => {
      const [{ openForUse }, { checkCausal, openData }, { peakMemory }, { evaluate }] = await Promise.all([
        import('./open-model.js'),
        import('./training.js'),
        import('./engine.js'),
        import('../train/index.js'),
      ])
      const { data: file, adapter, batch, batches, length, packing } = options
      const opened = await openForUse(folder, options, context)
      const { model, checkpoint } = opened
      await using _open = checkpoint
      checkCausal(model)
      const data = await openData(file, options.skipMalformed, context)
      const { signal, progress } = context
      const tokenizer = await opened.tokenizer()
      const rows = { batch, batches, length, packing, tokenizer, signal, onProgress: progress }
      const found = await evaluate(model, data, rows)
      signal.throwIfAborted()
      const report: EvaluationReport = {
        model: folder,
        adapter,
        data: file,
        ...found,
        peakMemory: peakMemory(),
      }
      context.result(report, page)
    },
  }),
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`

const page = (report: EvaluationReport): string => {
  const { loss, perplexity, labels, accuracy, accuracyPerToken, tokensPerSecond, peakMemory } = report
  const rows: [string, string][] = [
    ['loss', `${short(loss)} over ${grouped(labels)} tokens`],
    ['perplexity', short(perplexity)],
    ...(accuracy === undefined ? [] : [['accuracy', percent(accuracy)] as [string, string]]),
    ...(accuracyPerToken === undefined
      ? []
      : [['accuracy, per token', percent(accuracyPerToken)] as [string, string]]),
    ['speed', `${short(tokensPerSecond)} tokens/s`],
    ['peak memory', formatBytes(peakMemory)],
  ]
  const width = maxOf(rows.map(([name]) => name.length)) + 2
  return rows.map(([name, value]) => name.padEnd(width) + value).join('\n')
}
