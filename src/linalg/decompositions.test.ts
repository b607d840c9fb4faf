import fc from 'fast-check'
import { EigenvalueDecomposition, QrDecomposition, SingularValueDecomposition } from 'ml-matrix'
import { describe, expect, it } from 'vitest'
import {
  cholesky,
  identity,
  leastSquares,
  matrix,
  matrixOf,
  MatrixShapeError,
  multiply,
  NotFiniteError,
  NotPositiveDefiniteError,
  NotSquareError,
  NotSymmetricError,
  qr,
  SingularError,
  solvePositiveDefinite,
  solveTriangular,
  svd,
  symmetricEigen,
  transpose,
} from './index.js'
import {
  gaussian,
  times,
  largest,
  distance,
  symmetric,
  scaleColumns,
  orthogonal,
  oracle,
  tolerance,
  orthonormal,
  kinds,
  kind,
  extreme,
  size,
  anyMatrix,
  anySquare,
  runs,
} from '../../test/matrices.js'

describe('multiply', () => {
  it('equals the sum of products for every transposition, across block edges', () => {
    for (const [m, k, n] of [
      [1, 1, 1],
      [3, 5, 2],
      [65, 130, 67],
      [2, 66, 515],
    ])
      for (const transposeA of [false, true])
        for (const transposeB of [false, true]) {
          const [a, b] = [gaussian(m, k, 1), gaussian(k, n, 2)]
          const expected = matrix(m, n)
          for (let i = 0; i < m; i++)
            for (let j = 0; j < n; j++)
              for (let p = 0; p < k; p++) expected.data[i * n + j] += a.data[i * k + p] * b.data[p * n + j]
          const left = transposeA ? transpose(a) : a
          const right = transposeB ? transpose(b) : b
          expect(distance(multiply(left, right, { transposeA, transposeB }), expected)).toBeLessThan(1e-13)
        }
  })

  it('refuses sizes that do not fit', () => {
    expect(() => multiply(matrix(2, 3), matrix(2, 3))).toThrow(MatrixShapeError)
    expect(() => matrix(2, 3, [1, 2])).toThrow(MatrixShapeError)
    expect(() => matrix(-1, 3)).toThrow(MatrixShapeError)
    expect(() => matrixOf([[1, 2], [3]])).toThrow(MatrixShapeError)
  })
})

describe('qr', () => {
  it('Q^T Q = I, R is upper triangular, Q R = A', () => {
    fc.assert(
      fc.property(anyMatrix, (a) => {
        const { q, r } = qr(a)
        orthonormal(q)
        expect(r.data.every((x, i) => i % r.cols >= Math.floor(i / r.cols) || x === 0)).toBe(true)
        expect(distance(multiply(q, r), a)).toBeLessThanOrEqual(tolerance(a))
      }),
      runs,
    )
  })

  it('R is that of ml-matrix, up to the signs of its rows', () => {
    for (const [m, n] of [
      [6, 6],
      [40, 13],
    ]) {
      const a = gaussian(m, n, 5)
      const theirs = new QrDecomposition(oracle(a)).upperTriangularMatrix
      const { r } = qr(a)
      r.data.forEach((x, i) =>
        expect(Math.abs(x)).toBeCloseTo(Math.abs(theirs.get(Math.floor(i / n), i % n)), 12),
      )
    }
  })

  it("has LAPACK's signs: the diagonal of R is opposite in sign to the entry it comes from", () => {
    expect(qr(matrixOf([[3], [4]])).r.data[0]).toBeCloseTo(-5, 14)
    expect(qr(matrixOf([[-3], [4]])).r.data[0]).toBeCloseTo(5, 14)
  })
})

describe('cholesky', () => {
  it('L L^T = A with L lower triangular, and A X = B is solved', () => {
    fc.assert(
      fc.property(size, fc.nat(10_000), (n, seed) => {
        const g = gaussian(n, n + 3, seed)
        const a = multiply(g, g, { transposeB: true })
        const l = cholesky(a)
        expect(l.data.every((x, i) => i % n <= Math.floor(i / n) || x === 0)).toBe(true)
        expect(distance(multiply(l, l, { transposeB: true }), a)).toBeLessThanOrEqual(tolerance(a))
        const b = gaussian(n, 2, seed + 1)
        const x = solvePositiveDefinite(a, b)
        const residual = distance(multiply(a, x), b)
        expect(residual).toBeLessThanOrEqual(tolerance(a) * Math.max(1, n * largest(x)) + 1e-15)
      }),
      runs,
    )
  })

  it('goes over the edges of its blocks, and names a pivot beyond the first', () => {
    for (const n of [31, 32, 33, 80]) {
      const g = gaussian(n, n + 10, n)
      const a = multiply(g, g, { transposeB: true })
      const l = cholesky(a)
      expect(distance(multiply(l, l, { transposeB: true }), a)).toBeLessThanOrEqual(tolerance(a))
      a.data[(n - 1) * n + n - 1] = 0
      expect(() => cholesky(a)).toThrow(`pivot ${n - 1} is -`)
    }
  })

  it('names the first pivot that is not positive', () => {
    const indefinite = matrixOf([
      [4, 2, 0],
      [2, 1, 0],
      [0, 0, 1],
    ])
    try {
      cholesky(indefinite)
      expect.unreachable()
    } catch (error) {
      expect(error).toBeInstanceOf(NotPositiveDefiniteError)
      expect((error as NotPositiveDefiniteError).pivot).toBe(1)
    }
  })
})

