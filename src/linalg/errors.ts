/** @file What can be wrong with the input of a decomposition, one class a fault. */
import { WeftError } from '../errors.js'

/** Any failure of the linear algebra. */
export class LinalgError extends WeftError {}

/** An entry is NaN or infinite. */
export class NotFiniteError extends LinalgError {
  constructor(name: string, row: number, column: number, value: number) {
    super('NotFiniteError', `${name}: entry [${row}, ${column}] is ${value}, not a finite number`)
  }
}

/** The sizes of the operands do not fit each other, or data does not fill its matrix. */
export class MatrixShapeError extends LinalgError {
  constructor(name: string, message: string) {
    super('MatrixShapeError', `${name}: ${message}`)
  }
}

/** A square matrix is needed. */
export class NotSquareError extends LinalgError {
  constructor(name: string, rows: number, columns: number) {
    super('NotSquareError', `${name}: the matrix is ${rows} x ${columns}, not square`)
  }
}

/** A symmetric matrix is needed. */
export class NotSymmetricError extends LinalgError {
  constructor(name: string, row: number, column: number, values: readonly [number, number]) {
    super(
      'NotSymmetricError',
      `${name}: entries [${row}, ${column}] and [${column}, ${row}] differ: ${values[0]}, ${values[1]}`,
    )
  }
}

/** Cholesky met a pivot that is not positive. */
export class NotPositiveDefiniteError extends LinalgError {
  /** The leading minor of size `pivot + 1` is the first that is not positive definite. */
  readonly pivot: number
  /** Number that stood there, which should have been positive. */
  readonly value: number
  constructor(pivot: number, value: number) {
    super(
      'NotPositiveDefiniteError',
      `cholesky: pivot ${pivot} is ${value}, so the matrix is not positive definite`,
      {
        hint: 'Add a small multiple of the identity when it should be positive definite but for rounding.',
      },
    )
    this.pivot = pivot
    this.value = value
  }
}

/** A triangular matrix has a zero on its diagonal. */
export class SingularError extends LinalgError {
  readonly pivot: number
  constructor(name: string, pivot: number) {
    super('SingularError', `${name}: diagonal entry ${pivot} is 0, so the matrix is singular`)
    this.pivot = pivot
  }
}

/** An iteration did not converge; not known to happen on finite input. */
export class NotConvergedError extends LinalgError {
  constructor(name: string, steps: number) {
    super('NotConvergedError', `${name}: no convergence after ${steps} steps`)
  }
}
