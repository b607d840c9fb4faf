/** @file Which bulk kernels run here: WebAssembly SIMD where the engine allows it, plain TypeScript otherwise. */
import { philoxModule } from './philox.wasm.js'
import { type Kernels, type Run, scalar } from './scalar.js'

/** 64 KiB: results are copied out of the module's memory while they are still in the cache of a core. */
const pages = 1
const bufferBytes = pages * 65536
/** Below this many blocks the call and the copy cost more than they save. */
const worthwhile = 16

type Kernel = (
  start: number,
  end: number,
  c0: number,
  c1: number,
  c2: number,
  c3: number,
  k0: number,
  k1: number,
) => void
type Exports = { readonly memory: WebAssembly.Memory } & Readonly<Record<keyof Kernels, Kernel>>

const bind =
  <T extends Uint32Array | Float32Array>(
    kernel: Kernel,
    buffer: T,
    width: number,
    small: (out: T, run: Run) => void,
  ) =>
  (out: T, run: Run): void => {
    if (out.length < worthwhile * width) return small(out, run)
    const [c0, c1, c2, c3] = run.counter
    for (let at = 0; at < out.length; at += buffer.length) {
      const size = Math.min(buffer.length, out.length - at)
      kernel(0, size * 4, c0 + at / width, c1, c2, c3, run.key[0], run.key[1])
      out.set(size === buffer.length ? buffer : buffer.subarray(0, size), at)
    }
  }

/** The kernels of the WebAssembly module. Throws where it cannot be compiled: no SIMD, or a policy against it. */
export const compileKernels = (): Kernels => {
  const instance = new WebAssembly.Instance(new WebAssembly.Module(philoxModule(pages)))
  const exports = instance.exports as unknown as Exports
  const words = new Uint32Array(exports.memory.buffer, 0, bufferBytes / 4)
  const floats = new Float32Array(exports.memory.buffer, 0, bufferBytes / 4)
  return {
    words: bind(exports.words, words, 4, scalar.words),
    ih8: bind(exports.ih8, floats, 1, scalar.ih8),
    pop128: bind(exports.pop128, floats, 1, scalar.pop128),
  }
}

let chosen: Kernels | undefined

/** The fastest kernels that run here, compiled on the first call. */
export const kernels = (): Kernels => {
  if (!chosen) {
    try {
      chosen = compileKernels()
    } catch {
      chosen = scalar
    }
  }
  return chosen
}