describe('solveTriangular', () => {
  it('solves both triangles, straight and transposed, and reads no other', () => {
    fc.assert(
      fc.property(
        size,
        fc.nat(10_000),
        fc.constantFrom('lower', 'upper'),
        fc.boolean(),
        (n, seed, triangle, flip) => {
          const full = gaussian(n, n, seed)
          for (let i = 0; i < n; i++) full.data[i * n + i] = n + 1 + i
          const inside = (i: number): boolean =>
            triangle === 'lower' ? i % n <= Math.floor(i / n) : i % n >= Math.floor(i / n)
          const t = matrix(
            n,
            n,
            full.data.map((x, i) => (inside(i) ? x : 0)),
          )
          const x = gaussian(n, 3, seed + 1)
          const b = multiply(t, x, { transposeA: flip })
          expect(distance(solveTriangular(full, b, { triangle, transpose: flip }), x)).toBeLessThan(1e-12)
        },
      ),
    )
  })

  it('names a zero on the diagonal', () => {
    const a = matrixOf([
      [1, 0],
      [3, 0],
    ])
    expect(() => solveTriangular(a, matrix(2, 1), { triangle: 'lower' })).toThrow(SingularError)
  })
})

describe('leastSquares', () => {
  it('leaves a residual orthogonal to the columns, with the least norm where the solution is not unique', () => {
    fc.assert(
      fc.property(kind, size, size, fc.nat(10_000), (k, m, n, seed) => {
        fc.pre(!extreme.has(k))
        const a = kinds[k](m, n, seed)
        const b = gaussian(m, 2, seed + 7)
        const x = leastSquares(a, b)
        const residual = matrix(
          m,
          2,
          multiply(a, x).data.map((y, i) => y - b.data[i]),
        )
        const bound = 1e-11 * Math.max(1, largest(a)) * Math.max(1, largest(x)) * Math.max(1, largest(a))
        expect(largest(multiply(a, residual, { transposeA: true }))).toBeLessThan(bound)
        // Of least norm: orthogonal to the null space, which the projection on the row space then keeps.
        const { s, vt } = svd(a)
        const rank = s.filter((value) => value > 1e-9 * Math.max(s[0], 1e-9)).length
        const rows = matrix(rank, n, vt.data.slice(0, rank * n))
        const projected = multiply(rows, multiply(rows, x), { transposeA: true })
        expect(distance(projected, x)).toBeLessThan(1e-10 * Math.max(1, largest(x)))
      }),
      runs,
    )
  })

  it('recovers the coefficients of a consistent system at any scale', () => {
    for (const scale of [1e-300, 1, 1e300]) {
      const a = times(gaussian(20, 5, 1), scale)
      const x = gaussian(5, 1, 2)
      expect(distance(leastSquares(a, multiply(a, x)), x)).toBeLessThan(1e-13)
    }
  })
})

describe('symmetricEigen', () => {
  it('A V = V diag(values), V^T V = I, values ascending', () => {
    fc.assert(
      fc.property(anySquare, (square) => {
        const a = symmetric(square)
        const { values, vectors } = symmetricEigen(a)
        orthonormal(vectors)
        expect([...values]).toEqual([...values].sort((x, y) => x - y))
        expect(distance(multiply(a, vectors), scaleColumns(vectors, values))).toBeLessThanOrEqual(
          2 * tolerance(a),
        )
      }),
      runs,
    )
  })

  it('agrees with ml-matrix', () => {
    const a = symmetric(gaussian(60, 60, 3))
    const theirs = new EigenvalueDecomposition(oracle(a), { assumeSymmetric: true }).realEigenvalues
    theirs.sort((x, y) => x - y)
    symmetricEigen(a).values.forEach((x, i) => expect(Math.abs(x - theirs[i])).toBeLessThan(1e-12))
  })

  it('finds the eigenvalues 2 - 2 cos(k pi / (n + 1)) of the second-difference matrix', () => {
    const n = 100
    const a = matrix(n, n)
    for (let i = 0; i < n; i++) {
      a.data[i * n + i] = 2
      if (i) a.data[i * n + i - 1] = a.data[(i - 1) * n + i] = -1
    }
    symmetricEigen(a).values.forEach((x, i) =>
      expect(Math.abs(x - (2 - 2 * Math.cos(((i + 1) * Math.PI) / (n + 1))))).toBeLessThan(
        n * Number.EPSILON * 4,
      ),
    )
  })
})

