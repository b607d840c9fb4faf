/** @file Running a reproduction: every arm with every seed, then a verdict for every claim. */
import { UsageError, WeftError } from '../errors.js'
import type { OnProgress } from '../progress.js'
import { draw } from '../papers/plot.js'
import type { LoggedRow, Measured } from '../papers/plot.js'
import type { MeasureContext, Reproduction, ReproductionClaim } from '../papers/reproduction.js'
import type { ClaimResult, ReproductionResult } from '../papers/result.js'
import { Sample } from '../papers/sample.js'
import type { Finding } from '../papers/sample.js'

/** How to run it. */
export interface ReproduceOptions {
  /** How many seeds: 0, 1, ... Default: the reproduction's own; 2 with `quick`. */
  readonly seeds?: number
  /** Seconds instead of the full form. Default false. */
  readonly quick?: boolean
  /** Aborts between two arms. */
  readonly signal?: AbortSignal
  /** Hears each arm that is measured. */
  readonly onProgress?: OnProgress
  /** Receives what the arms log, and each arm's metrics at its end. */
  readonly log?: (values: { readonly [name: string]: number }, at: { series: string; step?: number }) => void
}

/** Measures every arm with every seed and judges the claims. Aborting `signal` throws its reason between two arms. */
export const reproduce = async (
  experiment: Reproduction,
  { seeds, quick = false, signal, onProgress, log }: ReproduceOptions = {},
): Promise<ReproductionResult> => {
  const start = performance.now()
  const numbers = Array.from({ length: countOf(seeds ?? (quick ? 2 : experiment.seeds)) }, (_, i) => i)
  const total = numbers.length * experiment.arms.length
  const rows: LoggedRow[] = []
  const values = new Map<string, Record<string, number>[]>()
  const name = `reproduce ${experiment.paper.id}`
  onProgress?.({ status: 'initiate', name, done: 0, total, unit: 'arms' })
  const onceForAll = onceEach()
  for (const seed of numbers) {
    const once = onceEach()
    for (const arm of experiment.arms) {
      signal?.throwIfAborted()
      const series = `${arm}/${seed}`
      const record = (row: { readonly [name: string]: number }): void => {
        rows.push({ arm, seed, values: row })
        const { step, ...rest } = row
        log?.(rest, step === undefined ? { series } : { series, step })
      }
      const metrics = await experiment.measure(arm, { seed, quick, signal, log: record, once, onceForAll })
      checkMetrics(experiment, arm, metrics)
      log?.(metrics, { series })
      values.set(arm, [...(values.get(arm) ?? []), metrics])
      const done = [...values.values()].reduce((n, list) => n + list.length, 0)
      onProgress?.({ status: 'progress', name: `${name} ${arm}`, done, total, unit: 'arms', metrics })
    }
  }
  onProgress?.({ status: 'done', name, done: total, total, unit: 'arms' })
  const measured = samples(values)
  return {
    paper: experiment.paper.id,
    quick,
    seeds: numbers,
    arms: mapValues(measured, (metrics) =>
      mapValues(metrics, ({ values, mean, spread }) => ({ values, mean, spread })),
    ),
    claims: experiment.claims.map((claim) => judge(claim, measured, quick)),
    plots: experiment.plots.map((plot) => draw(plot, measured, rows)),
    seconds: Math.round(performance.now() - start) / 1000,
  }
}

/** Makes each named value once, as `MeasureContext.once` says; what failed is made anew. */
const onceEach = (): MeasureContext['once'] => {
  const made = new Map<string, Promise<unknown>>()
  return async <T>(name: string, make: () => Promise<T>): Promise<T> => {
    const value = (made.get(name) as Promise<T> | undefined) ?? make()
    made.set(name, value)
    value.catch(() => made.delete(name))
    return value
  }
}

const countOf = (seeds: number): number => {
  if (Number.isInteger(seeds) && seeds > 0) return seeds
  throw new UsageError('BadOption', `seeds: ${seeds}; expected a positive whole number`)
}

const checkMetrics = (
  { paper }: Reproduction,
  arm: string,
  metrics: { readonly [name: string]: number },
): void => {
  const bad = Object.entries(metrics).find(([, value]) => !Number.isFinite(value))
  if (bad)
    throw new WeftError(
      'NotMeasured',
      `${paper.id}: arm ${arm} gave ${bad[0]} = ${bad[1]}; expected a number`,
    )
}

const mapValues = <T, U>(object: { readonly [key: string]: T }, f: (value: T) => U): Record<string, U> =>
  Object.fromEntries(Object.entries(object).map(([key, value]) => [key, f(value)]))

const samples = (values: ReadonlyMap<string, readonly Record<string, number>[]>): Measured =>
  Object.fromEntries(
    [...values].map(([arm, seeds]) => [
      arm,
      Object.fromEntries(
        Object.keys(seeds[0]).map((name) => [
          name,
          new Sample(
            arm,
            seeds.map((s) => s[name]),
          ),
        ]),
      ),
    ]),
  )

/** The verdict on one claim. */
export const judge = (claim: ReproductionClaim, measured: Measured, quick: boolean): ClaimResult => {
  const { text, paper, why, test, fullOnly } = claim
  const said = { text, ...(paper === undefined ? {} : { paper }), ...(why === undefined ? {} : { why }) }
  if (!test) return { ...said, verdict: 'not-shown' }
  const mayLack = quick && fullOnly === true
  const finding = decide(text, test, measured, mayLack)
  if (!finding) return { ...said, verdict: 'not-shown' }
  const { holds, mean, spread, unit, values } = finding
  const open = !holds && mayLack
  const measure = { mean, spread, unit, ...(values === undefined ? {} : { values }) }
  return { ...said, ...measure, verdict: holds ? 'holds' : open ? 'not-shown' : 'fails' }
}

/**
 * A claim about an arm or a metric that was not measured is a mistake in the reproduction, and told as one, unless the
 * metric `mayLack`: a quick run need not measure what full claims are about.
 */
const decide = (
  text: string,
  test: (measured: Measured) => Finding,
  measured: Measured,
  mayLack: boolean,
): Finding | undefined => {
  try {
    return test(measured)
  } catch (cause) {
    if (!(cause instanceof TypeError)) throw cause
    if (mayLack) return undefined
    const known = Object.entries(measured).map(
      ([arm, metrics]) => `${arm} (${Object.keys(metrics).join(', ')})`,
    )
    throw new WeftError('BrokenClaim', `claim ${JSON.stringify(text)}: ${cause.message}`, {
      hint: `Measured: ${known.join('; ')}`,
      cause,
    })
  }
}
