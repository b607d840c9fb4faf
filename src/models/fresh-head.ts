/** @file A new head on the body of a checkpoint that has another one, or none: named as Transformers names it. */
import {
  type Checkpoint,
  encode,
  type JsonObject,
  layOut,
  openBytes,
  type TensorPlan,
} from '../checkpoint/web.js'
import { CheckpointError, UsageError } from '../errors.js'
import { sameShape } from '../tensor/index.js'
import type { Task } from './architecture.js'
import { architectureFor } from './architectures.js'
import { canonicalNames } from './canonical.js'
import { initialValue } from './create.js'

/** The tasks that a new head may be for, and the end of the name of Transformers' class. */
const classEnds = {
  classify: 'ForSequenceClassification',
  tokens: 'ForTokenClassification',
  answer: 'ForQuestionAnswering',
  image: 'ForImageClassification',
} as const satisfies Partial<Record<Task, string>>

/** A task that a new head may be for. */
export type HeadTask = keyof typeof classEnds

/** Whether a new head may be for `task`. */
export const isHeadTask = (task: string): task is HeadTask => Object.hasOwn(classEnds, task)

const labelsOf = (names: readonly string[]): JsonObject => ({
  id2label: Object.fromEntries(names.map((name, i) => [String(i), name])),
  label2id: Object.fromEntries(names.map((name, i) => [name, i])),
})

/**
 * config.json of the same body with a head for `task` that tells `names` apart. Throws UsageError where the architecture has no
 * such head, or config.json does not say what its class is called.
 */
export const withHeadFor = (json: JsonObject, task: HeadTask, names: readonly string[]): JsonObject => {
  const architecture = architectureFor(json)
  const [name] = Array.isArray(json.architectures) ? json.architectures : []
  const named = typeof name === 'string' ? name.replace(/(For[A-Z]\w*|LMHeadModel|Model)$/, '') : ''
  const family = architecture.classifierFamily?.(json) ?? named
  const changed = { ...json, architectures: [`${family}${classEnds[task]}`], ...labelsOf(names) }
  try {
    if (family && architecture.task(architecture.readConfig(changed)) === task) return changed
  } catch (error) {
    if (!(error instanceof CheckpointError)) throw error
  }
  throw new UsageError('NoSuchHead', `${architecture.name}: it has no head for the task '${task}'`, {
    hint:
      named === ''
        ? 'config.json does not say by "architectures" which class it is of.'
        : 'Take a model of another architecture.',
  })
}

/** A checkpoint with a new head, and the names of the tensors that are new. */
export interface NewHead {
  readonly checkpoint: Checkpoint
  readonly fresh: readonly string[]
}

/**
 * `checkpoint` as `json` describes it, with the same body and another head: tensors of the head that are not stored are drawn
 * at random by `seed`, the old head is left out. Closing it closes the files of `checkpoint`. Throws CheckpointError as
 * opening a model does.
 */
export const withNewHead = async (
  checkpoint: Checkpoint,
  json: JsonObject,
  seed: number | string = 0,
): Promise<NewHead> => {
  const architecture = architectureFor(json)
  const tableOf = (config: JsonObject) => architecture.table(architecture.readConfig(config))
  const before = new Map(tableOf(checkpoint.config).map(({ name, shape }) => [name, shape]))
  const table = tableOf(json)
  const stored = new Map(canonicalNames(architecture, table, checkpoint).stored)
  const missing = table.filter(({ name, shape, tied }) => {
    const old = before.get(name)
    // A head for another number of classes has the same names.
    return tied === undefined && (old ? !sameShape(old, shape) : !stored.has(name))
  })
  for (const { name } of missing) stored.delete(name)
  const plans = missing.map(({ name, shape }): TensorPlan => ({ name, dtype: 'F32', shape }))
  const { header, tensors, size } = layOut(plans, { format: 'pt' }, 'the new head')
  const bytes = new Uint8Array(size)
  bytes.set(header)
  const specs = new Map(missing.map((spec) => [spec.name, spec]))
  for (const { name, offset } of tensors)
    bytes.set(encode(initialValue(specs.get(name)!, json.initializer_range, seed)).data, offset)
  const head = await openBytes(bytes, checkpoint.folder)
  return {
    checkpoint: checkpoint.renamed(stored).beside(head).withConfig(json),
    fresh: missing.map(({ name }) => name),
  }
}
