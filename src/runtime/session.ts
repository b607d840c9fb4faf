/** @file What a runtime gives the engine: sessions that run a lowered graph on a device. */
import type { Device } from '../tensor/device.js'
import type { OnnxGraph } from '../tensor/onnx.js'
import type { Value } from '../tensor/value.js'
import { WeftError } from '../errors.js'

/** Options of a session. */
export interface SessionOptions {
  /** Device that runs the graph. */
  readonly device: Device
  /** Level of ONNX Runtime's graph optimisation. */
  readonly optimization: 'disabled' | 'basic' | 'extended' | 'all'
  /** Arrays bound by reference, by the name of the file they stand for. */
  readonly memory: ReadonlyMap<string, Value>
  /**
   * Whether bound weights are packed into the layouts that kernels like best: copies, where they would otherwise stay
   * mapped.
   */
  readonly prepack: boolean
  /** Sees to it that the files that the graph is bound to are there; who opens the graph calls it first. */
  prepare?(): Promise<void>
  /** The graph that the model encodes, for whoever looks at it instead of opening it. */
  readonly graph?: OnnxGraph
}

/** An open graph. */
export interface Session {
  /** Runs the graph; the results come in the order of `outputs`. Rejects with ONNX Runtime's error. */
  run(feeds: Readonly<Record<string, Value>>, outputs: readonly string[]): Promise<Value[]>
}

/** Opens a session for an ONNX model: here, or in a worker. Throws EngineError. */
export type OpenSession = (model: Uint8Array, options: SessionOptions) => Promise<Session>

/** ONNX Runtime is missing, lacks a provider, or refused a graph. */
export class EngineError extends WeftError {
  constructor(message: string, options: { hint?: string; cause?: unknown } = {}) {
    super('EngineError', message, options)
  }
}
