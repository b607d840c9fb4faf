/**
 * @file Starts of LoRA that PEFT makes room for in the base: of PiSSA (Meng et al. 2024, arXiv 2404.02948) A and B begin as
 * the r largest singular triplets of W, of OLoRA (Büyükakyüz 2024, arXiv 2406.01775) as the first r columns and rows of W = Q R,
 * and the base has W - s B₀ A₀ in W's place. A saved adapter holds A and B alone; PEFT makes A₀ and B₀ again of W when it loads
 * it. Here W stays, and the adapter is the plain LoRA of rank 2 r that does the same: W + s [B, -B₀] [A; A₀].
 */
import type { JsonObject } from '../../checkpoint/index.js'
import { UsageError } from '../../errors.js'
import { type Dense, leadingQr, leadingSvd, type Matrix, matrix } from '../../linalg/index.js'
import type { Parameters } from '../../models/index.js'
import { baseTensor, transposed } from '../../models/stored.js'
import { value, type Value } from '../../tensor/index.js'
import type { Exported, Plan, PlannedSite } from '../core/spec.js'
import type { LoraOptions, LoraSettings } from './options.js'

/** s B₀ A₀ as two factors: [out, r] and [r, in]. */
interface Start {
  readonly B: Matrix
  readonly A: Matrix
}

/** The r largest singular triplets of W, scaled so that s B₀ A₀ is their sum. */
const pissa = async (W: Dense, { rank, scale }: LoraSettings): Promise<Start> => {
  const { u, s, vt } = await leadingSvd(W, rank)
  const A = matrix(rank, W.cols)
  const B = matrix(W.rows, rank)
  for (let k = 0; k < rank; k++) {
    const root = Math.sqrt(s[k] / scale)
    for (let j = 0; j < W.cols; j++) A.data[k * W.cols + j] = root * vt.data[k * W.cols + j]
    for (let i = 0; i < W.rows; i++) B.data[i * rank + k] = root * u.data[i * u.cols + k]
  }
  return { A, B }
}

/** The first r columns of Q and rows of R. */
const olora = async (W: Dense, { rank }: LoraSettings): Promise<Start> => {
  const { q, r } = await leadingQr(W, rank)
  return { A: r, B: q }
}

/** The rows of `above`, then those of `below`, times `sign`. */
const stackedRows = (above: Value, below: Float64Array | undefined): Value => {
  const [rank, width] = above.shape
  const out = new Float32Array(2 * rank * width)
  out.set(above.data as Float32Array)
  if (below) out.set(below, rank * width)
  return value(out, [2 * rank, width], 'float32')
}

/** The columns of `left`, then those of `right` negated. */
const besideNegated = (left: Value, right: Float64Array | undefined): Value => {
  const [rows, rank] = left.shape
  const out = new Float32Array(2 * rows * rank)
  for (let i = 0; i < rows; i++)
    for (let k = 0; k < rank; k++) {
      out[2 * i * rank + k] = Number(left.data[i * rank + k])
      if (right) out[(2 * i + 1) * rank + k] = -right[i * rank + k]
    }
  return value(out, [rows, 2 * rank], 'float32')
}

const weightOf = async (plan: Plan, { site }: PlannedSite): Promise<Dense> => {
  const stored = await baseTensor(plan.base, `${site.name}.weight`)
  const { data, shape } = site.transposed ? transposed(stored) : stored
  return { rows: shape[0], cols: shape[1], data: data as Float32Array }
}

/** The start at a site; embeddings PEFT starts plainly. Throws UsageError for OLoRA at a transposed weight, which PEFT has not. */
const startAt = async (start: 'pissa' | 'olora', plan: Plan, at: PlannedSite): Promise<Start | undefined> => {
  if (at.site.kind === 'embedding') return undefined
  if (start === 'pissa') return pissa(await weightOf(plan, at), at.settings as LoraSettings)
  if (at.site.transposed)
    throw new UsageError(
      'UnsupportedAdapter',
      `lora: OLoRA at ${at.site.name}, whose weight is stored [in, out]`,
    )
  return olora(await weightOf(plan, at), at.settings as LoraSettings)
}

const doubled = (numbers: Readonly<Record<string, number>>, factor: number): Record<string, number> =>
  Object.fromEntries(Object.entries(numbers).map(([pattern, n]) => [pattern, factor * n]))

/** The plain LoRA that an adapter with such a start is, or nothing for one that has none. */
export const withoutStart = async (
  plan: Plan,
  parameters: Parameters<Value>,
  { init_lora_weights: start }: JsonObject,
): Promise<Exported<LoraOptions> | undefined> => {
  const name = typeof start === 'string' ? start.toLowerCase() : undefined
  if (name !== 'pissa' && name !== 'olora') return undefined
  const changed: Record<string, Value> = { ...parameters }
  for (const at of plan.sites) {
    const begun = await startAt(name, plan, at)
    const A = `${at.site.name}.${at.parameters.A.key}`
    const B = `${at.site.name}.${at.parameters.B.key}`
    changed[A] = stackedRows(parameters[A], begun?.A.data)
    changed[B] = besideNegated(parameters[B], begun?.B.data)
  }
  const { rank, alpha, rankPattern, alphaPattern, rslora } = plan.options as LoraOptions
  // The scale stays: alpha / r, or alpha / sqrt(r).
  const factor = rslora ? Math.SQRT2 : 2
  const options = {
    rank: 2 * rank,
    alpha: factor * alpha,
    rankPattern: doubled(rankPattern, 2),
    alphaPattern: doubled(alphaPattern, factor),
  }
  return { options, parameters: changed }
}
