import { describe, expect, it } from 'vitest'
import { Stream } from '../../random/index.js'
import {
  batchNorm,
  batchNormTraining,
  compile,
  grad,
  groupNorm,
  instanceNorm,
  interpret,
  type Shape,
  sizeOf,
  type Tensor,
  tensor,
  toNumbers,
  type Value,
  valueOf,
} from '../index.js'

const normals = (seed: string, shape: Shape): Value => {
  const stream = new Stream(seed)
  return valueOf(
    Array.from({ length: sizeOf(shape) }, () => stream.normal() * 2 + 1),
    shape,
  )
}

const numbersOf = async (...ts: Tensor[]): Promise<number[][]> =>
  (await interpret(ts, { inputs: {} })).map((n) => [...n])

const close = (a: ArrayLike<number>, b: ArrayLike<number>, digits = 5): void => {
  expect(a.length).toBe(b.length)
  for (let i = 0; i < b.length; i++) expect(a[i]).toBeCloseTo(b[i], digits)
}

const inputs = {
  x: normals('x', [3, 4, 5, 2]),
  weight: normals('w', [4]),
  bias: normals('b', [4]),
  mean: normals('m', [4]),
  variance: valueOf([0.5, 1, 2, 3], [4]),
}
type Inputs = Record<keyof typeof inputs, Tensor>

/** The element (n, c, place) of the first input. */
const at = (n: number, c: number, place: number): number => Number(inputs.x.data[(n * 4 + c) * 10 + place])
const parameter = (name: 'weight' | 'bias' | 'mean' | 'variance', c: number): number =>
  Number(inputs[name].data[c])
const flat = (f: (n: number, c: number, place: number) => number): number[] =>
  Array.from({ length: 120 }, (_, i) => f(Math.floor(i / 40), Math.floor(i / 10) % 4, i % 10))
const momentsOf = (numbers: readonly number[]): { mean: number; variance: number } => {
  const mean = numbers.reduce((a, b) => a + b, 0) / numbers.length
  return { mean, variance: numbers.reduce((s, x) => s + (x - mean) ** 2, 0) / numbers.length }
}
const places = Array.from({ length: 10 }, (_, i) => i)

const both = async (f: (v: Inputs) => Tensor[], expected: readonly (readonly number[])[]): Promise<void> => {
  for (const device of ['reference', 'cpu'] as const) {
    const outputs = await (await compile(f, inputs, { device })).run(inputs)
    outputs.forEach((o, i) => close(toNumbers(o), expected[i], 5))
  }
}

describe('groupNorm and instanceNorm', () => {
  it('normalise over the channels of a group and all places', async () => {
    for (const groups of [1, 2, 4]) {
      const width = 4 / groups
      const moments = (n: number, c: number): { mean: number; variance: number } => {
        const first = Math.floor(c / width) * width
        return momentsOf(
          Array.from({ length: width }, (_, i) => places.map((p) => at(n, first + i, p))).flat(),
        )
      }
      const expected = flat((n, c, p) => {
        const { mean, variance } = moments(n, c)
        return (
          ((at(n, c, p) - mean) / Math.sqrt(variance + 0.01)) * parameter('weight', c) + parameter('bias', c)
        )
      })
      await both(({ x, weight, bias }) => [groupNorm(x, groups, { weight, bias, epsilon: 0.01 })], [expected])
      if (groups === 4)
        await both(({ x, weight, bias }) => [instanceNorm(x, { weight, bias, epsilon: 0.01 })], [expected])
    }
  })

  it('refuse what does not fit, naming both', () => {
    const x = tensor(
      Array.from({ length: 24 }, (_, i) => i),
      [2, 6, 2],
    )
    expect(() => groupNorm(x, 4)).toThrow(/groupNorm: 4 groups do not divide the channels of \[2, 6, 2\]/)
    expect(() => instanceNorm(x, { weight: tensor([1, 2]) })).toThrow(/instanceNorm: \[2, 6, 2\] and \[2\]/)
  })
})

