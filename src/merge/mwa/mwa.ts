/**
 * @file Metrics-weighted averaging (arXiv 2504.18580): the checkpoints of one run averaged with weights from its log, the
 * lower the loss or the later the step the heavier. Adapters, and models whole.
 */
import type { JsonObject } from '../../checkpoint/index.js'
import { UsageError } from '../../errors.js'
import {
  type Adapters,
  checkOneRun,
  covarianceTerm,
  isAdapter,
  labelsOf,
  openAdapters,
  writeAverage,
} from './adapters.js'
import { type Known, know, looks } from './known.js'
import { choose, scorerOf } from './penalty.js'
import { effectiveNumber, type MetricScore } from './weights.js'
import { card } from './card.js'
import { options, type MwaOptions } from './options.js'
import { type Procedure, procedure, type ProcedureContext } from '../core/procedure.js'
import { checkAlike, namesOf, writeWeighted } from '../core/averaging/weighted.js'
import { maxOf, minOf } from '../../tensor/numbers.js'

const notesOf = (weights: readonly number[], { metrics, by }: Known, score: MetricScore): string[] => {
  const positive = weights.filter((w) => w > 0)
  const ratio = maxOf(weights) / minOf(positive)
  return [
    ...(looks(score) && metrics.every((x) => x === metrics[0])
      ? [`the ${by} of all checkpoints is the same: this is a uniform average`]
      : []),
    `weights differ by a factor of ${ratio.toPrecision(3)}${positive.length < weights.length ? `, ${weights.length - positive.length} are 0` : ''}; they amount to ${effectiveNumber(weights).toPrecision(3)} of ${weights.length} checkpoints`,
  ]
}

/**
 * The checkpoints of one run averaged by their metrics, which are read from their logs (`trainer_state.json`, Weft's
 * `metrics.jsonl` in the folder or above it) or given. Of adapters (folders with adapter_config.json) the factors are
 * averaged, or their updates; models whole are streamed, a tensor at a time.
 *
 *     await (await mwa(checkpoints, { metric: 'step' })).save('adapters/averaged')
 */
export const mwa: Procedure<MwaOptions> = procedure<MwaOptions>({
  paper: card,
  summary: 'the checkpoints of one run, averaged by its log: by loss, or by step',
  base: 'optional',
  data: 'optional',
  evaluation: 'optional',
  adapters: true,
  example: { options: { values: [1, 2, 3] } },
  counts: [1, Infinity],
  options,
  async run(models, options, context) {
    checkAlike(models)
    const adapters = isAdapter(models[0]) ? await openAdapters(models) : undefined
    checkOptions(options, adapters, context)
    const known = await know(models, options)
    if (adapters && options.space === 'factors') await checkOneRun(adapters, known.order)
    const scorer =
      context.data || context.evaluation ? await scorerOf(models, adapters, options, context) : undefined
    const { weights, penalty, tried } = await choose(known, options, scorer, context)
    const lost =
      adapters?.config.peft_type === 'LORA' && options.space === 'factors'
        ? await covarianceTerm(adapters, weights)
        : undefined
    const names = namesOf(models, context.names)
    const report: JsonObject = {
      metric: options.metric,
      score: options.score,
      ...(penalty === undefined ? {} : { penalty }),
      ...(tried ? { tried: tried.map((one) => ({ ...one })) } : {}),
      checkpoints: names.map((checkpoint, i) => ({
        checkpoint,
        ...(known.steps ? { step: known.steps[i] } : {}),
        ...(looks(options.score) ? { [known.by === 'loss' ? 'loss' : 'metric']: known.metrics[i] } : {}),
        weight: weights[i],
        ...(known.sources[i] === undefined ? {} : { source: known.sources[i] }),
      })),
      effective: effectiveNumber(weights),
      ...(lost === undefined ? {} : { covarianceTerm: lost }),
    }
    return {
      report,
      notes: [
        ...notesOf(weights, known, options.score),
        ...(lost !== undefined && lost > 0.1
          ? [
              `averaging factors leaves out ${(100 * lost).toFixed(0)} % of the update's norm: space=delta averages the updates`,
            ]
          : []),
      ],
      async save(folder) {
        const used = [...weights.keys()].filter((i) => weights[i] > 0)
        const chosen = used.map((i) => models[i])
        const shares = used.map((i) => weights[i])
        if (!adapters)
          return writeWeighted(chosen, shares, folder, { title: 'mwa', names: used.map((i) => names[i]) })
        const told = labelsOf(chosen).map((name, i) => [name, shares[i]])
        await writeAverage({ ...adapters, models: chosen }, shares, folder, {
          space: options.space,
          rank: options.rank,
          metadata: { 'weft.averaged': JSON.stringify(Object.fromEntries(told)) },
        })
      },
    }
  },
})

/** Throws UsageError for options that do not go together. */
const checkOptions = (
  { space, rank, penalty }: MwaOptions,
  adapters: Adapters | undefined,
  { data, evaluation }: ProcedureContext,
): void => {
  if (!adapters && space === 'delta')
    throw new UsageError('BadOption', 'space=delta is for adapters; these are models, whose average is exact')
  if (rank !== undefined && space !== 'delta')
    throw new UsageError('BadOption', 'rank goes with space=delta: factors keep the rank they have')
  if (rank !== undefined && adapters && rank > Number(adapters.config.r) * adapters.models.length)
    throw new UsageError(
      'BadOption',
      `rank is ${rank}; the exact average has no more than ${Number(adapters.config.r) * adapters.models.length}`,
    )
  if (space === 'delta' && penalty === undefined && (data || evaluation))
    throw new UsageError('BadOption', 'space=delta: the penalty cannot be chosen by data', {
      hint: 'Choose it with space=factors, and give it: penalty.',
    })
}
