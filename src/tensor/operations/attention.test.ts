import { describe, expect, it } from 'vitest'
import { concat, input } from '../create.js'
import { gradients } from '../grad.js'
import { interpret } from '../interpreter.js'
import { lower } from '../lower.js'
import type { Tensor } from '../tensor.js'
import { valueOf } from '../value.js'
import { attention, type AttentionOptions } from './attention.js'

const shapes = {
  q: [2, 4, 1, 6],
  past: [2, 2, 5, 6],
  fresh: [2, 2, 1, 6],
  pastV: [2, 2, 5, 3],
  freshV: [2, 2, 1, 3],
  mask: [2, 1, 1, 6],
} as const

type Inputs = Record<keyof typeof shapes, Tensor>

const symbols = (time: number): Inputs => ({
  q: input('q', [2, 4, time, 6]),
  past: input('past', shapes.past),
  fresh: input('fresh', [2, 2, time, 6]),
  pastV: input('pastV', shapes.pastV),
  freshV: input('freshV', [2, 2, time, 3]),
  mask: input('mask', [2, 1, 1, 5 + time], 'bool'),
})

const values = (inputs: Inputs) =>
  Object.fromEntries(
    Object.entries(inputs).map(([name, { shape, dtype, size }], seed) => [
      name,
      valueOf(
        Array.from({ length: size }, (_, i) =>
          dtype === 'bool' ? Number((i + seed) % 4 !== 0) : Math.sin(3 * i + seed),
        ),
        shape,
        dtype,
      ),
    ]),
  )

const outputsOf = (i: Inputs, options: AttentionOptions, whole: boolean): Tensor[] => {
  const joined = [concat([i.past, i.fresh], 2), concat([i.pastV, i.freshV], 2)]
  // What has been added to is no join any more.
  const [k, v] = whole ? joined.map((t) => t.add(0)) : joined
  const { output, probabilities, logSumExp } = attention(i.q, k, v, { ...options, mask: i.mask })
  const cotangents = gradients([output], [output.add(1)], [i.q, i.past, i.fresh, i.pastV, i.freshV])
  return [output, probabilities, logSumExp, ...cotangents.map((t) => t!)]
}

const operators = (t: Tensor, i: Inputs): string[] =>
  lower([t], new Set(Object.values(i)), 'cpu', { mapsFiles: true }).graph.nodes.map(({ type, attributes }) =>
    type === 'Concat' ? `Concat ${String(attributes?.axis)}` : type,
  )

describe('attention over keys and values that were joined', () => {
  for (const time of [1, 3])
    for (const options of [{}, { softcap: 2, scale: 0.7 }])
      it(`of ${time} queries is that over the whole, gradients too: ${JSON.stringify(options)}`, async () => {
        const i = symbols(time)
        const inputs = values(i)
        const parts = await interpret(outputsOf(i, options, false), { inputs })
        const whole = await interpret(outputsOf(i, options, true), { inputs })
        parts.forEach((numbers, at) =>
          numbers.forEach((x, n) => expect(x, `output ${at}`).toBeCloseTo(whole[at][n], 12)),
        )
      })

  it('multiplies part by part: the cache is not copied', () => {
    const i = symbols(1)
    const found = operators(
      attention(i.q, concat([i.past, i.fresh], 2), concat([i.pastV, i.freshV], 2)).output,
      i,
    )
    expect(found).not.toContain('Concat 2')
    expect(found).toContain('Concat 3')
  })
})

it('heads that share a key head stay rows of it where each asks once', () => {
  const i = symbols(1)
  const found = operators(attention(i.q, i.past, i.pastV, { scale: 0.5 }).output, i)
  expect(found).toEqual(['Reshape', 'FusedMatMul', 'Softmax', 'MatMul', 'Reshape'])
})
