/** @file What a run's data ask of its model: the names of its classes, or a new head. */
import type { Checkpoint } from '../checkpoint/index.js'
import { type NewHead, withNewHead } from '../models/index.js'
import type { RunData } from './training.js'
import type { Context } from './verb.js'

/**
 * The checkpoint that the run's data are for: its classes called as the data call them, and with a new head where it needs one,
 * which is said. Closing it closes `checkpoint`.
 */
export const checkpointFor = async (
  checkpoint: Checkpoint,
  { task, config, newHead }: Pick<RunData, 'task' | 'config' | 'newHead'>,
  seed: number,
  { info }: Pick<Context, 'info'>,
): Promise<NewHead> => {
  if (!config) return { checkpoint, fresh: [] }
  if (!newHead) return { checkpoint: checkpoint.withConfig(config), fresh: [] }
  const headed = await withNewHead(checkpoint, config, seed)
  const names = Object.values((config.id2label ?? {}) as Record<string, string>)
  const shown = names.length > 12 ? `${names.slice(0, 12).join(', ')}, ...` : names.join(', ')
  info(
    `${checkpoint.folder}: a new head for the task '${task}' with ${names.length} classes (${shown}): ${headed.fresh.join(', ')}`,
  )
  return headed
}
