/** @file The options of `fusionX`: the one source of the library's, the command line's and the YAML's. */
import { z } from 'zod'

const share = z.number().min(0).max(1)
const whole = z.number().int().positive()

export const options = z.strictObject({
  self: z.boolean().default(true).describe('the target as it was is a source too'),
  labels: share.default(0.5).describe('share of the labels in the loss (published: 0.9)'),
  balance: z.number().nonnegative().default(0.05).describe('weight of the feedback loss (published: 0.5)'),
  threshold: share
    .optional()
    .describe('what the gate must give a source for it to be heard (0.75 / sources)'),
  gateLoss: z
    .enum(['gold', 'gold-masked', 'paper'])
    .default('gold')
    .describe(
      'what teaches the gate: the labels, with all sources or those that are heard; or the student, as published',
    ),
  divergence: z
    .enum(['cross-entropy', 'kl'])
    .default('cross-entropy')
    .describe('how the target is held against the fused distribution'),
  gateRate: z.number().positive().default(1e-2).describe('learning rate of the gate'),
  standardise: z.boolean().default(false).describe('the gate sees standardised log-likelihoods'),
  top: whole.default(10).describe('tokens kept of each distribution'),
  exact: z
    .boolean()
    .default(false)
    .describe('tokens of other vocabularies only where they are spelled the same'),
  steps: whole.optional().describe('steps (once through the data)'),
  batch: whole.default(8).describe('rows in a batch'),
  learningRate: z.number().positive().default(1e-5).describe('learning rate of the target'),
})

/** Options of `fusionX`, all but those that may be left open with defaults. */
export type FusionXOptions = Readonly<z.output<typeof options>>
