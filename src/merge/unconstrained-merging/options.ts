/** @file The options of `unconstrainedMerging`: the one source of the library's, the command line's and the YAML's. */
import { z } from 'zod'
import { operators } from './genome.js'

const share = z.number().min(0).max(1)
const whole = z.number().int().positive()

export const options = z.strictObject({
  operator: z.enum(operators).default('task_arithmetic').describe('what the searched coefficients belong to'),
  granularity: z
    .number()
    .int()
    .nonnegative()
    .default(1)
    .describe('blocks that share coefficients; 0: one set for the whole model'),
  evaluations: whole.default(150).describe('merged models that the search may score'),
  start: z.enum(['uniform', 'grid', 'coarse']).default('grid').describe('where the search begins'),
  step: z.number().positive().optional().describe('first standard deviation of the search (1/6)'),
  negative: z.boolean().default(false).describe('let weights be negative'),
  lambda: z.number().default(1).describe('of ties: factor of the merged update'),
  score: z.enum(['loss', 'accuracy']).default('loss').describe('what candidates are scored by'),
  labels: share.default(0.9).describe('of fusion: the share of the labels in the loss'),
  fusion: z
    .enum(['min-ce', 'average'])
    .default('min-ce')
    .describe('of fusion: how two distributions become one'),
  top: whole.default(10).describe('of fusion: tokens kept of each distribution'),
  steps: whole.optional().describe('of fusion: steps for each source (three times through the data)'),
  batch: whole.default(8).describe('rows in a batch'),
  learningRate: z.number().positive().default(2e-5).describe('of fusion'),
  combine: z
    .enum(['sce', 'search'])
    .default('sce')
    .describe('how pivots fused with several sources are merged: by variance of changes, or searched'),
})

/** Options of `unconstrainedMerging`, all but those that may be left open with defaults. */
export type UnconstrainedOptions = Readonly<z.output<typeof options>>
