/**
 * @file The two inner loops of everything here, unrolled by four: a single chain of additions would wait for itself.
 */

/** The sum of x[xAt + i] y[yAt + i] over i below `length`. */
export const dot = (x: Float64Array, xAt: number, y: Float64Array, yAt: number, length: number): number => {
  let s0 = 0
  let s1 = 0
  let s2 = 0
  let s3 = 0
  let i = 0
  for (; i + 3 < length; i += 4) {
    s0 += x[xAt + i] * y[yAt + i]
    s1 += x[xAt + i + 1] * y[yAt + i + 1]
    s2 += x[xAt + i + 2] * y[yAt + i + 2]
    s3 += x[xAt + i + 3] * y[yAt + i + 3]
  }
  for (; i < length; i++) s0 += x[xAt + i] * y[yAt + i]
  return s0 + s1 + (s2 + s3)
}

/** out[j] += sum over k of factors[k] rows[k stride + j]: a vector times the rows that start `stride` apart. */
export const addRows = (
  out: Float64Array,
  factors: Float64Array,
  rows: Float64Array,
  stride: number,
): void => {
  const width = out.length
  let k = 0
  for (; k + 3 < factors.length; k += 4) {
    const f0 = factors[k]
    const f1 = factors[k + 1]
    const f2 = factors[k + 2]
    const f3 = factors[k + 3]
    const r0 = k * stride
    const r1 = r0 + stride
    const r2 = r1 + stride
    const r3 = r2 + stride
    for (let j = 0; j < width; j++)
      out[j] += f0 * rows[r0 + j] + f1 * rows[r1 + j] + f2 * rows[r2 + j] + f3 * rows[r3 + j]
  }
  for (; k < factors.length; k++) {
    const factor = factors[k]
    for (let j = 0, at = k * stride; j < width; j++) out[j] += factor * rows[at + j]
  }
}
