/**
 * @file The names that a checkpoint's files use, and those of the architecture's table. Files differ: a body saved alone
 * leaves out its prefix, older ones spell norms otherwise or hold buffers, and of tied tensors any one may be stored.
 */
import type { Checkpoint, JsonObject } from '../checkpoint/web.js'
import { sizeOf } from '../tensor/index.js'
import type { Architecture, WeightSpec } from './architecture.js'

/** Every name of a checkpoint's files, by what it is to the model. */
export interface CanonicalNames {
  /**
   * Names in the files by those of the table. Of tensors that are tied to each other, the owner is there whenever any of
   * them is stored; one that is tied is there only if it is stored beside its owner.
   */
  readonly stored: ReadonlyMap<string, string>
  /** Names of buffers that the architecture knows and does not read: masks, position numbers, rotary tables. */
  readonly harmless: readonly string[]
  /** Names of scalars and empty tensors that the table has no line for. */
  readonly idle: readonly string[]
  /** Every other name that the table has no line for. */
  readonly unexpected: readonly string[]
}

/** Buffers that Transformers once stored, in any architecture. */
const buffers: readonly RegExp[] = [
  /(^|\.)(position_ids|token_type_ids)$/,
  /(^|\.)rotary_emb\.(inv_freq|original_inv_freq|cos_cached|sin_cached)$/,
]

/** The spellings under which the table may have the tensor that the files call `name`, likeliest first. */
const spellings = ({ renamed = [], prefix }: Architecture, name: string): string[] => {
  const now = renamed.reduce((n, [from, to]) => n.replace(from, to), name)
  if (prefix === undefined) return [name, now]
  const bare = now.startsWith(`${prefix}.`) ? now.slice(prefix.length + 1) : now
  return [name, now, `${prefix}.${now}`, bare]
}

/** Of tied tensors whose owner is not stored, the first that is stands for it. */
const withOwners = (stored: Map<string, string>, table: readonly WeightSpec[]): Map<string, string> => {
  for (const { name, tied } of table) {
    const member = stored.get(name)
    if (tied === undefined || member === undefined || stored.has(tied)) continue
    stored.set(tied, member)
    stored.delete(name)
  }
  return stored
}

/** Sorts the names of `checkpoint` by the table of its architecture. */
export const canonicalNames = (
  architecture: Architecture,
  table: readonly WeightSpec[],
  checkpoint: Pick<Checkpoint, 'names' | 'info'>,
): CanonicalNames => {
  const known = new Set(table.map(({ name }) => name))
  const stored = new Map<string, string>()
  const others: string[] = []
  // A name that is the table's own comes before any other spelling of it.
  const names = checkpoint.names()
  for (const name of [...names.filter((n) => known.has(n)), ...names.filter((n) => !known.has(n))]) {
    const spelling = spellings(architecture, name).find((s) => known.has(s))
    if (spelling !== undefined && !stored.has(spelling)) stored.set(spelling, name)
    else others.push(name)
  }
  const rules = [...buffers, ...(architecture.harmless ?? [])]
  const isHarmless = (name: string): boolean =>
    spellings(architecture, name).some((s) => rules.some((rule) => rule.test(s)))
  const isIdle = (name: string): boolean => {
    const { shape } = checkpoint.info(name)
    return shape.length === 0 || sizeOf(shape) === 0
  }
  const rest = others.filter((name) => !isHarmless(name))
  return {
    stored: withOwners(stored, table),
    harmless: others.filter(isHarmless),
    idle: rest.filter(isIdle),
    unexpected: rest.filter((name) => !isIdle(name)),
  }
}

/** config.json of the same model with its head tied to the embedding, or not. */
export const retied = (architecture: Architecture, json: JsonObject, tied: boolean): JsonObject =>
  architecture.retied?.(json, tied) ?? { ...json, tie_word_embeddings: tied }

/**
 * config.json of `checkpoint` as its tensors have it: some architectures tie a head that is not stored, though config.json
 * says that it stands alone.
 */
export const configOf = (
  architecture: Architecture,
  checkpoint: Pick<Checkpoint, 'config' | 'names' | 'info'>,
): JsonObject => {
  const { config } = checkpoint
  if (!architecture.tiesAbsentHead) return config
  const tableOf = (json: JsonObject): readonly WeightSpec[] =>
    architecture.table(architecture.readConfig(json))
  const { stored } = canonicalNames(architecture, tableOf(config), checkpoint)
  const absent = tableOf(config).filter((spec) => spec.tied === undefined && !stored.has(spec.name))
  const tied = retied(architecture, config, true)
  const ties = new Set(tableOf(tied).flatMap((spec) => (spec.tied === undefined ? [] : [spec.name])))
  return absent.some(({ name }) => ties.has(name)) ? tied : config
}
