/** @file Options of data and tasks: one schema for the library, the command line and YAML. */
import { z } from 'zod'
import { taskNames } from './formats.js'

/** Schema of `TaskOptions`. */
export const taskOptions = z.object({
  task: z
    .enum(taskNames)
    .optional()
    .describe('what the model is trained for or measured on (what its head is for)'),
  textColumn: z.string().min(1).optional().describe('column that holds the text, prompt or source'),
  labelColumn: z.string().min(1).optional().describe('column that holds the label, completion or target'),
  map: z.record(z.string(), z.string()).default({}).describe('other columns and the fields that they hold'),
  everyToken: z
    .boolean()
    .default(false)
    .describe('of tags: every token of a word has its tag, not the first alone'),
  overlap: z
    .number()
    .int()
    .nonnegative()
    .optional()
    .describe('of answers: tokens that windows of a long text share (128)'),
  skipMalformed: z.boolean().default(false).describe('leave out rows that are no record'),
})

/** Task that data are for, and the names of their columns. */
export type TaskOptions = z.input<typeof taskOptions>