describe('svd', () => {
  it('U diag(s) V^T = A, both orthonormal, s descending and not negative', () => {
    fc.assert(
      fc.property(anyMatrix, (a) => {
        const { u, s, vt } = svd(a)
        orthonormal(u)
        orthonormal(transpose(vt))
        expect([...s]).toEqual([...s].sort((x, y) => y - x))
        expect(s[s.length - 1]).toBeGreaterThanOrEqual(0)
        expect(distance(multiply(scaleColumns(u, s), vt), a)).toBeLessThanOrEqual(2 * tolerance(a))
      }),
      { numRuns: 800 },
    )
  })

  it('agrees with ml-matrix, tall, wide and square', () => {
    for (const [m, n] of [
      [40, 40],
      [90, 30],
      [30, 90],
    ]) {
      const a = gaussian(m, n, m)
      const theirs = new SingularValueDecomposition(oracle(a), { autoTranspose: true }).diagonal
      svd(a).s.forEach((x, i) => expect(Math.abs(x - theirs[i])).toBeLessThan(1e-12))
    }
  })

  it('finds singular values that are put in: repeated, clustered, and many of them zero', () => {
    for (const wanted of [
      [5, 5, 5, 1, 1, 0, 0, 0],
      [1, 1 - 1e-9, 1 - 2e-9, 1e-8, 1e-12, 0],
      [7, 0, 0, 0, 0],
    ]) {
      const n = wanted.length
      const a = multiply(scaleColumns(orthogonal(n, 8), Float64Array.from(wanted)), orthogonal(n, 9))
      svd(a).s.forEach((x, i) => expect(Math.abs(x - wanted[i])).toBeLessThan(1e-14 * wanted[0]))
    }
  })

  it('deflates a zero on the diagonal of a bidiagonal matrix, first, in the middle and last', () => {
    for (const zero of [0, 2, 5]) {
      const n = 6
      const a = matrix(n, n)
      for (let i = 0; i < n; i++) {
        if (i !== zero) a.data[i * n + i] = i + 1
        if (i + 1 < n) a.data[i * n + i + 1] = 0.5
      }
      const { u, s, vt } = svd(a)
      expect(s[n - 1]).toBeLessThan(1e-15)
      expect(distance(multiply(scaleColumns(u, s), vt), a)).toBeLessThan(1e-14)
    }
  })
})

describe('bad input', () => {
  const decompositions = { qr, cholesky, symmetricEigen, svd }

  it('an entry that is not finite is named', () => {
    for (const bad of [NaN, Infinity, -Infinity])
      for (const [name, decompose] of Object.entries(decompositions)) {
        const a = identity(4)
        a.data[6] = bad
        expect(() => decompose(a)).toThrow(NotFiniteError)
        expect(() => decompose(a)).toThrow(`${name}: entry [1, 2] is ${bad}`)
      }
  })

  it('a matrix that is not square or not symmetric is refused where it must be', () => {
    for (const decompose of [cholesky, symmetricEigen]) {
      expect(() => decompose(matrix(2, 3))).toThrow(NotSquareError)
      expect(() => decompose(matrixOf([[1, 2], [0, 1]]))).toThrow(NotSymmetricError) // prettier-ignore
    }
    expect(() => solveTriangular(matrix(2, 3), matrix(2, 1), { triangle: 'upper' })).toThrow(NotSquareError)
    expect(() => solveTriangular(identity(3), matrix(2, 1), { triangle: 'upper' })).toThrow(MatrixShapeError)
    expect(() => leastSquares(identity(3), matrix(2, 1))).toThrow(MatrixShapeError)
  })

  it('an empty matrix has empty factors', () => {
    expect(svd(matrix(0, 0)).s.length).toBe(0)
    expect(symmetricEigen(matrix(0, 0)).values.length).toBe(0)
    expect(qr(matrix(3, 0)).q).toEqual(matrix(3, 0))
    expect(leastSquares(matrix(0, 3), matrix(0, 1))).toEqual(matrix(3, 1))
  })
})
