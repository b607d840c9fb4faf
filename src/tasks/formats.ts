/** @file The tasks that there are data for. A new one is a file beside this one and a line here. */
import type { Task } from '../models/index.js'
import { answers } from './answers.js'
import { classify } from './classify.js'
import { images } from './images.js'
import { masked } from './masked.js'
import { pairs } from './pairs.js'
import { sequence } from './sequence.js'
import type { TaskFormat, TaskModel } from './task.js'
import { tokens } from './tokens.js'

/** Formats whose batches a task makes itself; causal data are records of text, of which training makes batches. */
const formats = { masked, classify, tokens, answer: answers, sequence, image: images, contrastive: pairs }

/** Names of the tasks. */
export const taskNames = [
  'causal',
  'masked',
  'classify',
  'tokens',
  'answer',
  'sequence',
  'image',
  'contrastive',
] as const satisfies readonly Task[]

/** A task that there are data for. */
export type TaskName = (typeof taskNames)[number]

/** The format of a task other than causal. */
export const formatOf = (task: Exclude<TaskName, 'causal'>, model: TaskModel): TaskFormat<unknown> =>
  formats[task](model) as TaskFormat<never> as TaskFormat<unknown>
