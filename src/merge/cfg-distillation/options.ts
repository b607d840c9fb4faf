/** @file The options of `cfgDistillation`: the one source of the library's, the command line's and the YAML's. */
import { z } from 'zod'

const whole = z.number().int().positive()

export const options = z.strictObject({
  guidance: z.number().nonnegative().default(3).describe('scale of the guidance that is learned'),
  negative: z.string().default('').describe('text in the place of the prompt that guidance leads away from'),
  diversity: z
    .number()
    .nonnegative()
    .default(15)
    .describe('weight of the diversity reward of the second student'),
  mix: z
    .number()
    .default(0.5)
    .describe('share of the second student in what is written: 0 quality, 1 variety'),
  extrapolate: z.boolean().default(false).describe('allow a mix outside 0 to 1'),
  tokens: whole.default(64).describe('new tokens of a sample'),
  steps: whole.default(200).describe('steps of each student'),
  prompts: whole.default(4).describe('prompts in a step'),
  samples: whole.default(4).describe('samples of each prompt in a step'),
  learningRate: z.number().positive().default(1e-5).describe('learning rate'),
  temperature: z.number().positive().default(1).describe('of the samples'),
  direction: z
    .enum(['student', 'teacher'])
    .default('student')
    .describe(
      'which comes first in the divergence: the student (drops what the teacher would not say) or the teacher',
    ),
})

/** Options of `cfgDistillation`, all but those that may be left open with defaults. */
export type CfgDistillationOptions = Readonly<z.output<typeof options>>
