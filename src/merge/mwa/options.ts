/** @file The options of `mwa`: the one source of the library's, the command line's and the YAML's. */
import { z } from 'zod'
import { scores } from './weights.js'

const listOption = (what: string) =>
  z
    .union([z.string(), z.number(), z.array(z.number())])
    .optional()
    .describe(`${what}, with commas between`)

export const options = z.strictObject({
  metric: z
    .enum(['loss', 'evaluation', 'step'])
    .default('loss')
    .describe('what weighs: loss, evaluation, step'),
  score: z
    .enum(scores)
    .default('power')
    .describe(`how it weighs: ${scores.join(', ')}`),
  penalty: z.number().optional().describe('how sharply: 0 is uniform (1; with data, the best of several)'),
  decay: z.number().default(0.8).describe('of score=ema'),
  values: listOption('the metrics of the checkpoints'),
  steps: listOption('the steps of the checkpoints'),
  space: z
    .enum(['factors', 'delta'])
    .default('factors')
    .describe('of adapters: average the factors, or the updates exactly (delta)'),
  rank: z.number().int().positive().optional().describe('with space=delta: the best adapter of this rank'),
  batch: z.number().int().positive().default(8).describe('rows in a batch of text'),
})

/** Options of `mwa`, all but those that may be left open with defaults. */
export type MwaOptions = Readonly<z.output<typeof options>>
