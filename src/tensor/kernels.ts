/**
 * @file Which operators of ONNX Runtime compute a fused value, and on which devices. A device that is not named runs
 * the body: so a kernel that a device lacks, or gets wrong, is one line here and nothing elsewhere.
 */
import type { Device } from './device.js'

export interface Kernel {
  /** Domain of the operator; '' is ONNX itself. */
  readonly domain: '' | 'com.microsoft'
  readonly devices: readonly Device[]
  /** Only for these input dtypes; default float32. */
  readonly dtypes?: readonly string[]
  /** A hundred times slower unless bound inputs are packed anew, into copies, when the session opens. */
  readonly packs?: boolean
  /**
   * Its products of uint8 and int8 saturate on some processors (runtime/processor.ts). There its signed inputs are
   * given as uint8 with 128 added, zero points among them, which leaves the result as it is.
   */
  readonly signed?: boolean
}

const everywhere: readonly Device[] = ['cpu', 'cuda', 'wasm', 'webgpu']

export const kernels: Readonly<Record<string, Kernel>> = {
  Softmax: { domain: '', devices: everywhere },
  Gelu: { domain: '', devices: ['cpu', 'cuda', 'wasm'] },
  QuickGelu: { domain: 'com.microsoft', devices: ['cpu', 'wasm'] },
  LogSoftmax: { domain: '', devices: ['cpu', 'cuda', 'wasm'] },
  LayerNormalization: { domain: '', devices: everywhere },
  // On WebGPU its second output, which the gradient needs, is never written.
  SimplifiedLayerNormalization: { domain: '', devices: ['cpu', 'cuda', 'wasm'] },
  RotaryEmbedding: { domain: 'com.microsoft', devices: ['cpu'] },
  BatchNormalization: { domain: '', devices: everywhere },
  MatMulInteger: { domain: '', devices: ['cpu', 'wasm'], dtypes: ['uint8'], packs: true, signed: true },
  MatMulNBits: { domain: 'com.microsoft', devices: everywhere, packs: true },
  MatMulBnb4: { domain: 'com.microsoft', devices: ['cpu', 'wasm'] },
  MaxPool: { domain: '', devices: everywhere },
}
