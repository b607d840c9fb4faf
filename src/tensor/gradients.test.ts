import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Draw } from '../../test/draw.js'
import { type Case, operations } from '../../test/operations.js'
import { randomSource } from './random-source.js'
import { constant, input } from './create.js'
import { isFloat } from './dtype.js'
import { gradients, valueAndGrad } from './grad.js'
import { interpret } from './interpreter.js'
import { Tensor } from './tensor.js'
import { toNumbers, type Value, value, valueOf } from './value.js'
import { Stream } from '../random/index.js'
import { maxOf } from './numbers.js'

const runs = 60
const choices = fc.array(fc.nat(999), { maxLength: 16 })

const draws = (seed: string, count: number): Float64Array => {
  const stream = new Stream(seed)
  return Float64Array.from({ length: count }, () => stream.normal())
}

const norm = (x: Float64Array): number => Math.sqrt(x.reduce((n, v) => n + v * v, 0))
const dot = (a: Float64Array, b: Float64Array): number => a.reduce((n, v, i) => n + v * b[i], 0)

type Loss = (...inputs: Tensor[]) => Tensor

/** A scalar of f: its float outputs weighed with fixed numbers of either sign. */
const weighed =
  (f: Case['f']): Loss =>
  (...inputs) =>
    [f(...inputs)]
      .flat()
      .filter((t) => isFloat(t.dtype))
      .map((t, i) => t.mul(constant(valueOf(draws(`weight ${i}`, t.size), t.shape, t.dtype))).sum())
      .reduce((a, b) => a.add(b))

/**
 * Compares the gradient of `loss` by each float input, along a random direction, with the central difference of fourth
 * order, whose error at this step is about 1e-12.
 */
const checkGradient = async (inputs: readonly Value[], loss: Loss): Promise<void> => {
  const symbols = inputs.map((v, i) => input(`${i}`, v.shape, v.dtype))
  const wrt = symbols.filter((t) => isFloat(t.dtype))
  const { value: y, grads } = valueAndGrad((own: Tensor[]) =>
    loss(...symbols.map((t) => (wrt.includes(t) ? own[wrt.indexOf(t)] : t))),
  )(wrt)
  const feed = (at: number, moved?: Value): Record<string, Value> =>
    Object.fromEntries(inputs.map((v, i) => [i, i === at && moved ? moved : v]))
  const random = randomSource({ seed: 1 })
  const analytic = await interpret(grads, { inputs: feed(-1), random })
  for (const [i, symbol] of wrt.entries()) {
    const at = symbols.indexOf(symbol)
    const [start, direction] = [toNumbers(inputs[at]), draws(`direction ${i}`, symbol.size)]
    const along = async (h: number): Promise<number> => {
      const moved = value(
        start.map((x, k) => x + h * direction[k]),
        symbol.shape,
        'float64',
      )
      return (await interpret([y], { inputs: feed(at, moved), random }))[0][0]
    }
    const h = 1e-3 / Math.max(1, maxOf(direction.map(Math.abs)))
    const numeric =
      (8 * ((await along(h)) - (await along(-h))) - ((await along(2 * h)) - (await along(-2 * h)))) / (12 * h)
    expect(Math.abs(numeric - dot(analytic[i], direction)), `input ${at}`).toBeLessThanOrEqual(
      1e-6 * norm(analytic[i]) + 1e-9,
    )
  }
}

/** The loss's gradient along fixed directions: its own gradient is of second order. */
const slope =
  (loss: Loss): Loss =>
  (...inputs) => {
    const wrt = inputs.filter((t) => isFloat(t.dtype))
    const y = loss(...inputs)
    const found = gradients([y], [constant(valueOf([1], y.shape, y.dtype))], wrt)
    return found
      .flatMap((g, i) =>
        g ? [g.mul(constant(valueOf(draws(`slope ${i}`, g.size), g.shape, g.dtype))).sum()] : [],
      )
      .reduce((a, b) => a.add(b), constant(valueOf([0], [], 'float64')))
  }

const check = (make: (draw: Draw) => Case, of: (loss: Loss) => Loss): Promise<void> =>
  fc.assert(
    fc.asyncProperty(choices, async (list) => {
      const { inputs, f } = make(new Draw(list, { dtype: 'float64' }))
      await checkGradient(inputs, of(weighed(f)))
    }),
    { numRuns: runs, seed: 1 },
  )

const withGradients = operations.filter((o) => o.differentiable !== false)

describe('the gradient equals the central difference', () => {
  it.each(withGradients)('$name', ({ make }) => check(make, (loss) => loss))
})

describe('the second derivative equals the central difference of the first', () => {
  it.each(withGradients.filter((o) => o.smooth !== false))('$name', ({ make }) => check(make, slope))
})
