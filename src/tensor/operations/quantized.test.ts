import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Stream } from '../../random/index.js'
import {
  bound,
  compile,
  dequantizeBlocks,
  dequantizeBnb4,
  grad,
  matmulBnb4,
  matmulDynamic,
  matmulInteger,
  matmulNBits,
  quantizeBlocks,
  quantizeBnb4,
  type Tensor,
  toNumbers,
  type Value,
  value,
  valueOf,
} from '../index.js'
import { maxOf } from '../numbers.js'

const normals = (seed: string, count: number): Float32Array => {
  const stream = new Stream(seed)
  return Float32Array.from({ length: count }, () => stream.normal())
}

/** The greatest difference, in units of the greatest number of `b`, or of `unit`. */
const distance = (a: ArrayLike<number>, b: ArrayLike<number>, unit = 1e-30): number => {
  let [difference, top] = [0, unit]
  for (let i = 0; i < b.length; i++) {
    difference = Math.max(difference, Math.abs(a[i] - b[i]))
    top = Math.max(top, Math.abs(b[i]))
  }
  return a.length === b.length ? difference / top : Infinity
}

const held = (v: Value): Tensor => bound({ kind: 'memory', dtype: v.dtype, shape: v.shape, value: v })

/** x Wᵀ. */
const product = (x: Float32Array, w: Float32Array, rows: number, n: number, k: number): Float64Array =>
  Float64Array.from({ length: rows * n }, (_, i) => {
    let sum = 0
    for (let j = 0; j < k; j++) sum += x[Math.floor(i / n) * k + j] * w[(i % n) * k + j]
    return sum
  })

/** The greatest sum of magnitudes that a product adds up: rounding errors are in proportion to it. */
const magnitude = (x: Float32Array, w: Float32Array, rows: number, n: number, k: number): number =>
  maxOf(product(x.map(Math.abs), w.map(Math.abs), rows, n, k))

const onBoth = async (f: (x: Tensor) => Tensor, x: Value): Promise<[Float64Array, Float64Array, number]> => {
  const cpu = await compile(f, x)
  const reference = await compile(f, x, { device: 'reference' })
  return [toNumbers(await cpu.run(x)), toNumbers(await reference.run(x)), cpu.nodes]
}

const sizes = fc.record({
  rows: fc.integer({ min: 1, max: 5 }),
  n: fc.integer({ min: 1, max: 9 }),
  k: fc.integer({ min: 1, max: 150 }),
  seed: fc.string({ maxLength: 4 }),
})

describe('matmulNBits', () => {
  it.each([
    { bits: 4, zeroPoints: false },
    { bits: 4, zeroPoints: true },
    { bits: 8, zeroPoints: false },
    { bits: 8, zeroPoints: true },
  ] as const)(
    'is one kernel, equal to its definition and to the unpacked weights: %j',
    async ({ bits, zeroPoints }) => {
      await fc.assert(
        fc.asyncProperty(sizes, fc.constantFrom(16, 32, 64), async ({ rows, n, k, seed }, blockSize) => {
          const [x, w] = [normals(`x${seed}`, rows * k), normals(`w${seed}`, n * k)]
          const packed = quantizeBlocks(w, [n, k], { bits, blockSize, zeroPoints })
          const weights = {
            blocks: held(packed.blocks),
            scales: held(packed.scales),
            zeroPoints: packed.zeroPoints && held(packed.zeroPoints),
          }
          const f = (t: Tensor): Tensor => matmulNBits(t, weights, { bits, blockSize })
          const [cpu, reference, nodes] = await onBoth(f, value(x, [rows, k], 'float32'))
          const unpacked = dequantizeBlocks(packed, [n, k], { bits, blockSize })
          expect(nodes).toBe(1)
          const exact = product(x, unpacked, rows, n, k)
          expect(distance(reference, exact, magnitude(x, unpacked, rows, n, k))).toBeLessThan(1e-6)
          expect(distance(cpu, reference, magnitude(x, unpacked, rows, n, k))).toBeLessThan(1e-6)
        }),
        { numRuns: 12 },
      )
    },
  )

  it('has the gradient of the product with the unpacked weights', async () => {
    const [rows, n, k] = [3, 5, 40]
    const packed = quantizeBlocks(normals('w', n * k), [n, k], { zeroPoints: true })
    const unpacked = dequantizeBlocks(packed, [n, k])
    const f = (x: Tensor): Tensor => {
      const weights = {
        blocks: held(packed.blocks),
        scales: held(packed.scales),
        zeroPoints: held(packed.zeroPoints!),
      }
      return grad((t: Tensor) => matmulNBits(t, weights).square().sum())(x)
    }
    const x = normals('x', rows * k)
    const [cpu, reference] = await onBoth(f, value(x, [rows, k], 'float32'))
    const y = product(x, unpacked, rows, n, k)
    const expected = Float64Array.from({ length: rows * k }, (_, i) => {
      let sum = 0
      for (let o = 0; o < n; o++) sum += 2 * y[Math.floor(i / k) * n + o] * unpacked[o * k + (i % k)]
      return sum
    })
    expect(distance(reference, expected)).toBeLessThan(1e-6)
    expect(distance(cpu, expected)).toBeLessThan(1e-5)
  })

  it('refuses weights that do not fit, with what it expected', async () => {
    const { blocks, scales } = quantizeBlocks(normals('w', 4 * 64), [4, 64])
    const f = (x: Tensor): Tensor => matmulNBits(x, { blocks: held(blocks), scales: held(scales) })
    await expect(compile(f, { shape: [2, 96], dtype: 'float32' as const })).rejects.toThrow(
      /matmulNBits: x \[2, 96\].*\[4, 3, 16\] and \[4, 3\]/,
    )
  })
})

