/** @file What a kept reproduction must say to count: of whatever lies in a run or in `reference/`, only this is believed. */
import { z } from 'zod'
import type { ZodType } from 'zod'
import type { DrawnPlot } from '../papers/plot.js'
import type { Verdict } from '../papers/reproduction.js'
import type { ClaimResult, MetricResult, ReproductionResult } from '../papers/result.js'

const axis = z.object({ label: z.string(), log: z.boolean().optional() })

/** JSON writes null for a number that is infinite or none. */
const numberOrNone = z
  .number()
  .nullish()
  .transform((value) => value ?? undefined)

const point = z.object({
  x: z.union([z.number(), z.string()]),
  y: numberOrNone,
  spread: numberOrNone,
})

/** The points that have a place in the plot. */
const points = z
  .array(point)
  .max(5000)
  .transform((all) => all.flatMap(({ y, ...rest }) => (y === undefined ? [] : [{ y, ...rest }])))

/** Plots with their points: as many as a page can draw. */
export const drawnPlots: ZodType<DrawnPlot[]> = z
  .array(
    z.object({
      kind: z.enum(['curve', 'bars', 'pareto', 'heatmap']),
      title: z.string(),
      x: axis,
      y: axis,
      series: z.array(z.object({ name: z.string(), points })).max(500),
    }),
  )
  .max(100)

const verdict: ZodType<Verdict> = z.enum(['holds', 'fails', 'not-shown'])

/** A claim and what became of it. */
export const claimResult: ZodType<ClaimResult> = z.object({
  text: z.string(),
  paper: z.string().optional(),
  verdict,
  mean: numberOrNone,
  spread: numberOrNone,
  unit: z.string().optional(),
  values: z
    .array(
      z
        .number()
        .nullable()
        .transform((value) => value ?? NaN),
    )
    .optional(),
  why: z.string().optional(),
})

const metricResult: ZodType<MetricResult> = z.object({
  values: z.array(z.number()),
  mean: z.number(),
  spread: z.number(),
})

/** Metrics by arm, by name. */
export const armResults: ZodType<ReproductionResult['arms']> = z.record(
  z.string(),
  z.record(z.string(), metricResult),
)

/** Seeds, all of which every arm was measured with. */
export const seeds: ZodType<number[]> = z.array(z.number().int().nonnegative()).min(1)

/** The `result` of a run of `weft reproduce`. */
export const reproductionResult: ZodType<ReproductionResult> = z.object({
  paper: z.string(),
  quick: z.boolean(),
  seeds,
  arms: armResults,
  claims: z.array(claimResult),
  plots: drawnPlots,
  seconds: z.number().nonnegative(),
})
