import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Draw } from '../../test/draw.js'
import { type Case, type Operation, operations } from '../../test/operations.js'
import {
  cond,
  compile,
  grad,
  hostOperation,
  input,
  interpret,
  isFloat,
  randomBytes,
  randomSource,
  stack,
  tensor,
} from './index.js'
import { type Tensor, toNumbers, type Value, valueAndGrad, value, valueOf, vmap } from './index.js'
import { sizeOf } from './shape.js'

const rows = 3
const choices = fc.array(fc.nat(999), { maxLength: 16 })
const mapped = operations.filter((o) => !o.unmapped)

/** The same case three times, with different numbers. */
const cases = ({ make, dtypes = ['float32'] }: Operation, list: number[]): Case[] => {
  const dtype = dtypes[0] === 'float32' ? 'float64' : dtypes[0]
  return Array.from({ length: rows }, (_, salt) => make(new Draw(list, { dtype, salt })))
}

const stacked = (values: readonly Value[]): Value => {
  const [{ shape, dtype, data }] = values
  const all = new (data.constructor as Float64ArrayConstructor)(data.length * values.length)
  values.forEach((v, i) => all.set(v.data as Float64Array, i * data.length))
  return value(all, [values.length, ...shape], dtype)
}

type Function = (...inputs: Tensor[]) => readonly Tensor[]

/** Mapped over the rows of the inputs that are not `shared`, and applied to each row and stacked: the same numbers. */
const checkRows = async (all: Case[], f: Function, shared: readonly boolean[]): Promise<void> => {
  const inputs = all[0].inputs.map((v, i) => (shared[i] ? v : stacked(all.map((c) => c.inputs[i]))))
  const symbols = inputs.map((v, i) => input(`${i}`, v.shape, v.dtype))
  const got = vmap(f, { axes: shared.map((s) => (s ? null : 0)) })(...symbols)
  const each = all.map((_, row) => f(...symbols.map((t, i) => (shared[i] ? t : t.at(row)))))
  const expected = each[0].map((_, i) => stack(each.map((outputs) => outputs[i])))
  expect(got.map((t) => [t.dtype, t.shape])).toEqual(expected.map((t) => [t.dtype, t.shape]))
  const feeds = { inputs: Object.fromEntries(inputs.map((v, i) => [i, v])), random: randomSource({}) }
  const [a, b] = [await interpret(got, feeds), await interpret(expected, feeds)]
  a.forEach((numbers, i) =>
    numbers.forEach((n, k) =>
      expect(Math.abs(n - b[i][k])).toBeLessThanOrEqual(1e-9 * Math.max(1, Math.abs(b[i][k]))),
    ),
  )
}

const outputsOf =
  ({ f }: Case): Function =>
  (...inputs) =>
    [f(...inputs)].flat()

/** The gradients of the sum of squares by the float inputs. */
const gradientsOf =
  ({ f }: Case): Function =>
  (...inputs) => {
    const wrt = inputs.filter((t) => isFloat(t.dtype))
    return grad((own: Tensor[]) =>
      [f(...inputs.map((t) => (wrt.includes(t) ? own[wrt.indexOf(t)] : t)))]
        .flat()
        .filter((t) => isFloat(t.dtype))
        .map((t) => t.square().sum())
        .reduce((a, b) => a.add(b)),
    )(wrt)
  }

const check = (operation: Operation, of: (c: Case) => Function): Promise<void> =>
  fc.assert(
    fc.asyncProperty(choices, fc.array(fc.boolean(), { maxLength: 4 }), async (list, flags) => {
      const all = cases(operation, list)
      const shared = all[0].inputs.map((_, i) => flags[i] ?? false)
      if (shared.every(Boolean)) shared[0] = false
      await checkRows(all, of(all[0]), shared)
    }),
    { numRuns: 12, seed: 1 },
  )

describe('vmap(f) is f on every row, whichever inputs are shared', () => {
  it.each(mapped)('$name', (operation) => check(operation, outputsOf))
})

describe('vmap(grad(f)) gives the gradient of every row', () => {
  it.each(mapped.filter((o) => o.differentiable !== false))('$name', (operation) =>
    check(operation, gradientsOf),
  )
})

describe('grad(vmap(f)) is the sum over the rows', () => {
  it.each(mapped.filter((o) => o.differentiable !== false))('$name', (operation) =>
    fc.assert(
      fc.asyncProperty(choices, async (list) => {
        const all = cases(operation, list)
        const f = outputsOf(all[0])
        const apart: Function = (...inputs) =>
          Array.from({ length: rows }, (_, row) => f(...inputs.map((t) => t.at(row)))).flat()
        const [a, b] = [
          gradientsOf({ inputs: [], f: vmap(f) as Case['f'] }),
          gradientsOf({ inputs: [], f: apart }),
        ]
        const inputs = all[0].inputs.map((_, i) => stacked(all.map((c) => c.inputs[i])))
        const symbols = inputs.map((v, i) => input(`${i}`, v.shape, v.dtype))
        const feeds = { inputs: Object.fromEntries(inputs.map((v, i) => [i, v])) }
        const [got, expected] = [await interpret(a(...symbols), feeds), await interpret(b(...symbols), feeds)]
        got.forEach((numbers, i) =>
          numbers.forEach((n, k) =>
            expect(Math.abs(n - expected[i][k])).toBeLessThanOrEqual(
              1e-9 * Math.max(1, Math.abs(expected[i][k])),
            ),
          ),
        )
      }),
      { numRuns: 6, seed: 1 },
    ),
  )
})

