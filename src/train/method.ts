/**
 * @file What a method asks of the trainer beside gradients of its parameters: which of them follow the gradient, a changed
 * objective, inputs of its own, something to do between steps. A model that carries it is trained so by `fit`.
 */
import type { Model, Parameters } from '../models/index.js'
import type { Value } from '../tensor/index.js'
import type { Batch } from './loss.js'
import type { Objective, TrainingState } from './objective.js'
import type { AdamWOptions } from './optimizer.js'
import type { Step, StepResult } from './step.js'

/** State of a run's course. What is drawn at random must follow from it and the state alone, so that a resumed run draws the same. */
export interface TrainingCourse {
  /** How many steps the run has. */
  readonly steps: number
  readonly seed: number | string
  /** Learning rate of the step under way. */
  readonly learningRate: number
}

/** A step that was taken. */
export interface Taken extends TrainingCourse {
  readonly batches: readonly Batch[]
  readonly result: StepResult
  /** The step itself: on a copy of the state it tries other inputs, by the programs that are there. */
  readonly step: Step
}

/** A method's part in its training. */
export interface Training {
  /** Test for the names of parameters that follow the gradient. The others enter the step as inputs that only `between` changes: masks, indices. Default all. */
  moves?(name: string): boolean
  /** Settings of AdamW where the caller names no optimiser: what the method's paper trains with. Default AdamW's own. */
  readonly optimizer?: AdamWOptions
  /** The usual objective, changed: a term added to the loss, slots beside the optimiser's. */
  objective?(usual: Objective): Objective
  /** Tensors that join each batch of the next step, always of the same names and shapes: which layers train. */
  inputs?(state: TrainingState, course: TrainingCourse): Readonly<Record<string, Value>>
  /** After each step, before the hook. It may replace what is in `state`; where shapes change, the next step is compiled anew. */
  between?(state: TrainingState, taken: Taken): void | Promise<void>
}

/** A model that may say how it is trained. */
export interface SelfTrained {
  readonly training?: Training
  /** Throws UsageError for a batch that it cannot take: called before each step and each evaluated batch. */
  check?(batch: Batch): void
}

/** Throws UsageError for a batch that `model` cannot take, where it says so. */
export const checkBatch = (model: Model & SelfTrained, batch: Batch): void => model.check?.(batch)

/** How `model` is trained, where it says so. */
export const trainingOf = (model: Model & SelfTrained): Training => model.training ?? {}

/** Test for the names of parameters of `model` that follow the gradient: neither buffers, which reports change, nor what its method keeps still. */
export const isMoved = (model: Model): ((name: string) => boolean) => {
  const { architecture, config } = model
  const { moves = () => true } = trainingOf(model)
  const table = architecture.table(config)
  const buffers = new Set(table.filter(({ kind }) => kind === 'buffer').map(({ name }) => name))
  return (name) => !buffers.has(name) && moves(name)
}

/** The parameters of `model` that follow the gradient: what "trainable" counts. */
export const movedParameters = (model: Model): Parameters<Value> => {
  const moved = isMoved(model)
  return Object.fromEntries(Object.entries(model.parameters).filter(([name]) => moved(name)))
}
