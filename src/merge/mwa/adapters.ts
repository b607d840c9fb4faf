/** @file Averages of adapters: of their factors, as state dicts merge, or of the updates that these make, exactly. */
import { basename } from 'node:path'
import {
  adapterPrefix,
  type Checkpoint,
  diskFiles,
  encode,
  isJsonObject,
  type JsonObject,
  readJson,
  type TensorData,
  writeAdapter,
} from '../../checkpoint/index.js'
import { CheckpointError, UsageError } from '../../errors.js'
import { matrix, type Matrix, multiply, qr, svd, transpose } from '../../linalg/index.js'
import { isFloat, type Value, value } from '../../tensor/index.js'
import { combine } from '../core/gram.js'
import { medianOf } from '../../tensor/numbers.js'

/** Adapters of one shape, with their common configuration. */
export interface Adapters {
  readonly config: JsonObject & { readonly peft_type: string }
  readonly models: readonly Checkpoint[]
}

/** Fields that say what the numbers mean; others may differ. */
const telling = [
  'peft_type',
  'base_model_name_or_path',
  'r',
  'lora_alpha',
  'use_rslora',
  'use_dora',
  'rank_pattern',
  'alpha_pattern',
  'target_modules',
  'modules_to_save',
  'bias',
  'fan_in_fan_out',
]

const canonical = (x: unknown): string =>
  JSON.stringify(Array.isArray(x) ? [...(x as unknown[])].sort() : (x ?? null))

/** Whether the checkpoint is an adapter: it has no configuration of a model. */
export const isAdapter = ({ config }: Checkpoint): boolean => Object.keys(config).length === 0

/** The adapters' configuration. Throws CheckpointError where two are not of one kind, naming the field. */
export const openAdapters = async (models: readonly Checkpoint[]): Promise<Adapters> => {
  const configs = await Promise.all(
    models.map(({ folder }) => readJson(diskFiles(folder), 'adapter_config.json')),
  )
  configs.forEach((config, i) => {
    const field = telling.find((key) => canonical(config[key]) !== canonical(configs[0][key]))
    if (field !== undefined)
      throw new CheckpointError(
        'NotAlike',
        `${models[0].folder}/adapter_config.json and ${models[i].folder}/adapter_config.json differ: ${field} is ${JSON.stringify(configs[0][field])} and ${JSON.stringify(config[field])}.`,
        { hint: 'Only checkpoints of one adapter can be averaged.' },
      )
  })
  const [config] = configs
  return { config: { ...config, peft_type: String(config.peft_type) }, models }
}

const floats = async (model: Checkpoint, name: string): Promise<Float32Array> => {
  const numbers = (await model.read(name, 'float32')).data as Float32Array
  const at = numbers.findIndex((x) => !Number.isFinite(x))
  if (at >= 0)
    throw new CheckpointError('NotFinite', `${model.folder}: ${name} holds ${numbers[at]} at element ${at}.`)
  return numbers
}

/** The weighted mean of one tensor, added up in float64; of integers the first adapter's. */
const meanTensor = async (
  models: readonly Checkpoint[],
  name: string,
  weights: readonly number[],
): Promise<Value> => {
  const first = await models[0].read(name)
  if (!isFloat(first.dtype)) return first
  const out = new Float32Array(first.data.length)
  combine(out, await Promise.all(models.map((model) => floats(model, name))), weights)
  return value(out, first.shape, 'float32')
}

/** A, B of a LoRA module by the name of its A. */
const partner = (name: string): string =>
  name.replace('lora_A', 'lora_B').replace('embedding_A', 'embedding_B')
const isFirst = (name: string): boolean => /lora_(embedding_)?A(\.|$)/.test(name)
const isSecond = (name: string): boolean => /lora_(embedding_)?B(\.|$)/.test(name)

interface Factors {
  /** [r, in], one an adapter. */
  readonly A: readonly Matrix[]
  /** [out, r]. */
  readonly B: readonly Matrix[]
}

const factorsOf = async (models: readonly Checkpoint[], first: string): Promise<Factors> => {
  const read = (name: string): Promise<Matrix[]> =>
    Promise.all(
      models.map(async (model) => {
        const [rows, cols] = model.info(name).shape
        return matrix(rows, cols, await floats(model, name))
      }),
    )
  const [A, B] = [await read(first), await read(partner(first))]
  return { A, B }
}

/** [A_1; ...; A_N]. */
const stacked = (all: readonly Matrix[]): Matrix => {
  const out = matrix(
    all.reduce((n, { rows }) => n + rows, 0),
    all[0].cols,
  )
  let at = 0
  for (const { data } of all) {
    out.data.set(data, at)
    at += data.length
  }
  return out
}

/** [w_1 B_1 ... w_N B_N]. */
const beside = (all: readonly Matrix[], weights: readonly number[]): Matrix => {
  const scaled = all.map((m, i) => {
    const t = transpose(m)
    return matrix(
      t.rows,
      t.cols,
      t.data.map((x) => weights[i] * x),
    )
  })
  return transpose(stacked(scaled))
}