describe('vmap', () => {
  it('gives every row random bytes of its own, and shares those drawn outside', async () => {
    const outside = randomBytes([4], 1)
    const x = tensor([0, 0], [2])
    const [own, shared] = vmap((t: Tensor) => [
      randomBytes([4], 0).add(t.cast('uint8')),
      outside.add(t.cast('uint8')),
    ])(x)
    const [a, b] = await interpret([own, shared], { inputs: {}, random: randomSource({}) })
    expect([...a.slice(0, 4)]).not.toEqual([...a.slice(4)])
    expect([...b.slice(0, 4)]).toEqual([...b.slice(4)])
  })

  it('keeps a branch on a shared predicate a branch', async () => {
    const p = input('p', [], 'bool')
    const f = (x: Tensor) =>
      cond(
        p,
        () => x.mul(2),
        () => x.add(outer),
      )[0]
    const outer = tensor([10, 20])
    const y = vmap(f)(tensor([1, 2, 3, 4], [2, 2]))
    expect(y.node.op).toBe('cond')
    const run = async (on: number) => [
      ...(await interpret([y], { inputs: { p: valueOf([on], [], 'bool') } }))[0],
    ]
    expect(await run(1)).toEqual([2, 4, 6, 8])
    expect(await run(0)).toEqual([11, 22, 13, 24])
  })

  it('nests', async () => {
    const a = tensor([1, 2, 3], [3])
    const outer = vmap((x: Tensor) => vmap((y: Tensor) => x.mul(y))(a))(a)
    expect([...(await interpret([outer], { inputs: {} }))[0]]).toEqual([1, 2, 3, 2, 4, 6, 3, 6, 9])
  })

  it('maps trees, and refuses what it cannot map', () => {
    const tree = vmap(({ a, b }: { a: Tensor; b: Tensor[] }) => ({ sum: a.add(b[0]) }))({
      a: tensor([1, 2]),
      b: [tensor([3, 4])],
    })
    expect(tree.sum.shape).toEqual([2])
    expect(() => vmap((x: Tensor, y: Tensor) => x.add(y))(tensor([1, 2]), tensor([1, 2, 3]))).toThrow(
      /'1' is \[3\]/,
    )
    expect(() =>
      vmap((x: Tensor) => hostOperation([x], [x], (v) => v, { name: 'svd' })[0])(tensor([1, 2])),
    ).toThrow(/host 'svd'/)
  })

  it('trains several seeds at once as it trains each alone', async () => {
    const numbers = (seed: number, shape: number[]): Value =>
      new Draw([seed], { dtype: 'float32', salt: seed }).between(-1, 1, shape)
    type Mlp = { first: Tensor; bias: Tensor; second: Tensor }
    const step = (p: Mlp, x: Tensor, y: Tensor): Mlp => {
      const { grads } = valueAndGrad((q: Mlp) =>
        x.matmul(q.first).add(q.bias).tanh().matmul(q.second).sub(y).square().mean(),
      )(p)
      return {
        first: p.first.sub(grads.first.mul(0.1)),
        bias: p.bias.sub(grads.bias.mul(0.1)),
        second: p.second.sub(grads.second.mul(0.1)),
      }
    }
    const seeds = [1, 2, 3, 4]
    const init = (seed: number) => ({
      first: numbers(seed, [3, 8]),
      bias: numbers(seed + 10, [8]),
      second: numbers(seed + 20, [8, 2]),
    })
    const [x, y] = [numbers(30, [5, 3]), numbers(31, [5, 2])]
    const one = await compile(({ p, x, y }: { p: Mlp; x: Tensor; y: Tensor }) => step(p, x, y), {
      p: init(1),
      x,
      y,
    })
    const together = Object.fromEntries(
      (['first', 'bias', 'second'] as const).map((k) => [k, stacked(seeds.map((s) => init(s)[k]))]),
    ) as ReturnType<typeof init>
    const many = await compile(
      ({ p, x, y }: { p: Mlp; x: Tensor; y: Tensor }) => vmap(step, { axes: [0, null, null] })(p, x, y),
      { p: together, x, y },
    )
    let all: Record<keyof Mlp, Value> = together
    for (let i = 0; i < 20; i++) all = await many.run({ p: all, x, y })
    for (const [row, seed] of seeds.entries()) {
      let alone: Record<keyof Mlp, Value> = init(seed)
      for (let i = 0; i < 20; i++) alone = await one.run({ p: alone, x, y })
      for (const k of ['first', 'bias', 'second'] as const) {
        const size = sizeOf(alone[k].shape)
        toNumbers(alone[k]).forEach((n, i) => expect(toNumbers(all[k])[row * size + i]).toBeCloseTo(n, 5))
      }
    }
  })
})
