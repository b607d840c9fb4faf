/** @file Single tokens that train: rows of an embedding, and of the heads that are tied to it, in the place of the base's. */
import { UsageError } from '../../errors.js'
import { answering, type Model, type Parameters, type Weights } from '../../models/index.js'
import { noSuchModule } from '../../models/targets.js'
import { baseTensor } from '../../models/stored.js'
import { embedding, type Tensor, tensor, value, type Value, where } from '../../tensor/index.js'

/** Rows of a module's weight that a parameter holds. */
export interface TokenRows {
  /** Name of the module: an embedding, or a head. */
  readonly module: string
  /** Tokens, in the order of the parameter's rows. */
  readonly indices: readonly number[]
  /** Rows and columns of the module's weight. */
  readonly shape: readonly [vocabulary: number, width: number]
  /** The parameter: [indices, width]. Heads that are tied to the embedding have the embedding's. */
  readonly parameter: string
}

/** The first embedding of a model, that of its tokens, and the modules whose weights are tied to its. */
export const embeddingAndTied = (
  base: Model,
): { readonly embedding: string; readonly tied: readonly string[] } => {
  const table = base.architecture.table(base.config)
  const module = (name: string): string => name.slice(0, -'.weight'.length)
  const embedding = table.find(({ kind }) => kind === 'embedding')?.name ?? ''
  const tied = table.filter((spec) => spec.tied !== undefined && spec.tied === embedding)
  return { embedding: module(embedding), tied: tied.map(({ name }) => module(name)) }
}

/** The modules with a table of tokens whose names end so. */
const modulesEnding = (method: string, base: Model, end: string) => {
  const tables = base.architecture
    .table(base.config)
    .filter(({ name, shape }) => name.endsWith('.weight') && shape.length === 2)
    .map(({ name, shape }) => ({
      module: name.slice(0, -'.weight'.length),
      shape: [shape[0], shape[1]] as const,
    }))
  const matched = tables.filter(({ module }) => module.endsWith(end))
  if (matched.length > 0) return matched
  const names = tables.map(({ module }) => module)
  throw noSuchModule(method, base, 'embedding', end, names)
}

const requireTokens = (
  method: string,
  module: string,
  indices: readonly number[],
  vocabulary: number,
): void => {
  const wrong = indices.find((index) => index >= vocabulary)
  if (wrong === undefined) return
  throw new UsageError('NoSuchToken', `${method}: token ${wrong} of ${module}`, {
    hint: `Its tokens count from 0 to ${vocabulary - 1}.`,
  })
}

const same = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((index, i) => index === b[i])

/**
 * The rows that `tokens` names, by the ends of modules' names. A head that is tied to the embedding follows it, unless other
 * tokens are asked of the head. Throws UsageError for a module or a token that there is not.
 */
export const tokenRows = (
  method: string,
  base: Model,
  tokens: Readonly<Record<string, readonly number[]>>,
): TokenRows[] => {
  const { embedding, tied } = embeddingAndTied(base)
  const chosen = new Map<string, TokenRows>()
  for (const [end, indices] of Object.entries(tokens))
    for (const { module, shape } of modulesEnding(method, base, end)) {
      if (indices.length === 0) continue
      requireTokens(method, module, indices, shape[0])
      chosen.set(module, {
        module,
        indices,
        shape,
        parameter: `${module}.token_adapter.trainable_tokens_delta`,
      })
    }
  const source = chosen.get(embedding)
  if (source)
    for (const module of tied) {
      const asked = chosen.get(module)
      if (!asked || same(asked.indices, source.indices)) chosen.set(module, { ...source, module })
    }
  return [...chosen.values()]
}

/** The rows as the base has them. -> [indices, width]. */
export const rowsBefore = async (base: Model, { module, indices, shape }: TokenRows): Promise<Value> => {
  const { data } = await baseTensor(base, `${module}.weight`)
  const width = shape[1]
  const out = new Float32Array(indices.length * width)
  indices.forEach((row, i) =>
    out.set(data.subarray(row * width, (row + 1) * width) as Float32Array, i * width),
  )
  return value(out, [indices.length, width], 'float32')
}

/** Each token's place among the rows, -1 for those that stay. -> [vocabulary]. */
const places = ({ indices, shape: [vocabulary] }: TokenRows): Tensor => {
  const table = new Int32Array(vocabulary).fill(-1)
  indices.forEach((token, i) => (table[token] = i))
  return tensor(table, [vocabulary], 'int32')
}

/** `below` with the rows in place. tensors: the adapter's parameters. */
export const withTokenRows = (
  below: Weights,
  rows: readonly TokenRows[],
  tensors: Parameters<Tensor>,
): Weights => {
  if (rows.length === 0) return below
  const byModule = new Map(rows.map((tokenRow) => [tokenRow.module, tokenRow]))
  return answering(below, {
    tensor(name) {
      const tokenRow = byModule.get(name.replace(/\.weight$/, ''))
      if (!tokenRow) return below.tensor(name)
      const place = places(tokenRow)
      const changed = tensors[tokenRow.parameter].gather(place.maximum(0), 0)
      return where(place.greaterEqual(0).unsqueeze(1), changed, below.tensor(name))
    },
    embedding(name, ids, options) {
      const y = below.embedding(name, ids, options)
      const tokenRow = byModule.get(name)
      if (!tokenRow) return y
      const place = places(tokenRow).gather(ids, 0)
      const padding = tokenRow.indices.indexOf(options?.padding ?? -1)
      const learned = padding < 0 ? {} : { padding }
      const changed = embedding(tensors[tokenRow.parameter], place.maximum(0), learned)
      return where(place.greaterEqual(0).unsqueeze(-1), changed, y)
    },
    linear(name, x) {
      const y = below.linear(name, x)
      const tokenRow = byModule.get(name)
      if (!tokenRow) return y
      const place = places(tokenRow)
      const changed = x.matmul(tensors[tokenRow.parameter].t()).gather(place.maximum(0), y.rank - 1)
      return where(place.greaterEqual(0), changed, y)
    },
    has: below.has,
    conv: below.conv,
  })
}
