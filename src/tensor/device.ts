/** @file Where programs run. */
import type { DType } from './dtype.js'

/** cpu and cuda in Node, wasm in browsers, webgpu in either where the provider loads. */
export type Device = 'cpu' | 'cuda' | 'wasm' | 'webgpu'

/**
 * The dtype in which `device` holds values of `dtype`. WebGPU has no bfloat16, and float16 only on some adapters:
 * both are widened to float32 on the host.
 */
export const heldAs = (dtype: DType, device: Device): DType =>
  device === 'webgpu' && (dtype === 'float16' || dtype === 'bfloat16') ? 'float32' : dtype

/** Whether `device` is a processor, which waits for nothing when it reads a number. */
export const isProcessor = (device: Device): boolean => device === 'cpu' || device === 'wasm'
