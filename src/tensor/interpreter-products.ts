/** @file The interpreter's products: matrices and convolutions, as their definitions read. */
import type { ConvAttributes } from './primitives.js'
import { type Shape, sizeOf, stridesOf } from './shape.js'

/** Numbers in row-major order. */
export interface Numbers {
  readonly shape: Shape
  readonly data: Float64Array
}

/** Where the matrix of `x` that batch entry `b` of a broadcast batch `shape` uses begins. */
const matrixAt = (x: Numbers, shape: Shape, b: number): number => {
  const own = x.shape.slice(0, -2)
  const strides = stridesOf(own).map((s, i) => (own[i] === 1 ? 0 : s))
  const lead = shape.length - own.length
  const index = stridesOf(shape).map((s, d) => Math.floor(b / s) % shape[d])
  return (
    strides.reduce((n, s, d) => n + s * index[lead + d], 0) *
    x.shape[x.shape.length - 2] *
    x.shape[x.shape.length - 1]
  )
}

/** a: [..., n, k], b: [..., k, m] -> [..., n, m], leading axes broadcast. */
export const matrixProduct = (a: Numbers, b: Numbers, shape: Shape): Float64Array => {
  const [n, m] = shape.slice(-2)
  const k = a.shape[a.shape.length - 1]
  const batch = shape.slice(0, -2)
  const out = new Float64Array(sizeOf(shape))
  for (let s = 0; s < sizeOf(batch); s++) {
    const p = matrixAt(a, batch, s)
    const q = matrixAt(b, batch, s)
    const o = s * n * m
    for (let i = 0; i < n; i++)
      for (let l = 0; l < k; l++) {
        const x = a.data[p + i * k + l]
        for (let j = 0; j < m; j++) out[o + i * m + j] += x * b.data[q + l * m + j]
      }
  }
  return out
}

interface Tap {
  readonly y: number
  readonly x: number
  readonly w: number
}

/** Calls `visit` with the flat places in y, x and w of every product that a convolution adds up. */
const taps = (xs: Shape, ws: Shape, ys: Shape, a: ConvAttributes, visit: (tap: Tap) => void): void => {
  const [batch, channels, height, width] = xs
  const [out, perGroup, kh, kw] = ws
  const each = out / a.groups
  for (let n = 0; n < batch; n++)
    for (let o = 0; o < out; o++)
      for (let c = 0; c < perGroup; c++)
        for (let i = 0; i < ys[2]; i++)
          for (let j = 0; j < ys[3]; j++)
            for (let p = 0; p < kh; p++)
              for (let q = 0; q < kw; q++) {
                const row = i * a.strides[0] - a.padding[0] + p * a.dilations[0]
                const column = j * a.strides[1] - a.padding[1] + q * a.dilations[1]
                if (row < 0 || row >= height || column < 0 || column >= width) continue
                const channel = Math.floor(o / each) * perGroup + c
                visit({
                  y: ((n * out + o) * ys[2] + i) * ys[3] + j,
                  x: ((n * channels + channel) * height + row) * width + column,
                  w: ((o * perGroup + c) * kh + p) * kw + q,
                })
              }
}

export const convolve = (x: Numbers, w: Numbers, a: ConvAttributes, shape: Shape): Float64Array => {
  const out = new Float64Array(sizeOf(shape))
  taps(x.shape, w.shape, shape, a, (t) => (out[t.y] += x.data[t.x] * w.data[t.w]))
  return out
}

/** The transpose of `convolve`: what was its output comes in, what was its input goes out. */
export const convolveTransposed = (x: Numbers, w: Numbers, a: ConvAttributes, shape: Shape): Float64Array => {
  const out = new Float64Array(sizeOf(shape))
  taps(shape, w.shape, x.shape, a, (t) => (out[t.x] += x.data[t.y] * w.data[t.w]))
  return out
}