describe('quantizeBlocks', () => {
  it('rounds every weight to within half a step of its block', () => {
    fc.assert(
      fc.property(
        sizes,
        fc.constantFrom(4 as const, 8 as const),
        fc.boolean(),
        ({ n, k, seed }, bits, zeroPoints) => {
          const options = { bits, blockSize: 16, zeroPoints }
          const w = normals(seed, n * k).map((x) => x + (zeroPoints ? 3 : 0))
          const packed = quantizeBlocks(w, [n, k], options)
          const back = dequantizeBlocks(packed, [n, k], options)
          const count = Math.ceil(k / 16)
          for (let i = 0; i < w.length; i++) {
            const scale = Math.abs(
              Number(packed.scales.data[Math.floor(i / k) * count + Math.floor((i % k) / 16)]),
            )
            // The symmetric grid has no code for the greatest magnitude with the other sign: it may be a whole step off.
            const allowed = zeroPoints ? scale * 0.501 : scale * 1.001
            expect(Math.abs(back[i] - w[i])).toBeLessThanOrEqual(allowed + 1e-6)
          }
        },
      ),
      { numRuns: 40 },
    )
  })

  it('keeps zeros, and what lies on the grid, exactly', () => {
    const w = Float32Array.from({ length: 32 }, (_, i) => (i % 16) - 8)
    expect(
      dequantizeBlocks(quantizeBlocks(w, [2, 16], { blockSize: 16 }), [2, 16], { blockSize: 16 }),
    ).toEqual(w)
    const zeros = quantizeBlocks(new Float32Array(20), [2, 10], { zeroPoints: true })
    expect(dequantizeBlocks(zeros, [2, 10])).toEqual(new Float32Array(20))
  })
})

describe('matmulBnb4', () => {
  it.each(['nf4', 'fp4'] as const)(
    'is one kernel, equal to its definition and to the unpacked weights: %s',
    async (type) => {
      await fc.assert(
        fc.asyncProperty(sizes, fc.constantFrom(16, 64), async ({ rows, n, k, seed }, blockSize) => {
          const [x, w] = [normals(`x${seed}`, rows * k), normals(`w${seed}`, n * k)]
          const packed = quantizeBnb4(w, [n, k], { type, blockSize })
          const weights = { packed: held(packed.packed), absmax: held(packed.absmax) }
          const f = (t: Tensor): Tensor => matmulBnb4(t, weights, n, { type, blockSize })
          const [cpu, reference, nodes] = await onBoth(f, value(x, [rows, k], 'float32'))
          const unpacked = dequantizeBnb4(packed, [n, k], { type, blockSize })
          expect(nodes).toBe(1)
          const exact = product(x, unpacked, rows, n, k)
          expect(distance(reference, exact, magnitude(x, unpacked, rows, n, k))).toBeLessThan(1e-6)
          expect(distance(cpu, reference, magnitude(x, unpacked, rows, n, k))).toBeLessThan(1e-6)
        }),
        { numRuns: 12 },
      )
    },
  )

  it('has the gradient of its definition', async () => {
    const packed = quantizeBnb4(normals('w', 6 * 33), [6, 33])
    const f = (x: Tensor): Tensor => {
      const weights = { packed: held(packed.packed), absmax: held(packed.absmax) }
      return grad((t: Tensor) => matmulBnb4(t, weights, 6).sum())(x)
    }
    const [cpu, reference] = await onBoth(f, value(normals('x', 66), [2, 33], 'float32'))
    const w = dequantizeBnb4(packed, [6, 33])
    const columns = Float64Array.from({ length: 66 }, (_, i) =>
      [0, 1, 2, 3, 4, 5].reduce((sum, o) => sum + w[o * 33 + (i % 33)], 0),
    )
    expect(distance(reference, columns)).toBeLessThan(1e-6)
    expect(distance(cpu, columns)).toBeLessThan(1e-5)
  })

  it('rounds to the nearest of the sixteen numbers, the greatest magnitude exactly', () => {
    const w = Float32Array.of(0, 3, -3, 0.08 * 3, 0.5 * 3, 1.49)
    const nf4 = dequantizeBnb4(quantizeBnb4(w, [2, 3]), [2, 3])
    expect([...nf4.slice(0, 3)]).toEqual([0, 3, -3])
    expect(nf4[3]).toBeCloseTo(3 * 0.0795803, 5)
    expect(nf4[4]).toBeCloseTo(3 * 0.4407098, 5)
    expect(
      [...dequantizeBnb4(quantizeBnb4(w, [2, 3], { type: 'fp4' }), [2, 3], { type: 'fp4' })].slice(4),
    ).toEqual([1.5, 1.5])
  })
})

