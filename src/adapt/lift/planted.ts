/** @file A matrix with a planted support, and how much of it a mask finds: part of LIFT's reproduction and of its test. */
import { Stream } from '../../random/index.js'
import { type MaskOptions, maskOf } from '../../sparse/index.js'

export interface Planted {
  /** [side, side]: the planted part and noise. */
  readonly data: Float32Array
  readonly side: number
  /** Where the planted part is not 0: flat and ascending. */
  readonly support: Int32Array
}

/** Four outer products of vectors with 14 entries of ±1 each, and normal noise of deviation `noise`. */
export const planted = (seed: number | string, noise: number, side = 128): Planted => {
  const stream = new Stream(`planted ${seed}`)
  const clean = new Float32Array(side * side)
  const vector = (): Float64Array => {
    const v = new Float64Array(side)
    for (const i of stream.permutation(side).slice(0, 14)) v[i] = stream.uniform() < 0.5 ? -1 : 1
    return v
  }
  for (let product = 0; product < 4; product++) {
    const [u, v] = [vector(), vector()]
    for (let i = 0; i < clean.length; i++) clean[i] += u[Math.floor(i / side)] * v[i % side]
  }
  const support = Int32Array.from(clean.keys()).filter((i) => clean[i] !== 0)
  return { data: clean.map((x) => x + noise * stream.normal()), side, support }
}

/** The share of a mask, as large as the support, that lies in the support. filterRank: q. */
export const recovered = async (
  { data, side, support }: Planted,
  options: Pick<MaskOptions, 'mask' | 'filterRank'>,
): Promise<number> => {
  const scored = { name: 'planted', rows: side, columns: side, data }
  const found = await maskOf(scored, support.length, { order: 'largest', svd: 'exact', seed: 0, ...options })
  const inside = new Set(support)
  return found.filter((i) => inside.has(i)).length / found.length
}
