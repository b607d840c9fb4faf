/** @file What is particular to a page's runtime: files that cannot be mapped, state that stays on the device. */
import {
  bound,
  castValue,
  compile,
  constant,
  dispose,
  type Device,
  type FileSource,
  type Tensor,
  toNumbers,
  value,
  type Value,
  valueAndGrad,
  valueOf,
} from '../src/tensor/index.js'

const host = async (v: Value): Promise<number[]> => [...toNumbers(value(await v.read(), v.shape, v.dtype))]
const x = valueOf([1, 2, 3, 4], [4])

export const cases = {
  isolated: () => crossOriginIsolated,
  /** x times weights that a file holds, and times a constant too large to be embedded. */
  files: async (device: Device): Promise<number[][]> => {
    const results: number[][] = []
    for (const dtype of ['float32', 'bfloat16', 'float16'] as const) {
      const weights = castValue(valueOf([0.5, -1, 2, 8], [4]), dtype)
      const length = weights.data.byteLength
      const source: FileSource = {
        kind: 'file',
        dtype,
        shape: [4],
        path: '/w',
        offset: 3,
        length,
        read: async () => weights,
      }
      const large = constant(valueOf(new Float32Array(2 ** 18).fill(1), [2 ** 18]))
      const program = await compile(
        ({ x }: { x: Tensor }) => x.mul(bound(source).cast('float32')).mul(large.max()),
        { x },
        { device },
      )
      results.push(await host(await program.run({ x })))
    }
    return results
  },
  /** Gradient descent whose state goes from run to run, and whether it ever was on the host. */
  descent: async (device: Device): Promise<{ w: number[]; onHost: boolean }> => {
    const program = await compile(
      ({ w }: { w: Tensor }) => {
        const { grads } = valueAndGrad((v: Tensor) => v.sub(3).square().sum())(w)
        return w.sub(grads.mul(0.25))
      },
      { w: x },
      { device },
    )
    let w: Value = x
    let onHost = false
    for (let step = 0; step < 30; step++) {
      const old = w
      w = await program.run({ w })
      dispose({ old })
      try {
        onHost ||= w.data.length > 0
      } catch {
        // A value on the device says so when its data is read.
      }
    }
    return { w: await host(w), onHost }
  },
  /** Programs compiled, run and read all at once. */
  together: async (device: Device): Promise<number[]> => {
    const results = await Promise.all(
      [1, 2, 3, 4].map(async (k) => {
        const program = await compile(({ x }: { x: Tensor }) => x.mul(k).sum(), { x }, { device })
        const runs = await Promise.all([program.run({ x }), program.run({ x })])
        return Promise.all(runs.map(host))
      }),
    )
    return results.flat(2)
  },
  /** What reading a value says after it was disposed of. */
  disposed: async (device: Device): Promise<string> => {
    const program = await compile(({ x }: { x: Tensor }) => x.neg(), { x }, { device })
    const y = await program.run({ x })
    dispose(y)
    dispose(y)
    return host(y).then(String, (error: Error) => `refused: ${error.message}`)
  },
  /** A bound file that does not fit. */
  unreadable: (device: Device): Promise<string> => {
    const source: FileSource = {
      kind: 'file',
      dtype: 'float32',
      shape: [2 ** 20, 2 ** 20],
      path: '/model.safetensors',
      offset: 8,
      length: 2 ** 42,
      read: async () => value(new Float32Array(2 ** 40), [2 ** 20, 2 ** 20], 'float32'),
    }
    return compile(({ x }: { x: Tensor }) => x.add(bound(source).max()), { x }, { device }).then(
      () => 'compiled',
      (error: Error) => error.message,
    )
  },
  missing: (device: Device): Promise<string> =>
    compile(({ x }: { x: Tensor }) => x.neg(), { x }, { device }).then(
      () => 'compiled',
      (error: Error) => error.message,
    ),
}
