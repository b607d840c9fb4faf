import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compile, type Tensor, toNumbers, type Value, valueOf } from '../tensor/index.js'
import { adamW, type Optimizer, schedule, sgd } from './index.js'

/** Steps of an optimiser on one parameter 'w' (and 'b'), on the interpreter. */
const steps = async (
  optimizer: Optimizer,
  start: number[],
  gradients: number[][],
  rate: number,
): Promise<number[]> => {
  let parameters: Record<string, Value> = { w: valueOf(start, [start.length]) }
  let state = optimizer.init(parameters)
  for (const [i, g] of gradients.entries()) {
    const scalars = Object.fromEntries(
      Object.entries(optimizer.scalars(i + 1, rate)).map(([k, x]) => [k, valueOf([x], [])]),
    )
    type Named = Record<string, Tensor>
    const program = await compile(
      (given: { parameters: Named; gradients: Named; state: Record<string, Named>; scalars: Named }) => {
        const next = optimizer.update(given.parameters, given.gradients, given.state, given.scalars)
        return { parameters: { ...next.parameters }, state: { ...next.state } }
      },
      { parameters, gradients: { w: valueOf(g, [g.length]) }, state: { ...state }, scalars },
      { device: 'reference' },
    )
    const given = { parameters, gradients: { w: valueOf(g, [g.length]) }, state, scalars }
    ;({ parameters, state } = await program.run(given as never))
  }
  return [...toNumbers(parameters.w)]
}

const number = fc.double({ min: -2, max: 2, noNaN: true }).map(Math.fround)
const run = fc.record({ start: number, gradients: fc.array(number, { minLength: 1, maxLength: 4 }) })

describe('optimisers', () => {
  it('AdamW adds epsilon before the correction of the bias where it is asked to: the second form of Adam', () =>
    fc.assert(
      fc.asyncProperty(run, async ({ start, gradients }) => {
        let [p, m, v] = [start, 0, 0]
        gradients.forEach((g, i) => {
          m = 0.8 * m + 0.2 * g
          v = 0.95 * v + 0.05 * g * g
          const rate = (0.01 * Math.sqrt(1 - 0.95 ** (i + 1))) / (1 - 0.8 ** (i + 1))
          p -= (rate * m) / (Math.sqrt(v) + 1e-3)
        })
        const optimizer = adamW({
          betas: [0.8, 0.95],
          epsilon: 1e-3,
          weightDecay: 0,
          epsilonBeforeCorrection: true,
        })
        const [found] = await steps(
          optimizer,
          [start],
          gradients.map((g) => [g]),
          0.01,
        )
        expect(found).toBeCloseTo(p, 5)
      }),
      { numRuns: 20 },
    ))

  it("AdamW is the paper's algorithm 2 with PyTorch's order of the terms", () =>
    fc.assert(
      fc.asyncProperty(run, async ({ start, gradients }) => {
        let [p, m, v] = [start, 0, 0]
        gradients.forEach((g, i) => {
          p -= 0.01 * 0.1 * p
          m = 0.9 * m + 0.1 * g
          v = 0.99 * v + 0.01 * g * g
          p -= (0.01 * (m / (1 - 0.9 ** (i + 1)))) / (Math.sqrt(v / (1 - 0.99 ** (i + 1))) + 1e-6)
        })
        const optimizer = adamW({ betas: [0.9, 0.99], epsilon: 1e-6, weightDecay: 0.1 })
        const [found] = await steps(
          optimizer,
          [start],
          gradients.map((g) => [g]),
          0.01,
        )
        expect(found).toBeCloseTo(p, 5)
      }),
      { numRuns: 15 },
    ))

  it.each([false, true])('SGD has momentum and decay as PyTorch (nesterov: %s)', (nesterov) =>
    fc.assert(
      fc.asyncProperty(run, async ({ start, gradients }) => {
        let [p, m] = [start, 0]
        for (const raw of gradients) {
          const g = raw + 0.05 * p
          m = 0.8 * m + g
          p -= 0.1 * (nesterov ? g + 0.8 * m : m)
        }
        const optimizer = sgd({ momentum: 0.8, nesterov, weightDecay: 0.05 })
        const [found] = await steps(
          optimizer,
          [start],
          gradients.map((g) => [g]),
          0.1,
        )
        expect(found).toBeCloseTo(p, 5)
      }),
      { numRuns: 15 },
    ),
  )

  it('gives the first group that matches a name its own rate and decay', async () => {
    const groups = [{ match: (name: string) => name === 'w', rateScale: 0.5, weightDecay: 0 }]
    const [found] = await steps(sgd({ weightDecay: 9, groups }), [1], [[2]], 0.1)
    expect(found).toBeCloseTo(1 - 0.5 * 0.1 * 2, 6)
    const [slow] = await steps(adamW({ groups }), [1], [[2]], 0.1)
    expect(slow).toBeCloseTo(1 - 0.05, 5)
  })
})

describe('schedules', () => {
  const options = { learningRate: 2, steps: 10 }
  it('rise over the warm-up, hold or fall to the floor at the end', () => {
    const linear = schedule('linear', { ...options, warmup: 4, floor: 0.1 })
    expect([0, 1, 3].map(linear)).toEqual([0.5, 1, 2])
    expect([linear(4), linear(7), linear(10)]).toEqual([2, expect.closeTo(1.1), expect.closeTo(0.2)])
    const cosine = schedule('warmup-cosine', { ...options, warmup: 2 })
    expect([cosine(2), cosine(6), cosine(10), cosine(99)]).toEqual([2, expect.closeTo(1), 0, 0])
    expect(schedule('constant', options)(7)).toBe(2)
    expect(schedule('warmup', { ...options, warmup: 2 })(0)).toBe(1)
  })
  it('refuse a name that is none', () => {
    expect(() => schedule('cosine' as never, options)).toThrow(/Nearest: warmup-cosine|Nearest: .*constant/)
  })
})
