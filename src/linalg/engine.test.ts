import { describe, expect, it } from 'vitest'
import { keyOf, normal } from '../random/index.js'
import { openSession } from '../runtime/index.js'
import { type Dense, engineMatmul, multiply, NotFiniteError, randomizedSvd, svd, matrix } from './index.js'

const gaussian = (rows: number, cols: number, seed: number): Dense & { data: Float32Array } => {
  const data = new Float32Array(rows * cols)
  normal(data, keyOf(seed))
  return { rows, cols, data }
}
const inFloat64 = ({ rows, cols, data }: Dense, factor: number): Dense => ({
  rows,
  cols,
  data: Float64Array.from(data, (x) => x * factor),
})

describe('engineMatmul', () => {
  it('is the product of the host to float32 accuracy, for every transposition', async () => {
    const matmul = engineMatmul()
    for (const transposeA of [false, true])
      for (const transposeB of [false, true]) {
        const a = transposeA ? gaussian(30, 20, 1) : gaussian(20, 30, 1)
        const b = transposeB ? gaussian(10, 30, 2) : gaussian(30, 10, 2)
        const ours = await matmul(a, b, { transposeA, transposeB })
        const exact = multiply(a, b, { transposeA, transposeB })
        expect([ours.rows, ours.cols]).toEqual([20, 10])
        exact.data.forEach((x, i) => expect(Math.abs(ours.data[i] - x)).toBeLessThan(1e-5))
      }
  })

  it('takes float64 operands beyond the range of float32', async () => {
    const [a, b] = [inFloat64(gaussian(5, 6, 3), 1e200), inFloat64(gaussian(6, 4, 4), 1e-100)]
    const ours = await engineMatmul()(a, b)
    multiply(a, b).data.forEach((x, i) => expect(Math.abs(ours.data[i] - x)).toBeLessThan(1e-5 * 1e100))
  })

  it('names an entry that is not finite', async () => {
    const a = inFloat64(gaussian(2, 2, 5), 1)
    a.data[1] = NaN
    await expect(engineMatmul()(a, a)).rejects.toThrow(NotFiniteError)
  })

  it('widens float32 operands of products in float64 in the program, with sums in float64', async () => {
    const matmul = engineMatmul({ precision: 'float64' })
    const [a, b] = [gaussian(20, 30, 8), gaussian(30, 10, 9)]
    const exact = multiply(a, b)
    const found = await matmul(a, b)
    expect(found.data).toBeInstanceOf(Float64Array)
    exact.data.forEach((x, i) => expect(Math.abs(found.data[i] - x)).toBeLessThan(1e-12))
  })

  it('opens one session a shape, and holds it', async () => {
    let opened = 0
    const counting: typeof openSession = (...given) => {
      opened++
      return openSession(...given)
    }
    const matmul = engineMatmul({ openSession: counting })
    const [a, b] = [gaussian(7, 6, 10), gaussian(6, 5, 11)]
    const first = await matmul(a, b)
    expect(await matmul(a, b)).toEqual(first)
    expect(opened).toBe(1)
    await matmul(a, b, { transposeA: false, transposeB: false })
    await matmul(gaussian(6, 7, 12), b, { transposeA: true })
    expect(opened).toBe(2)
  })

  it('carries randomizedSvd of float32 data by default', async () => {
    const a = multiply(gaussian(200, 12, 6), gaussian(12, 150, 7))
    const { s } = await randomizedSvd({ ...a, data: new Float32Array(a.data) }, 12)
    const exact = svd(matrix(200, 150, a.data)).s
    s.forEach((x, i) => expect(Math.abs(x - exact[i]) / exact[0]).toBeLessThan(1e-6))
  })
})
