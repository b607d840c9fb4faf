/** @file The options of PLeaS. */
import { z } from 'zod'

export const options = z.strictObject({
  budget: z
    .number()
    .min(1)
    .max(2)
    .default(1)
    .describe('multiplications of the merged model, in those of one model: 1 to 2'),
  ratio: z.number().min(0).max(1).optional().describe('share of units that stay apart, in place of a budget'),
  gains: z
    .record(z.string(), z.number())
    .optional()
    .describe(
      'what un-merging each group gains, by its name: the budget goes to those that gain most (library only)',
    ),
  match: z
    .enum(['activations', 'weights', 'none'])
    .optional()
    .describe('what units are matched by (activations where there are data, else weights)'),
  leastSquares: z.boolean().optional().describe('solve the layers (where there are data)'),
  rows: z
    .enum(['averaged', 'stacked'])
    .default('averaged')
    .describe(
      "averaged: merged units learn the average of both models' activations; stacked: each in turn (RegMean)",
    ),
  ridge: z.number().min(0).default(1e-4).describe('pull towards the permuted weights, relative to X^T X'),
  batches: z.number().int().positive().default(100).describe('most batches to look at'),
  batch: z.number().int().positive().default(32).describe('rows of text in a batch'),
  length: z.number().int().positive().optional().describe('longest row of text in tokens'),
  within: z
    .enum(['none', 'values', 'all'])
    .optional()
    .describe('dimensions inside heads to permute (all; values under rotary positions)'),
  residual: z
    .boolean()
    .default(false)
    .describe('also widen a residual stream that a layer norm or RMS norm spans: no longer exact there'),
  head: z
    .enum(['average', 'first', 'second'])
    .optional()
    .describe("whose head: the average of both, or one model's own (needed where labels differ)"),
})

/** Options of `pleas`, all but those that may be left open with defaults. */
export type PleasOptions = Readonly<z.output<typeof options>>
