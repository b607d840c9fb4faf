/** @file The two models that are merged, and whose head the merged one has (step 7 of the method). */
import type { Checkpoint } from '../../checkpoint/index.js'
import { UsageError } from '../../errors.js'
import { type Model, openModel, outputAxis } from '../../models/index.js'
import { checkSameTensors } from '../../units/permutation/index.js'
import type { PleasOptions } from './options.js'

/** The two models, and the tensors of the module that their labels come from. */
export interface Pair {
  readonly models: readonly [Model, Model]
  /** The one whose head and configuration the merged model has. */
  readonly owner: Model
  readonly head: ReadonlySet<string>
  readonly policy: 'average' | 'first' | 'second'
}

/** The tensors of the last linear module whose outputs are no units: the classifier, the language model's head. */
const headOf = ({ architecture, config }: Model): ReadonlySet<string> => {
  const table = architecture.table(config)
  const last = table.findLast(
    (spec) => spec.kind === 'linear' && spec.tied === undefined && !spec.axes[outputAxis(spec)],
  )
  const module = last?.name.replace(/\.weight$/, '')
  return new Set(table.flatMap(({ name }) => (name.replace(/\.(weight|bias)$/, '') === module ? [name] : [])))
}

/** Opens the two models. Throws CheckpointError where their tensors differ, UsageError where labels do and `policy` is open. */
export const pairOf = async (
  checkpoints: readonly Checkpoint[],
  policy: PleasOptions['head'],
): Promise<Pair> => {
  const a = await openModel(checkpoints[0])
  const b = await openModel(checkpoints[1])
  const head = headOf(a)
  checkSameTensors([a, b], (name) => head.has(name))
  const labels = (m: Model): string => {
    const shapes = m.architecture.table(m.config).filter(({ name }) => head.has(name))
    return JSON.stringify([shapes.map(({ shape }) => shape), m.checkpoint.config.id2label ?? null])
  }
  if (policy === undefined && labels(a) !== labels(b))
    throw new UsageError(
      'DifferentLabels',
      `${a.checkpoint.folder} and ${b.checkpoint.folder} have heads for different labels`,
      {
        hint: 'Say whose the merged model has: head = first or head = second. The rest is the same for both.',
      },
    )
  return { models: [a, b], owner: policy === 'second' ? b : a, head, policy: policy ?? 'average' }
}