/** The Frobenius norm of B A, without the product: trace((Bᵀ B) (A Aᵀ)). */
const productNorm = (B: Matrix, A: Matrix): number => {
  const [left, right] = [multiply(transpose(B), B), multiply(A, transpose(A))]
  return Math.sqrt(
    Math.max(
      0,
      left.data.reduce((sum, x, i) => sum + x * right.data[i], 0),
    ),
  )
}

const meanMatrix = (all: readonly Matrix[], weights: readonly number[]): Matrix => {
  const { rows, cols } = all[0]
  return matrix(
    rows,
    cols,
    Float64Array.from({ length: rows * cols }, (_, e) =>
      all.reduce((sum, { data }, i) => sum + weights[i] * data[e], 0),
    ),
  )
}

const minus = ({ rows, cols, data }: Matrix, b: Matrix): Matrix =>
  matrix(
    rows,
    cols,
    data.map((x, i) => x - b.data[i]),
  )

/**
 * What averaging factors leaves out: the mean of the updates is (mean B)(mean A) + sum w_i (B_i - mean B)(A_i - mean A).
 * The norm of the last sum by that of the mean update, over all modules.
 */
export const covarianceTerm = async ({ models }: Adapters, weights: readonly number[]): Promise<number> => {
  let [lost, whole] = [0, 0]
  for (const name of models[0].names().filter(isFirst)) {
    const { A, B } = await factorsOf(models, name)
    const [a, b] = [meanMatrix(A, weights), meanMatrix(B, weights)]
    const apart = (all: readonly Matrix[], mean: Matrix): Matrix[] => all.map((m) => minus(m, mean))
    lost += productNorm(beside(apart(B, b), weights), stacked(apart(A, a))) ** 2
    whole += productNorm(beside(B, weights), stacked(A)) ** 2
  }
  return whole > 0 ? Math.sqrt(lost / whole) : 0
}

const cosine = (a: Matrix, b: Matrix): number => {
  let [ab, aa, bb] = [0, 0, 0]
  a.data.forEach((x, i) => {
    ab += x * b.data[i]
    aa += x * x
    bb += b.data[i] ** 2
  })
  return ab / Math.sqrt(aa * bb || 1)
}

/**
 * Throws UsageError where two neighbours in `order` have A factors that do not look like those of one run: the median of
 * their cosines is below 0.3 (measured: 0.4 and above within a run, below 0.2 between runs).
 */
export const checkOneRun = async ({ models }: Adapters, order: readonly number[]): Promise<void> => {
  const names = models[0].names().filter(isFirst)
  if (names.length === 0) return
  for (const [i, index] of order.entries()) {
    if (i === 0) continue
    const pair = [models[order[i - 1]], models[index]]
    const cosines: number[] = []
    for (const name of names) {
      const { A } = await factorsOf(pair, name)
      cosines.push(cosine(A[0], A[1]))
    }
    const typical = medianOf(cosines)
    if (typical < 0.3)
      throw new UsageError(
        'NotOneRun',
        `the factors of ${pair[0].folder} and ${pair[1].folder} have a cosine of ${typical.toFixed(2)}: they are not of one run, and their factors cannot be averaged`,
        { hint: 'Average the updates that they make instead: space=delta (-p space=delta).' },
      )
  }
}

/** The best product B A of rank `rank` for one of higher rank, its singular values shared evenly. */
const compressed = (B: Matrix, A: Matrix, rank: number): { A: Matrix; B: Matrix } => {
  const inner = B.cols
  const thin = B.rows >= inner && A.cols >= inner
  const [left, right] = thin ? [qr(B), qr(transpose(A))] : [undefined, undefined]
  const core = left && right ? multiply(left.r, transpose(right.r)) : multiply(B, A)
  const { u, s, vt } = svd(core)
  const kept = Math.min(rank, s.length)
  const roots = Float64Array.from(s.subarray(0, kept), Math.sqrt)
  const columns = matrix(u.rows, rank)
  const rows = matrix(rank, vt.cols)
  for (let k = 0; k < kept; k++) {
    for (let i = 0; i < u.rows; i++) columns.data[i * rank + k] = u.data[i * u.cols + k] * roots[k]
    for (let j = 0; j < vt.cols; j++) rows.data[k * vt.cols + j] = vt.data[k * vt.cols + j] * roots[k]
  }
  return left && right
    ? { B: multiply(left.q, columns), A: multiply(rows, transpose(right.q)) }
    : { B: columns, A: rows }
}

const stored = (name: string, { rows, cols, data }: Matrix): TensorData => ({
  name,
  ...encode(value(Float32Array.from(data), [rows, cols], 'float32')),
})

