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