describe('batchNorm', () => {
  it('normalises by the given statistics, by one kernel', async () => {
    const expected = flat(
      (n, c, p) =>
        ((at(n, c, p) - parameter('mean', c)) / Math.sqrt(parameter('variance', c) + 1e-3)) *
          parameter('weight', c) +
        parameter('bias', c),
    )
    const f = ({ x, mean, variance, weight, bias }: Inputs): Tensor[] => [
      batchNorm(x, mean, variance, { weight, bias, epsilon: 1e-3 }),
    ]
    await both(f, [expected])
    expect((await compile(f, inputs)).nodes).toBe(1)
  })

  it('has the gradient of its definition on the CPU', async () => {
    const f = ({ x, ...rest }: Inputs): Tensor[] => {
      const g = grad((v: Inputs) => batchNorm(v.x, v.mean, v.variance, v).square().sum())({ x, ...rest })
      return [g.x, g.weight, g.bias, g.mean, g.variance]
    }
    const reference = await (await compile(f, inputs, { device: 'reference' })).run(inputs)
    const cpu = await (await compile(f, inputs)).run(inputs)
    cpu.forEach((v, i) =>
      close(
        toNumbers(v).map((n) => n / 100),
        toNumbers(reference[i]).map((n) => n / 100),
        4,
      ),
    )
  })
})

describe('batchNormTraining', () => {
  const momentum = 0.1
  const moments = [0, 1, 2, 3].map((c) => momentsOf([0, 1, 2].flatMap((n) => places.map((p) => at(n, c, p)))))

  it('normalises by the batch and moves the running statistics towards it, as PyTorch does', async () => {
    await both(
      ({ x, mean, variance, weight, bias }) =>
        Object.values(batchNormTraining(x, mean, variance, { weight, bias })),
      [
        flat(
          (n, c, p) =>
            ((at(n, c, p) - moments[c].mean) / Math.sqrt(moments[c].variance + 1e-5)) *
              parameter('weight', c) +
            parameter('bias', c),
        ),
        moments.map((m, c) => (1 - momentum) * parameter('mean', c) + momentum * m.mean),
        moments.map((m, c) => (1 - momentum) * parameter('variance', c) + (momentum * m.variance * 30) / 29),
      ],
    )
  })

  it('has a gradient that is orthogonal to constants and to the normalised input', async () => {
    const x = tensor([...toNumbers(inputs.x)], [3, 4, 5, 2], 'float64')
    const [mean, variance] = [tensor([0, 0, 0, 0], [4], 'float64'), tensor([1, 1, 1, 1], [4], 'float64')]
    const pull = tensor([...toNumbers(normals('pull', [3, 4, 5, 2]))], [3, 4, 5, 2], 'float64')
    const g = grad((t: Tensor) =>
      batchNormTraining(t, mean, variance, { epsilon: 0 }).output.mul(pull).sum(),
    )(x)
    const normal = batchNormTraining(x, mean, variance, { epsilon: 0 }).output
    const [sums, along] = await numbersOf(g.sum([0, 2, 3]), g.mul(normal).sum([0, 2, 3]))
    close(sums, [0, 0, 0, 0], 10)
    close(along, [0, 0, 0, 0], 10)
  })

  it('agrees with the interpreter in its gradients', async () => {
    const f = (v: Inputs): Tensor[] => {
      const g = grad((u: Inputs) => batchNormTraining(u.x, u.mean, u.variance, u).output.pow(3).sum())(v)
      return [g.x, g.weight, g.bias]
    }
    const reference = await (await compile(f, inputs, { device: 'reference' })).run(inputs)
    const cpu = await (await compile(f, inputs)).run(inputs)
    cpu.forEach((v, i) =>
      close(
        toNumbers(v).map((n) => n / 1000),
        toNumbers(reference[i]).map((n) => n / 1000),
        4,
      ),
    )
  })

  it('refuses a batch with one value a channel', () => {
    const one = tensor([1, 2], [1, 2])
    expect(() => batchNormTraining(one, one.at(0), one.at(0))).toThrow(/only one value a channel/)
  })
})
