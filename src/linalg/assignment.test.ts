import fc from 'fast-check'
import highsLoader from 'highs'
import { describe, expect, it } from 'vitest'
import { Stream } from '../random/index.js'
import { linearAssignment, type Matrix, matrix, matrixOf, NotFiniteError } from './index.js'

// The package's types describe a CommonJS module; imported as ESM, its default export is the loader itself.
const highs = await (highsLoader as unknown as typeof highsLoader.default)()

/** The optimal total by linear programming. */
const optimum = ({ rows, cols, data }: Matrix, maximize: boolean): number => {
  const term = (i: number, j: number, factor: number): string =>
    `${factor < 0 ? '-' : '+'} ${Math.abs(factor)} x${i}_${j}`
  const all = (count: number): number[] => Array.from({ length: count }, (_, k) => k)
  const sum = (pairs: number[][], factor: (i: number, j: number) => number): string =>
    pairs.map(([i, j]) => term(i, j, factor(i, j))).join(' ')
  const pairs = all(rows).flatMap((i) => all(cols).map((j) => [i, j]))
  const limits = [
    ...all(rows).map(
      (i) =>
        `${sum(
          pairs.filter((p) => p[0] === i),
          () => 1,
        )} ${rows <= cols ? '=' : '<='} 1`,
    ),
    ...all(cols).map(
      (j) =>
        `${sum(
          pairs.filter((p) => p[1] === j),
          () => 1,
        )} ${cols <= rows ? '=' : '<='} 1`,
    ),
  ]
  const goal = sum(pairs, (i, j) => data[i * cols + j])
  const problem = `${maximize ? 'Maximize' : 'Minimize'}\n obj: ${goal}\nSubject To\n ${limits.join('\n ')}\nEnd`
  return highs.solve(problem).ObjectiveValue
}

/** Checks that no column is used twice, that as many rows as possible are assigned, and that the total adds up. */
const checkAssignment = (cost: Matrix, { columns, total }: { columns: Int32Array; total: number }): void => {
  const used = [...columns].filter((j) => j >= 0)
  expect(columns.length).toBe(cost.rows)
  expect(new Set(used).size).toBe(used.length)
  expect(used.length).toBe(Math.min(cost.rows, cost.cols))
  expect(used.every((j) => j < cost.cols)).toBe(true)
  const sum = [...columns].reduce((s, j, i) => (j < 0 ? s : s + cost.data[i * cost.cols + j]), 0)
  expect(total).toBeCloseTo(sum, 9)
}

const size = fc.integer({ min: 1, max: 9 })
const entries: Record<string, (s: Stream) => number> = {
  real: (s) => Math.round(s.normal() * 1e6) / 1e6,
  integer: (s) => s.int(10) - 5,
  tied: (s) => s.int(2),
}

describe('linearAssignment', () => {
  it('reaches the optimum that highs finds: any shape, minimum and maximum, with and without ties', () => {
    fc.assert(
      fc.property(
        size,
        size,
        fc.constantFrom(...Object.keys(entries)),
        fc.boolean(),
        fc.nat(),
        (m, n, k, maximize, seed) => {
          const stream = new Stream(seed)
          const cost = matrix(
            m,
            n,
            Array.from({ length: m * n }, () => entries[k](stream)),
          )
          const found = linearAssignment(cost, { maximize })
          checkAssignment(cost, found)
          expect(Math.abs(found.total - optimum(cost, maximize))).toBeLessThan(1e-6)
        },
      ),
      { numRuns: 150 },
    )
  })

  it('reaches the optimum of a 40 x 60 problem', () => {
    const stream = new Stream(1)
    const cost = matrix(
      40,
      60,
      Array.from({ length: 2400 }, () => stream.int(1000)),
    )
    const found = linearAssignment(cost)
    checkAssignment(cost, found)
    expect(found.total).toBeCloseTo(optimum(cost, false), 6)
  })

  it('undoes a permutation of 300 rows from their similarities', () => {
    const stream = new Stream(2)
    const n = 300
    const order = stream.permutation(n)
    const similarity = matrix(
      n,
      n,
      Array.from({ length: n * n }, () => stream.uniform()),
    )
    order.forEach((j, i) => (similarity.data[i * n + j] += 1))
    expect([...linearAssignment(similarity, { maximize: true }).columns]).toEqual([...order])
  })

  it('takes extreme, equal and no entries', () => {
    expect(linearAssignment(matrix(0, 0))).toEqual({ columns: new Int32Array(0), total: 0 })
    expect([...linearAssignment(matrix(2, 0)).columns]).toEqual([-1, -1])
    expect([...linearAssignment(matrixOf([[1e300, -1e300], [-1e300, 1e300]])).columns]).toEqual([1, 0]) // prettier-ignore
    checkAssignment(matrix(5, 3), linearAssignment(matrix(5, 3)))
  })

  it('refuses entries that are not finite', () => {
    expect(() => linearAssignment(matrixOf([[1, NaN]]))).toThrow(NotFiniteError)
    expect(() => linearAssignment(matrixOf([[1], [Infinity]]))).toThrow(NotFiniteError)
  })
})
