import { describe, expect, it } from 'vitest'
import {
  cond,
  compile,
  concat,
  hostOperation,
  input,
  interpret,
  recompute,
  scalar,
  tensor,
  toNumbers,
  valueAndGrad,
  value,
  valueOf,
  where,
  type Tensor,
  randomBytes,
  grad,
} from './index.js'

const x = valueOf([1, -2, 3, 0.5, 2, -1], [2, 3])
const w = valueOf([0.1, 0.2, -0.3, 0.4, 0.5, -0.6], [3, 2])
const spec = { shape: [2, 3], dtype: 'float32' as const }

describe('compile', () => {
  it('computes what the interpreter computes', async () => {
    const f = ({ x, w }: { x: Tensor; w: Tensor }) => ({
      y: x.matmul(w).tanh().sum(1),
      z: [x.max(1), x.argMax(1)],
    })
    const cpu = await compile(f, { x, w })
    const reference = await compile(f, { x, w }, { device: 'reference' })
    const [a, b] = [await cpu.run({ x, w }), await reference.run({ x, w })]
    expect(toNumbers(a.y)[1]).toBeCloseTo(toNumbers(b.y)[1], 5)
    expect([...toNumbers(a.z[1])]).toEqual([2, 1].map((_, i) => toNumbers(b.z[1])[i]))
  })

  it('gives gradients by every leaf, also through branches, host operations and recomputation', async () => {
    const loss = ({ x, w, p }: { x: Tensor; w: Tensor; p: Tensor }) => {
      const [h] = cond(
        p,
        () => x.matmul(w).square(),
        () => x.matmul(w),
      )
      const [doubled] = hostOperation(
        [h],
        [h],
        ([v]) => [
          valueOf(
            toNumbers(v).map((n) => 2 * n),
            v.shape,
          ),
        ],
        { gradient: ([g]) => [g.mul(2)] },
      )
      const again = recompute((t) => t.mul(w.sum()).tanh(), doubled)
      return again.sum()
    }
    const f = ({ x, w, p }: { x: Tensor; w: Tensor; p: Tensor }) =>
      valueAndGrad((v: { x: Tensor; w: Tensor }) => loss({ ...v, p }))({ x, w })
    const cpu = await compile(f, { x, w, p: { shape: [], dtype: 'bool' as const } })
    const reference = await compile(
      f,
      { x, w, p: { shape: [], dtype: 'bool' as const } },
      { device: 'reference' },
    )
    for (const on of [0, 1]) {
      const p = valueOf([on], [], 'bool')
      const [a, b] = [await cpu.run({ x, w, p }), await reference.run({ x, w, p })]
      for (const k of ['x', 'w'] as const)
        toNumbers(a.grads[k]).forEach((n, i) => expect(n).toBeCloseTo(toNumbers(b.grads[k])[i], 4))
      const h = 1e-4
      const numeric = async (sign: number) =>
        toNumbers(
          (
            await reference.run({
              x: valueOf(
                Float64Array.from(toNumbers(x), (n, i) => n + (i === 1 ? sign * h : 0)),
                [2, 3],
              ),
              w,
              p,
            })
          ).value,
        )[0]
      expect(toNumbers(b.grads.x)[1]).toBeCloseTo(((await numeric(1)) - (await numeric(-1))) / (2 * h), 2)
    }
  })

  it('gives second derivatives', async () => {
    const f = grad((t: Tensor) => grad((u: Tensor) => u.pow(3).sum())(t).sum())
    const [n] = await interpret([f(tensor([2, 3], [2]))], { inputs: {} })
    expect([...n]).toEqual([12, 18])
  })

  it('draws the same bytes for the same seed and step, on the device and in the interpreter', async () => {
    const f = ({ x }: { x: Tensor }) => where(randomBytes([2, 3], 0).less(128), x, 0)
    const cpu = await compile(f, { x: spec })
    const reference = await compile(f, { x: spec }, { device: 'reference' })
    const run = { seed: 3, step: 7 }
    expect([...toNumbers(await cpu.run({ x }, run))]).toEqual([...toNumbers(await reference.run({ x }, run))])
  })

  it('refuses an input of another shape, naming it', async () => {
    const f = await compile(({ x }: { x: Tensor }) => concat([x, x]), { x: spec })
    await expect(f.run({ x: value(new Float32Array(2), [2], 'float32') })).rejects.toThrow(/input 'x'/)
    void input
    void scalar
  })
})
