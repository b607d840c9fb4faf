/** @file Givens rotations, applied to pairs of rows: the QR iterations keep their vectors as rows for that. */

/** Cosine and sine that take (x, z) to (r, 0): c x + s z = r, c z - s x = 0. */
export interface Rotation {
  readonly c: number
  readonly s: number
  readonly r: number
}

export const rotationFor = (x: number, z: number): Rotation => {
  if (z === 0) return { c: 1, s: 0, r: x }
  const r = Math.hypot(x, z)
  return { c: x / r, s: z / r, r }
}

/** Rows p and q become c p + s q and c q - s p. */
export const rotateRows = (
  data: Float64Array,
  cols: number,
  p: number,
  q: number,
  { c, s }: Rotation,
): void => {
  for (let i = p * cols, j = q * cols, end = i + cols; i < end; i++, j++) {
    const x = data[i]
    const y = data[j]
    data[i] = c * x + s * y
    data[j] = c * y - s * x
  }
}

/** The eigenvalue of [[a, b], [b, d]] that is nearer to d: Wilkinson's shift. */
export const wilkinsonShift = (a: number, b: number, d: number): number => {
  const half = (a - d) / 2
  const root = Math.hypot(half, b)
  return root === 0 ? d : d - b * (b / (half + (half < 0 ? -root : root)))
}
