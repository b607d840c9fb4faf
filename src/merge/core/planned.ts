/** @file What a merge will do to each tensor, and the stream that does it. */
import type { TensorPlan } from '../../checkpoint/index.js'
import { streamedBytes, streamedTensor } from '../../stream/stream.js'
import type { StreamPlan, TensorJob, TensorSource } from '../../stream/task.js'
import { type AlignedTensor, alignedTensor, type MergeArguments, type MergeMethod } from './method.js'
import type { ParameterValues } from './method.js'

/** A tensor of one of the models. */
export interface ModelTensor extends TensorSource {
  /** The model as the recipe names it. */
  readonly model: string
}

/** One tensor of the output. */
export interface PlannedTensor extends TensorPlan {
  /** `copy`: the first source's bytes are taken as they are, or rounded to `dtype`. */
  readonly action: 'merge' | 'copy'
  readonly base?: ModelTensor
  /** The sources beside the base; of a copy, the one that is copied. */
  readonly models: readonly ModelTensor[]
  readonly parameters: ParameterValues
}

/** Every tensor that `planned` is made of, the base's first. */
export const sourcesOf = ({
  base,
  models,
}: Pick<PlannedTensor, 'base' | 'models'>): readonly ModelTensor[] => (base ? [base, ...models] : models)

const argumentsOf = ({ base, parameters }: PlannedTensor): MergeArguments => ({
  hasBase: base !== undefined,
  values: parameters,
})

const jobOf = (planned: PlannedTensor): TensorJob => ({
  name: planned.name,
  dtype: planned.dtype,
  shape: planned.shape,
  action: planned.action === 'merge' ? 'compute' : 'copy',
  inputs: sourcesOf(planned).map(({ checkpoint, info, stored }) => ({ checkpoint, info, stored })),
  parameters: argumentsOf(planned),
})

/** The streams of one merge's random numbers. */
export const seedOf = (seed: number): string => `merge ${seed}`

/** `tensors` for the stream. */
export const streamOf = (tensors: readonly PlannedTensor[], method: MergeMethod): StreamPlan => ({
  method: method.blockMethod,
  tensors: tensors.map(jobOf),
})

/** The stored bytes of a planned tensor, in pieces that are valid until the next is asked for. `seed`: default 0. */
export const mergedBytes = (
  planned: PlannedTensor,
  method: MergeMethod,
  seed = 0,
): AsyncGenerator<Uint8Array> => streamedBytes(jobOf(planned), method.blockMethod, seedOf(seed))

/** The tensors that meet in `planned`, as `method` sees them. */
export const alignedPlan = (planned: PlannedTensor, method: MergeMethod): AlignedTensor =>
  alignedTensor(streamedTensor(jobOf(planned), method.blockMethod, seedOf(0)), argumentsOf(planned))
