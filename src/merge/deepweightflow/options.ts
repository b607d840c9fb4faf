/** @file The options of `deepweightflow`: the one source of the library's, the command line's and the YAML's. */
import { z } from 'zod'

const count = z.number().int().positive()

export const options = z.strictObject({
  samples: count.default(1).describe('how many new models; several go into folders 0, 1, ...'),
  components: z
    .union([count, z.literal('none')])
    .optional()
    .describe('principal components that the flow works in (as many as the models span); none: the weights'),
  align: z.boolean().default(true).describe('bring units into the order of the first model'),
  statistics: z.boolean().default(false).describe('let running statistics count when units are compared'),
  steps: count.default(30_000).describe('training steps of the flow'),
  batch: count.default(8).describe('points in a step'),
  learningRate: z.number().positive().default(5e-4).describe('highest learning rate of the flow'),
  width: count.default(512).describe('width of the velocity network'),
  source: z
    .number()
    .positive()
    .default(0.05)
    .describe("standard deviation of the noise that samples come from, in the points' own"),
  jitter: z.number().min(0).default(0.001).describe('noise on the way, in the same unit'),
  integrator: z.enum(['rk4', 'euler']).default('rk4').describe('how the flow is integrated'),
  points: z.number().int().min(2).default(100).describe('time points of the integration, ends included'),
  batches: count.default(100).describe('most batches for the statistics of batch norms'),
  scores: z
    .array(z.number())
    .optional()
    .describe('how good each model is, higher is better: those far below the median are told (library only)'),
})

/** Options of `deepweightflow`, all but those that may be left open with defaults. */
export type DeepWeightFlowOptions = Readonly<z.output<typeof options>>