/** Numbers of the config times `by`: one, or one a pattern. */
const times = (x: JsonObject[string] | undefined, by: number): JsonObject[string] =>
  isJsonObject(x)
    ? Object.fromEntries(Object.entries(x).map(([key, n]) => [key, Number(n) * by]))
    : typeof x === 'number'
      ? x * by
      : (x ?? null)

/** The rank that the average has at each module whose weight is too small for the rank that it has elsewhere. */
const lowered = ([first]: readonly Checkpoint[], rank: (oldRank: number) => number): Map<string, number> => {
  const modules = first.names().filter(isFirst)
  const shortened = modules.flatMap((name): [string, number][] => {
    const [oldRank, inside] = first.info(name).shape
    const most = Math.min(inside, first.info(partner(name)).shape[0])
    return rank(oldRank) > most ? [[name, most]] : []
  })
  return new Map(shortened)
}

const moduleOf = (name: string): string =>
  name
    .slice(name.startsWith(adapterPrefix) ? adapterPrefix.length : 0)
    .replace(/\.lora_(embedding_)?A.*$/, '')

/** The configuration of an average of other ranks, with the scale alpha / r (alpha / sqrt(r) with rslora) that there was. */
const withRanks = (config: JsonObject, factor: number, low: ReadonlyMap<string, number>): JsonObject => {
  const power = config.use_rslora === true ? 0.5 : 1
  const [r, alpha] = [Number(config.r), Number(config.lora_alpha)]
  const patterned = [config.rank_pattern, config.alpha_pattern].some(
    (pattern) => isJsonObject(pattern) && Object.keys(pattern).length > 0,
  )
  if (patterned && low.size > 0)
    throw new UsageError(
      'RankPattern',
      `${moduleOf([...low.keys()][0])} is too small for the rank of the average, and the adapter has ranks by module already`,
      { hint: 'Average fewer checkpoints, or the folded models: BASE+ADAPTER.' },
    )
  const patternOf = (of: (rank: number) => number): JsonObject =>
    Object.fromEntries([...low].map(([name, rank]) => [moduleOf(name), of(rank)]))
  return {
    ...config,
    r: times(config.r, factor),
    lora_alpha: times(config.lora_alpha, factor ** power),
    rank_pattern: low.size ? patternOf((rank) => rank) : times(config.rank_pattern ?? {}, factor),
    alpha_pattern: low.size
      ? patternOf((rank) => alpha * (rank / r) ** power)
      : times(config.alpha_pattern ?? {}, factor ** power),
  }
}

export interface AverageOptions {
  /** `factors`: A and B by themselves; `delta`: the updates B A, exactly, as an adapter of as many times the rank. */
  readonly space: 'factors' | 'delta'
  /** Of `delta`: the best adapter of this rank, at most that of the exact one, in its place. */
  readonly rank?: number
  /** Kept beside the tensors. */
  readonly metadata: Record<string, string>
}

/** Throws UsageError for adapters whose update is not a product of two factors alone. */
const checkPlain = ({ config }: Adapters): void => {
  if (config.peft_type === 'LORA' && config.use_dora !== true) return
  throw new UsageError(
    'NotLora',
    `space=delta: ${config.use_dora === true ? 'DoRA' : config.peft_type} makes no plain product of factors`,
    {
      hint: 'Average the factors (space=factors), or the folded models: BASE+ADAPTER.',
    },
  )
}

/** Writes the weighted average of the adapters to `folder`, in float32. */
export const writeAverage = async (
  adapters: Adapters,
  weights: readonly number[],
  folder: string,
  { space, rank, metadata }: AverageOptions,
): Promise<void> => {
  const { config, models } = adapters
  const names = models[0].names()
  const delta = space === 'delta'
  if (delta) checkPlain(adapters)
  const factor = delta ? (rank === undefined ? models.length : rank / Number(config.r)) : 1
  const low = delta ? lowered(models, (oldRank) => factor * oldRank) : new Map<string, number>()
  const changed = delta ? withRanks(config, factor, low) : config
  async function* tensors(): AsyncGenerator<TensorData> {
    for (const name of names) {
      if (delta && isSecond(name)) continue
      if (!delta || !isFirst(name)) {
        yield { name, ...encode(await meanTensor(models, name, weights)) }
        continue
      }
      const factors = await factorsOf(models, name)
      const exact = { A: stacked(factors.A), B: beside(factors.B, weights) }
      const wanted = low.get(name) ?? factor * factors.A[0].rows
      const { A, B } = wanted < exact.A.rows ? compressed(exact.B, exact.A, wanted) : exact
      yield stored(name, A)
      yield stored(partner(name), B)
    }
  }
  const base = config.base_model_name_or_path
  await writeAdapter(folder, { ...changed, peft_type: config.peft_type }, tensors(), {
    base: typeof base === 'string' ? base : undefined,
    metadata: { ...models[0].metadata, ...metadata },
  })
}

/** Short names of checkpoints, for metadata. */
export const labelsOf = (models: readonly Checkpoint[]): string[] =>
  models.map(({ folder }) => basename(folder))
