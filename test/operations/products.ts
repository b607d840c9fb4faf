/** @file The table's products beyond matmul: einsum, and those with integer and block-quantised weights. */
import {
  castValue,
  einsum,
  matmulBnb4,
  matmulDynamic,
  matmulInteger,
  matmulNBits,
  quantizeBlocks,
  quantizeBnb4,
  type Shape,
  toNumbers,
} from '../../src/tensor/index.js'
import type { Draw } from '../draw.js'
import type { Operation } from './operation.js'

/** Equations, and the shapes of their terms where i is long. */
const equations: readonly [string, (i: number, j: number, k: number) => readonly Shape[]][] = [
  [
    'ij,jk->ik',
    (i, j, k) => [
      [i, j],
      [j, k],
    ],
  ],
  [
    'ij,kj->ki',
    (i, j, k) => [
      [i, j],
      [k, j],
    ],
  ],
  [
    'bij,bjk',
    (i, j, k) => [
      [2, i, j],
      [2, j, k],
    ],
  ],
  [
    '...ij,jk->...ki',
    (i, j, k) => [
      [2, 1, i, j],
      [j, k],
    ],
  ],
  ['s,sio->io', (i, j, k) => [[j], [j, i, k]]],
  ['ij->j', (i, j) => [[i, j]]],
  ['jji->ij', (i, j) => [[j, j, i]]],
  ['i,j->ij', (i, j) => [[i], [j]]],
  [
    'ij,jk,kl->il',
    (i, j, k) => [
      [i, j],
      [j, k],
      [k, 2],
    ],
  ],
]

/** Weights [n, k] to be rounded, in float32 whatever the case's dtype. */
const weights = (d: Draw, n: number, k: number): Float32Array =>
  Float32Array.from(toNumbers(d.between(-1, 1, [n, k], 'float32')))

export const products: readonly Operation[] = [
  {
    name: 'einsum',
    make: (d) => {
      const [equation, shapes] = d.pick(equations)
      const [j, k] = [d.int(1, 3), d.int(1, 3)]
      return {
        inputs: shapes(d.rows(2 * j * k), j, k).map((shape) => d.values(shape)),
        f: (...terms) => einsum(equation, ...terms),
      }
    },
  },
  {
    name: 'matmulInteger',
    make: (d) => {
      const [k, m] = [d.width(1, 5), d.int(1, 4)]
      const zero = d.between(0, 9, [], 'uint8')
      return {
        inputs: [d.between(0, 255, [d.rows(k), k], 'uint8'), d.between(-128, 127, [k, m], 'int8'), zero],
        f: (a, b, aZero) => matmulInteger(a, b, { aZero }),
      }
    },
    dtypes: ['int32'],
    differentiable: false,
  },
  {
    name: 'matmulInteger, extreme values',
    make: (d) => {
      const k = 16 * d.int(1, 9)
      const m = d.int(1, 33)
      const rows = d.rows(k)
      return {
        inputs: [
          d.extremes([0, 255], [rows, k], 'uint8'),
          d.extremes([-128, 127], [k, m], 'int8'),
          d.extremes([0, 255], [], 'uint8'),
          d.extremes([-128, 127], d.bool() ? [m] : [], 'int8'),
        ],
        f: (a, b, aZero, bZero) => [
          matmulInteger(a, b),
          matmulInteger(a, b, { aZero }),
          matmulInteger(a, b, { aZero, bZero }),
        ],
      }
    },
    dtypes: ['int32'],
    differentiable: false,
  },
  {
    name: 'matmulDynamic, extreme values',
    make: (d) => {
      const k = 16 * d.int(1, 9)
      const m = d.int(1, 33)
      // Ranges whose zero point is a whole number, so that no code depends on rounding.
      const range = d.pick([[0, 2] as const, [-2, 0] as const, [-1, 254] as const])
      return {
        inputs: [d.extremes(range, [d.rows(k), k]), d.extremes([-128, 127], [k, m], 'int8'), d.positive([m])],
        f: matmulDynamic,
      }
    },
    differentiable: false,
  },
  {
    name: 'matmulDynamic',
    make: (d) => {
      const [k, m] = [d.width(1, 5), d.int(1, 4)]
      return {
        inputs: [d.values([d.rows(k), k]), d.between(-128, 127, [k, m], 'int8'), d.positive([m])],
        f: matmulDynamic,
      }
    },
    // The rounding of x has no derivative: its gradient is the straight-through one.
    differentiable: false,
  },
  ...([4, 8] as const).map((bits): Operation => ({
    name: `matmulNBits, ${bits} bits`,
    make: (d) => {
      const [n, k, blockSize] = [d.int(1, 5), 8 * d.int(1, 6), d.pick([16, 32])]
      const options = { bits, blockSize, zeroPoints: d.bool() }
      const { blocks, scales, zeroPoints } = quantizeBlocks(weights(d, n, k), [n, k], options)
      const packed = [blocks, castValue(scales, d.dtype), ...(zeroPoints ? [zeroPoints] : [])]
      return {
        inputs: [d.values([d.rows(k), k]), ...packed],
        f: (x, b, s, z) => matmulNBits(x, { blocks: b, scales: s, zeroPoints: z }, { bits, blockSize }),
      }
    },
  })),
  ...([4, 8] as const).map((bits): Operation => ({
    name: `matmulNBits, ${bits} bits, extreme values`,
    make: (d) => {
      const blockSize = d.pick([16, 32, 64])
      const k = blockSize * d.int(1, 5)
      const n = d.int(1, 33)
      const codes = [n, k / blockSize, (blockSize * bits) / 8]
      const blocks = d.extremes([0, 255], codes, 'uint8')
      const zeroPoints = d.extremes([0, 255], [n, Math.ceil(((k / blockSize) * bits) / 8)], 'uint8')
      const hasZeros = d.bool()
      return {
        inputs: [
          d.extremes([-2, 2], [d.rows(k), k]),
          blocks,
          d.extremes([0.5, 2], [n, k / blockSize]),
          ...(hasZeros ? [zeroPoints] : []),
        ],
        f: (x, b, s, z) => matmulNBits(x, { blocks: b, scales: s, zeroPoints: z }, { bits, blockSize }),
      }
    },
  })),
  ...(['nf4', 'fp4'] as const).map((type): Operation => ({
    name: `matmulBnb4, ${type}, extreme values`,
    make: (d) => {
      const blockSize = d.pick([16, 64])
      const k = blockSize * d.int(1, 3)
      const n = d.int(1, 33)
      return {
        inputs: [
          d.extremes([-2, 2], [d.rows(k), k]),
          d.extremes([0, 255], [(n * k) / 2], 'uint8'),
          d.extremes([0.5, 2], [(n * k) / blockSize]),
        ],
        f: (x, p, a) => matmulBnb4(x, { packed: p, absmax: a }, n, { type, blockSize }),
      }
    },
  })),
  ...(['nf4', 'fp4'] as const).map((type): Operation => ({
    name: `matmulBnb4, ${type}`,
    make: (d) => {
      const [n, k, blockSize] = [d.int(1, 5), 8 * d.int(1, 6), d.pick([16, 64])]
      const { packed, absmax } = quantizeBnb4(weights(d, n, k), [n, k], { type, blockSize })
      return {
        inputs: [d.values([d.rows(k), k]), packed, castValue(absmax, d.dtype)],
        f: (x, p, a) => matmulBnb4(x, { packed: p, absmax: a }, n, { type, blockSize }),
      }
    },
  })),
]
