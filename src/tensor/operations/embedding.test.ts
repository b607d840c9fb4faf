import { expect, it } from 'vitest'
import { input, stopGradient, where } from '../create.js'
import { grad } from '../grad.js'
import { interpret } from '../interpreter.js'
import { randomSource } from '../random-source.js'
import type { Tensor } from '../tensor.js'
import { toNumbers, type Value, valueOf } from '../value.js'
import { vmap } from '../vmap.js'
import { embedding } from './loss.js'

const table = valueOf([0.3, -1.2, 0.7, 0.4, -0.5, 1.1, 0.9, -0.2], [4, 2], 'float64')
const ids = valueOf([2, 1, 1, 3], [2, 2], 'int32')
const symbols = { table: input('table', [4, 2], 'float64'), ids: input('ids', [2, 2], 'int32') }

const evaluate = (outputs: Tensor[], values: Record<string, Value> = {}): Promise<Float64Array[]> =>
  interpret(outputs, { inputs: { table, ids, ...values }, random: randomSource({ seed: 1 }) })

/** A loss in which every row counts, more than once and not linearly. */
const lossOf = (rows: Tensor): Tensor => rows.square().mul(rows.exp()).sum()
const padded = (t: Tensor): Tensor => lossOf(embedding(t, symbols.ids, { padding: 1 }))

/** The same as a function of the table whose row 1 is a constant where it is looked up. */
const defined = (t: Tensor): Tensor => {
  const rows = embedding(t, symbols.ids)
  return lossOf(where(symbols.ids.equal(1).unsqueeze(-1), stopGradient(rows), rows))
}

it("padding's rows are looked up as others are", async () => {
  const [rows] = await evaluate([embedding(symbols.table, symbols.ids, { padding: 1 })])
  expect([...rows]).toEqual([-0.5, 1.1, 0.7, 0.4, 0.7, 0.4, 0.9, -0.2])
})

it('the row of padding gets no gradient, and every other row that of finite differences', async () => {
  const [gradient] = await evaluate([grad(padded)(symbols.table)])
  const step = 1e-5
  const differences = await Promise.all(
    Array.from({ length: 8 }, async (_, i) => {
      const sides = [step, -step].map((h) => toNumbers(table).map((x, j) => (i === j ? x + h : x)))
      const losses = sides.map((data) =>
        evaluate([padded(symbols.table)], { table: valueOf(data, [4, 2], 'float64') }),
      )
      const [[[up]], [[down]]] = await Promise.all(losses)
      return (up - down) / (2 * step)
    }),
  )
  expect(Math.abs(differences[2])).toBeGreaterThan(1)
  differences.forEach((difference, i) =>
    expect(gradient[i]).toBeCloseTo(i === 2 || i === 3 ? 0 : difference, 7),
  )
})

it('its second gradient and its rows under vmap are those of a constant row', async () => {
  const second = (f: (t: Tensor) => Tensor): Tensor =>
    grad((t: Tensor) => grad(f)(t).square().sum())(symbols.table)
  const mapped = (f: (t: Tensor) => Tensor): Tensor =>
    vmap((scale: Tensor) => grad(f)(symbols.table.mul(scale)))(symbols.table.slice(0, 0, 2).slice(1, 0, 1))
  const [twice, twiceDefined, many, manyDefined] = await evaluate([
    second(padded),
    second(defined),
    mapped(padded),
    mapped(defined),
  ])
  expect([...twice]).toEqual([...twiceDefined])
  expect([...many]).toEqual([...manyDefined])
})
