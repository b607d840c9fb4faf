/**
 * @file Adapting to another teacher: a residual network that has learnt one teacher is adapted to a conflicting teacher of
 * the same inputs, or to a new domain. Several reproductions of fine-tuning methods measure on it.
 */
import { createModel, type Model } from '../models/index.js'
import { adamW, type Batch, fit } from '../train/index.js'
import { type Teacher, teacher, type TeacherSampleOptions } from '../synth/teacher.js'

/** How large the network and its training are. */
export interface TeacherTaskSize {
  /** Residual blocks. Default 6. */
  readonly blocks?: number
  /** Width of inputs and stream; a block has twice as many hidden units, as the teacher has. Default 64. */
  readonly width?: number
  /** Training on the source teacher. Default 1500. */
  readonly steps?: number
  readonly signal?: AbortSignal
}

/** Endless batches of what a teacher says: `embeddings` [batch, in] float32, `labels` [batch] int64. */
export const teacherBatches = (
  source: Teacher,
  { batch, seed, ...options }: TeacherSampleOptions & { readonly batch: number },
): ((startAt?: number) => Generator<Batch>) =>
  function* (startAt = 0) {
    for (let i = startAt; ; i++) {
      const { x, labels } = source.sample(batch, { seed: `${seed} ${i}`, ...options })
      yield { embeddings: x, labels }
    }
  }

/** The same `count` batches each time: to evaluate on, or as a small data set. */
export const heldBatches = (batches: (startAt?: number) => Iterator<Batch>, count: number): Batch[] => {
  const source = batches()
  return Array.from({ length: count }, () => source.next().value as Batch)
}

/** Network that knows a teacher, and the teachers that it may be adapted to. */
export interface TeacherTask {
  /** Model that has learnt `source`: residual ReLU blocks on the inputs, matrices `blocks.N.up` and `blocks.N.down`, a head. */
  readonly base: Model
  readonly source: Teacher
  /** The same inputs, other labels. */
  readonly conflicting: Teacher
  /** Another teacher, to be asked about inputs with `shift` 4. */
  readonly newDomain: Teacher
}

/** Task of a seed, its base trained. All arms of an experiment share it (`MeasureContext.once`). */
export const teacherTask = async (
  seed: number,
  { blocks = 6, width = 64, steps = 1500, signal }: TeacherTaskSize = {},
): Promise<TeacherTask> => {
  const sizes = { in: width, hidden: 2 * width, out: 10 }
  const source = teacher({ ...sizes, seed: `source ${seed}` })
  const config = {
    model_type: 'weft_mlp',
    sizes: [width, ...new Array<number>(blocks).fill(2 * width), sizes.out],
    residual: true,
    width,
    norm: 'rms',
    input_projection: false,
    down_scale: 0.5,
    bias: false,
    hidden_act: 'relu',
  }
  const data = teacherBatches(source, { batch: 256, seed: `source ${seed}` })
  const options = { steps, learningRate: 2e-3, optimizer: adamW({ weightDecay: 0 }), signal }
  const { model: base } = await fit(await createModel(config, { seed }), data, options)
  return {
    base,
    source,
    conflicting: source.changed({ seed: `conflicting ${seed}` }),
    newDomain: teacher({ ...sizes, seed: `new domain ${seed}` }),
  }
}
