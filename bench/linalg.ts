/** @file How long the host's decompositions take: against ml-matrix, and against the budgets set for them. */
import { EigenvalueDecomposition, Matrix as Peer, SingularValueDecomposition } from 'ml-matrix'
import {
  linearAssignment,
  type Matrix,
  matrix,
  multiply,
  randomizedSvd,
  svd,
  symmetricEigen,
} from '../src/linalg/index.js'
import { keyOf, normal } from '../src/random/index.js'
import { type Row, row } from './row.js'

const gaussian = (rows: number, cols: number): Float32Array => {
  const data = new Float32Array(rows * cols)
  normal(data, keyOf(`${rows} x ${cols}`))
  return data
}

const seconds = async (work: () => unknown): Promise<number> => {
  const start = performance.now()
  await work()
  return (performance.now() - start) / 1000
}

const peer = ({ rows, cols, data }: Matrix): Peer => Peer.from1DArray(rows, cols, [...data])

export const bench = async (): Promise<Row[]> => {
  const a = matrix(512, 512, gaussian(512, 512))
  const gram = multiply(a, a, { transposeB: true })
  const [theirA, theirGram] = [peer(a), peer(gram)]
  const costs = matrix(1000, 1000, gaussian(1000, 1000))
  const large = { rows: 4096, cols: 4096, data: gaussian(4096, 4096) }
  return [
    row(
      'SVD 512 x 512',
      await seconds(() => svd(a)),
      'ml-matrix',
      await seconds(() => new SingularValueDecomposition(theirA)),
      's',
    ),
    row(
      'symmetric eigen 512 x 512',
      await seconds(() => symmetricEigen(gram)),
      'ml-matrix',
      await seconds(() => new EigenvalueDecomposition(theirGram, { assumeSymmetric: true })),
      's',
    ),
    row('rank 64 of 4096 x 4096', await seconds(() => randomizedSvd(large, 64)), 'budget', 10, 's'),
    row('assignment 1000 x 1000', await seconds(() => linearAssignment(costs)), 'budget', 2, 's'),
  ]
}