describe('matmulInteger', () => {
  it('is exact, also where 16 bits would overflow', async () => {
    await fc.assert(
      fc.asyncProperty(sizes, fc.boolean(), async ({ rows, n, k, seed }, zeros) => {
        const stream = new Stream(seed)
        const ints = (count: number, low: number, high: number): number[] =>
          Array.from({ length: count }, () => stream.int(high - low + 1) + low)
        const [a, b, az, bz] = [
          ints(rows * k, 0, 255),
          ints(k * n, -128, 127),
          ints(1, 0, 255),
          ints(n, -128, 127),
        ]
        const inputs = {
          a: valueOf(a, [rows, k], 'uint8'),
          b: valueOf(b, [k, n], 'int8'),
          aZero: valueOf(az, [], 'uint8'),
          bZero: valueOf(bz, [n], 'int8'),
        }
        const f = ({ a, b, aZero, bZero }: Record<keyof typeof inputs, Tensor>): Tensor =>
          matmulInteger(a, b, zeros ? { aZero, bZero } : {})
        const expected = Array.from({ length: rows * n }, (_, i) => {
          let sum = 0
          for (let j = 0; j < k; j++)
            sum +=
              (a[Math.floor(i / n) * k + j] - (zeros ? az[0] : 0)) *
              (b[j * n + (i % n)] - (zeros ? bz[i % n] : 0))
          return sum
        })
        const cpu = await compile(f, inputs)
        const reference = await compile(f, inputs, { device: 'reference' })
        expect([...toNumbers(await cpu.run(inputs))]).toEqual(expected)
        expect([...toNumbers(await reference.run(inputs))]).toEqual(expected)
      }),
      { numRuns: 15 },
    )
  })
})

describe('matmulDynamic', () => {
  const [rows, n, k] = [4, 6, 50]
  const w = valueOf(
    normals('w', n * k).map((x) => Math.max(-127, Math.min(127, Math.round(40 * x)))),
    [k, n],
    'int8',
  )
  const scale = valueOf(
    Array.from({ length: n }, (_, i) => 0.01 * (i + 1)),
    [n],
  )
  const x = valueOf(normals('x', rows * k), [rows, k])
  const inputs = { x, w, scale }

  it('is the float product to within the rounding of x, in the interpreter and on the CPU', async () => {
    const f = ({ x, w, scale }: Record<keyof typeof inputs, Tensor>): Tensor[] => [
      matmulDynamic(x, w, scale),
      x.matmul(w.cast('float32').mul(scale)),
    ]
    for (const device of ['cpu', 'reference'] as const) {
      const [y, exact] = (await (await compile(f, inputs, { device })).run(inputs)).map(toNumbers)
      expect(distance(y, exact)).toBeLessThan(0.02)
      expect(distance(y, exact)).toBeGreaterThan(0)
    }
  })

  it('passes the gradient straight through the rounding', async () => {
    const f = ({ x, w, scale }: Record<keyof typeof inputs, Tensor>): Tensor[] => [
      grad((t: Tensor) => matmulDynamic(t, w, scale).sum())(x),
      grad((t: Tensor) => t.matmul(w.cast('float32').mul(scale)).sum())(x),
    ]
    const [ours, exact] = (await (await compile(f, inputs)).run(inputs)).map(toNumbers)
    expect(distance(ours, exact)).toBeLessThan(1e-6)
  })
})
