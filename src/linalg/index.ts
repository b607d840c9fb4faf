/** @file Linear algebra that ONNX lacks, in float64 on the host; large products may run on the engine. */
export { type Assignment, type AssignmentOptions, linearAssignment } from './assignment.js'
export { orthonormalBasis } from './basis.js'
export { cholesky, solvePositiveDefinite } from './cholesky.js'
export { symmetricEigen, type SymmetricEigen } from './eigen.js'
export { engineMatmul, type EngineMatmulOptions, fastMatmul } from './engine.js'
export {
  LinalgError,
  MatrixShapeError,
  NotConvergedError,
  NotFiniteError,
  NotPositiveDefiniteError,
  NotSquareError,
  NotSymmetricError,
  SingularError,
} from './errors.js'
export { fastSolvePositiveDefinite } from './fast-solve.js'
export { leastSquares } from './least-squares.js'
export {
  lowRankPlusSparse,
  type LowRankPlusSparse,
  type LowRankPlusSparseOptions,
} from './low-rank-plus-sparse.js'
export { identity, type Matrix, matrix, matrixOf, transpose } from './matrix.js'
export { type Dense, hostMatmul, type MatMul, multiply, type ProductOptions } from './multiply.js'
export { exactProduct, productFor, singleProduct } from './product.js'
export { leadingQr, qr, type QR } from './qr.js'
export { leadingSvd, lowRankApproximation, randomizedSvd, type RandomizedOptions } from './randomized-svd.js'
export { svd, type SVD } from './svd.js'
export { largestIndices, type SelectionOptions } from './select.js'
export { solveTriangular, type TriangularOptions } from './triangular.js'
