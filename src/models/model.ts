/** @file A model ready to be traced: an architecture, its configuration, where its tensors are, and which of them train. */
import type { Checkpoint } from '../checkpoint/index.js'
import { WeftError } from '../errors.js'
import { type RandomStreams, sameShape, type Tensor, type Value } from '../tensor/index.js'
import type { Architecture } from './architecture.js'
import type { Weights } from './weights.js'

/** Surroundings of one tracing of a model, beside its inputs. */
export interface Trace {
  /** Source of dropout's bytes; absent in evaluation. */
  readonly random?: RandomStreams
  /** Receives what the model and its methods report. */
  readonly reports?: Map<string, Tensor>
  /** The batch: a method may read inputs of its own there, as task ids. */
  readonly inputs?: Readonly<Record<string, Tensor>>
}

/** Parameters by name: values outside a trace, tensors inside. */
export type Parameters<T> = Readonly<Record<string, T>>

/**
 * A model and its trainable part. Adapters are models too: their parameters are the adapter's, and `weights` answers with
 * the base's tensors changed by them.
 */
export interface Model<C = unknown> {
  readonly architecture: Architecture<C>
  readonly config: C
  /** The folder it stands on: config.json, tokenizer, frozen tensors. */
  readonly checkpoint: Checkpoint
  /** Values of the tensors that train. Every other tensor is bound to the program: it stays in its file. */
  readonly parameters: Parameters<Value>
  /** The answers in a trace in which the trainable parameters are `parameters`. */
  weights(parameters: Parameters<Tensor>, trace: Trace): Weights
  /** The same model with other values of its parameters (same names, shapes, dtypes). */
  with(parameters: Parameters<Value>): Model<C>
  /** Writes a folder that Hugging Face's libraries load: a checkpoint, or an adapter. Nothing appears under a final name until it is whole. */
  save(folder: string): Promise<void>
}

/** Throws WeftError when the values differ from the parameters in names, shapes or dtypes. */
export const requireSame = (old: Parameters<Value>, values: Parameters<Value>): void => {
  for (const name of new Set([...Object.keys(old), ...Object.keys(values)])) {
    const [a, b] = [old[name], values[name]] as (Value | undefined)[]
    if (a && b && a.dtype === b.dtype && sameShape(a.shape, b.shape)) continue
    const show = (v?: Value): string => (v ? `${v.dtype} [${v.shape}]` : 'absent')
    throw new WeftError('ParameterMismatch', `parameter '${name}' is ${show(b)}, expected ${show(a)}`)
  }
}
