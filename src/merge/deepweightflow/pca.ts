/**
 * @file Coordinates of a zoo: principal components by the eigenvectors of the members' inner products (dual PCA), so
 * that nothing as large as members times parameters is ever decomposed. A point is an affine combination of members,
 * which is how it becomes weights again.
 */
import { engineMatmul, hostMatmul, type Matrix, matrix, symmetricEigen } from '../../linalg/index.js'
import type { Value } from '../../tensor/index.js'
import { unflatten, type Zoo, type ZooBlock } from './zoo.js'

/** A zoo's members as points. */
export interface Coordinates {
  /** How many there are to a point. */
  readonly size: number
  /** [members, size]. */
  readonly points: Matrix
  /** What share of the members' variance they keep. */
  readonly explained: number
  /** Squared distances of the members from each other, [members, members]. */
  readonly distances: Matrix
  /** Distances of a point from all members, in the space of the weights. */
  distancesOf(point: ArrayLike<number>): Float64Array
  /** The weights at a point. */
  tensorsAt(point: ArrayLike<number>): Promise<Record<string, Value>>
}

/** Members minus their mean, [members, block]. */
const centred = ({ members }: ZooBlock): { rows: number; cols: number; data: Float32Array } => {
  const [rows, cols] = [members.length, members[0].length]
  const data = new Float32Array(rows * cols)
  for (let c = 0; c < cols; c++) {
    let sum = 0
    for (let r = 0; r < rows; r++) sum += members[r][c]
    for (let r = 0; r < rows; r++) data[r * cols + c] = members[r][c] - sum / rows
  }
  return { rows, cols, data }
}

/** Products from this many multiplications on are the engine's. */
const large = 2 ** 26

/** The inner products of the centred members, added up in float64 over blocks. */
const gramOf = async (zoo: Zoo): Promise<Matrix> => {
  const gram = matrix(zoo.count, zoo.count)
  const onEngine = engineMatmul()
  for await (const block of zoo.blocks()) {
    const x = centred(block)
    const product = await (x.rows ** 2 * x.cols < large ? hostMatmul : onEngine)(x, x, { transposeB: true })
    for (let i = 0; i < zoo.count; i++)
      for (let j = 0; j < zoo.count; j++)
        gram.data[i * zoo.count + j] +=
          (product.data[i * zoo.count + j] + product.data[j * zoo.count + i]) / 2
  }
  return gram
}

const distancesFrom = ({ rows: n, data }: Matrix): Matrix => {
  const out = matrix(n, n)
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++)
      out.data[i * n + j] = Math.max(0, data[i * n + i] + data[j * n + j] - 2 * data[i * n + j])
  return out
}

/** Σ weights[i] member i. */
const combined = async (zoo: Zoo, weights: Float64Array): Promise<Record<string, Value>> => {
  const tensors: Record<string, Value> = {}
  for await (const { specs, members } of zoo.blocks()) {
    const sum = new Float64Array(members[0].length)
    members.forEach((member, i) => {
      for (let c = 0; c < sum.length; c++) sum[c] += weights[i] * member[c]
    })
    Object.assign(tensors, unflatten(Float32Array.from(sum), specs))
  }
  return tensors
}

/**
 * The first `components` principal components of a zoo, at most its rank (default all of them). With as many as the
 * zoo's rank every member is a point exactly.
 */
export const principalCoordinates = async (zoo: Zoo, components: number = Infinity): Promise<Coordinates> => {
  const gram = await gramOf(zoo)
  const { values, vectors } = symmetricEigen(gram)
  const n = zoo.count
  const largest = values[n - 1]
  // Centring takes one direction away; members that are alike take more.
  const rank = values.filter((x) => x > 1e-6 * largest).length
  const size = Math.min(components, rank, n - 1)
  const scale = Float64Array.from({ length: size }, (_, j) => Math.sqrt(values[n - 1 - j]))
  const vector = (i: number, j: number): number => vectors.data[i * n + n - 1 - j]
  const points = matrix(n, size)
  for (let i = 0; i < n; i++)
    for (let j = 0; j < size; j++) points.data[i * size + j] = scale[j] * vector(i, j)
  const trace = values.reduce((sum, x) => sum + x, 0)
  const outside = Float64Array.from({ length: n }, (_, i) => {
    const inside = points.data.subarray(i * size, (i + 1) * size).reduce((sum, x) => sum + x * x, 0)
    return Math.max(0, gram.data[i * n + i] - inside)
  })
  return {
    size,
    points,
    explained: trace > 0 ? scale.reduce((sum, s) => sum + s * s, 0) / trace : 1,
    distances: distancesFrom(gram),
    distancesOf: (point) =>
      outside.map((rest, i) => {
        let sum = rest
        for (let j = 0; j < size; j++) sum += (point[j] - points.data[i * size + j]) ** 2
        return Math.sqrt(sum)
      }),
    tensorsAt: (point) => {
      const projected = Float64Array.from({ length: n }, (_, i) => {
        let sum = 0
        for (let j = 0; j < size; j++) sum += (point[j] * vector(i, j)) / scale[j]
        return sum
      })
      const rest = (1 - projected.reduce((sum, x) => sum + x, 0)) / n
      return combined(
        zoo,
        projected.map((x) => x + rest),
      )
    },
  }
}

/** The weights themselves as coordinates, from their mean. For models of few parameters. */
export const plainCoordinates = async (zoo: Zoo): Promise<Coordinates> => {
  const n = zoo.count
  const points = matrix(n, zoo.size)
  const mean = new Float64Array(zoo.size)
  let at = 0
  for await (const block of zoo.blocks()) {
    const { cols, data } = centred(block)
    for (let i = 0; i < n; i++) {
      points.data.set(data.subarray(i * cols, (i + 1) * cols), i * zoo.size + at)
      for (let c = 0; c < cols; c++) mean[at + c] += block.members[i][c] / n
    }
    at += cols
  }
  const distanceTo = (point: ArrayLike<number>, i: number): number => {
    let sum = 0
    for (let c = 0; c < zoo.size; c++) sum += (point[c] - points.data[i * zoo.size + c]) ** 2
    return sum
  }
  const distances = matrix(n, n)
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++)
      distances.data[i * n + j] = distanceTo(points.data.subarray(j * zoo.size, (j + 1) * zoo.size), i)
  return {
    size: zoo.size,
    points,
    explained: 1,
    distances,
    distancesOf: (point) => Float64Array.from({ length: n }, (_, i) => Math.sqrt(distanceTo(point, i))),
    tensorsAt: (point) =>
      Promise.resolve(
        unflatten(
          Float32Array.from(mean, (m, c) => m + point[c]),
          zoo.specs,
        ),
      ),
  }
}
