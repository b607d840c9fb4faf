/**
 * @file Checkpoints under the names of their architecture's table, so that models meet by what a tensor is and not by what a
 * file calls it: prefixes, older spellings, buffers that nobody reads, tied tensors that one file stores and another does not.
 */
import type { Checkpoint, JsonObject } from '../../../checkpoint/index.js'
import { CheckpointError } from '../../../errors.js'
import { type Architecture, architectureFor, canonicalNames, configOf } from '../../../models/index.js'
import { retied } from '../../../models/canonical.js'
import type { Aligned } from './align.js'

/** What the table says of one checkpoint. */
interface Described {
  readonly architecture?: Architecture
  /** Stored names by those of the table; of what the table does not know, its own. */
  readonly names: Map<string, string>
  /** The owner of each tensor that is tied. */
  readonly ties: ReadonlyMap<string, string>
  /** Scalars and empty tensors that the table does not know, which are left out. */
  readonly idle: readonly string[]
}

/** A checkpoint of an architecture that Weft has no table for keeps the names of its files. */
const asStored = (checkpoint: Checkpoint): Described => ({
  names: new Map(checkpoint.names().map((name) => [name, name])),
  ties: new Map(),
  idle: [],
})

const described = (checkpoint: Checkpoint): Described => {
  try {
    const architecture = architectureFor(checkpoint.config)
    const table = architecture.table(architecture.readConfig(configOf(architecture, checkpoint)))
    const { stored, unexpected, idle } = canonicalNames(architecture, table, checkpoint)
    const others = unexpected.map((name) => [name, name] as const)
    const ties = table.flatMap(({ name, tied }) => (tied === undefined ? [] : [[name, tied] as const]))
    return { architecture, names: new Map([...stored, ...others]), ties: new Map(ties), idle }
  } catch (error) {
    if (error instanceof CheckpointError) return asStored(checkpoint)
    throw error
  }
}

/** What another model stores by itself stands in a model that ties it for the tensor that it is tied to. */
const withTied = ({ names, ties }: Described, needed: ReadonlySet<string>): Map<string, string> => {
  const all = new Map(names)
  for (const [name, owner] of ties) {
    const stored = names.get(owner)
    if (needed.has(name) && !all.has(name) && stored !== undefined) all.set(name, stored)
  }
  return all
}

export interface TableNames {
  /** The checkpoints under the table's names. They share the files of those that were given. */
  readonly views: ReadonlyMap<string, Checkpoint>
  /** `config` of the model that is made of `donor`'s config.json, untied where `tensors` hold what the donor ties. */
  untied(config: JsonObject, donor: string, tensors: readonly Aligned[]): JsonObject
  /** What was left out. */
  readonly notes: readonly string[]
}

/** The checkpoints that are to meet, by the names that a recipe has for them. */
export const underTableNames = (opened: ReadonlyMap<string, Checkpoint>): TableNames => {
  const all = new Map([...opened].map(([model, checkpoint]) => [model, described(checkpoint)]))
  const needed = new Set([...all.values()].flatMap(({ names }) => [...names.keys()]))
  const views = [...opened].map(
    ([model, checkpoint]) => [model, checkpoint.renamed(withTied(all.get(model)!, needed))] as const,
  )
  return {
    views: new Map(views),
    untied: (config, donor, tensors) => {
      const { architecture, ties } = all.get(donor)!
      const isLoose = ({ name, sources }: Aligned): boolean =>
        ties.has(name) && sources.some(({ model }) => !all.get(model)!.ties.has(name))
      return architecture && tensors.some(isLoose) ? retied(architecture, config, false) : config
    },
    notes: [...all].flatMap(([model, { idle }]) =>
      idle.length
        ? [
            `${model}: ${idle.length} scalar or empty tensors that the model has no use for are left out: ${idle.slice(0, 5).join(', ')}`,
          ]
        : [],
    ),
  }
}
