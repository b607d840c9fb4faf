import { describe, expect, it } from 'vitest'
import {
  cond,
  compile,
  compileAnyLength,
  concat,
  hostOperation,
  input,
  interpret,
  range,
  recompute,
  recomputeWhen,
  scalar,
  softmax,
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

  it('runs a backward pass that is not always needed where the program is told so, and keeps nothing for it', async () => {
    const block = (t: Tensor, w: Tensor): Tensor => t.matmul(w).tanh().matmul(w.t()).sin()
    const gradients =
      (through: (needed: Tensor, t: Tensor, w: Tensor) => Tensor) =>
      ({ x, w, needed }: { x: Tensor; w: Tensor; needed: Tensor }) =>
        valueAndGrad((p: { x: Tensor; w: Tensor }) => through(needed, p.x.mul(2), p.w).square().sum())({
          x,
          w,
        })
    const sometimes = gradients((needed, t, w) =>
      recomputeWhen(
        () => needed,
        (t) => block(t, w),
        t,
      ),
    )
    const always = gradients((_, t, w) => block(t, w))
    const never = gradients((_, t, w) =>
      recomputeWhen(
        () => undefined,
        (t) => block(t, w),
        t,
      ),
    )
    const given = (needed: number) => ({ x, w, needed: valueOf([needed], [], 'bool') })
    const run = async (f: typeof always, needed: number) => (await compile(f, given(1))).run(given(needed))
    const [kept, again, none] = [await run(always, 1), await run(sometimes, 1), await run(sometimes, 0)]
    for (const found of [again, await run(never, 0)]) {
      expect(toNumbers(found.value)).toEqual(toNumbers(kept.value))
      for (const name of ['x', 'w'] as const)
        expect(toNumbers(found.grads[name])).toEqual(toNumbers(kept.grads[name]))
    }
    expect(toNumbers(none.value)).toEqual(toNumbers(kept.value))
    for (const name of ['x', 'w'] as const)
      expect([...toNumbers(none.grads[name])]).toEqual(new Array(6).fill(0))
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

describe('a program for any length', () => {
  const of = (length: number) => ({
    x: { shape: [2, length, 3], dtype: 'float32' as const },
    places: { shape: [length], dtype: 'int32' as const },
  })
  type Given = { x: Tensor; places: Tensor }
  const f = ({ x, places }: Given) => {
    const shown = softmax(x.transpose([1, 0, 2]).reshape([x.shape[1], 6]), 0)
    const masked = where(places.less(2).unsqueeze(-1).expand([x.shape[1], 6]), shown, 0)
    return { masked, last: x.slice(1, x.shape[1] - 1), rest: x.slice(1, 0, x.shape[1] - 1), sum: x.sum(1) }
  }
  const given = (length: number) => ({
    x: valueOf(
      Array.from({ length: 6 * length }, (_, i) => Math.sin(i)),
      [2, length, 3],
    ),
    places: valueOf([...Array(length).keys()], [length], 'int32'),
  })

  it('is what a program for that length gives, the interpreter too', async () => {
    const any = await compileAnyLength(f, of(101), of(211))
    const reference = await compileAnyLength(f, of(101), of(211), { device: 'reference' })
    for (const length of [2, 3, 7]) {
      const results = [await any.run(given(length)), await reference.run(given(length))]
      const expected = await (await compile(f, of(length))).run(given(length))
      for (const result of results)
        for (const name of ['masked', 'last', 'rest', 'sum'] as const) {
          expect(result[name].shape).toEqual(expected[name].shape)
          const numbers = toNumbers(expected[name])
          toNumbers(result[name]).forEach((y, i) => expect(y, name).toBeCloseTo(numbers[i], 6))
        }
    }
  })

  it('refuses what its fixed axes do not allow', async () => {
    const any = await compileAnyLength(f, of(101), of(211))
    const { places } = given(4)
    await expect(any.run({ x: valueOf(new Float32Array(16), [2, 4, 2]), places })).rejects.toThrow(
      /input 'x'/,
    )
    await expect(any.run({ ...given(4), places: given(5).places })).rejects.toThrow()
  })

  it('is refused where numbers, or a shape in two places, depend on the length', async () => {
    const refused: ((given: Given) => Tensor)[] = [
      ({ x }) => x.mul(x.shape[1]),
      ({ x }) => x.add(range(0, x.shape[1]).cast('float32').unsqueeze(-1)),
      ({ x }) =>
        x
          .reshape([x.shape[1], 1, 6])
          .add(x.reshape([1, x.shape[1], 6]))
          .reshape([-1, 6, x.shape[1]]),
      ({ x }) => hostOperation([x], [x], async (values) => values)[0].add(1),
    ]
    for (const g of refused)
      await expect(compileAnyLength((i: Given) => ({ y: g(i) }), of(101), of(211))).rejects.toMatchObject({
        code: 'NotSymbolic',
      })
  })
})
