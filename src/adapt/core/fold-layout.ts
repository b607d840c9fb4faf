/** @file Which tensors a folded checkpoint has, in which dtypes and shapes, and its config.json. */
import type { JsonObject, SafetensorsDType } from '../../checkpoint/index.js'
import { UsageError } from '../../errors.js'
import type { Model, WeightSpec } from '../../models/index.js'
import { retied } from '../../models/canonical.js'
import { ownerOf, storedName } from '../../models/stored.js'
import type { Shape } from '../../tensor/index.js'
import { replacements } from './plan.js'
import type { Plan } from './spec.js'

/** How a tensor is stored. */
export interface Stored {
  readonly dtype: SafetensorsDType
  readonly shape: Shape
}

/** Dtype and shape of a base's tensor: its own where it trains, else those of its file. */
export const storedOf = (base: Model, name: string): Stored => {
  const owner = ownerOf(base, name)
  const spec = base.architecture.table(base.config).find((entry) => entry.name === owner)
  if (base.parameters[owner]) return { dtype: 'F32', shape: base.parameters[owner].shape }
  const { dtype, shape } = base.checkpoint.info(storedName(base, owner) ?? owner)
  return { dtype, shape: spec?.shape ?? shape }
}

/** The tensors of a folded checkpoint. */
export interface Layout {
  readonly written: readonly WeightSpec[]
  /** Those of them that the base has not. */
  readonly added: ReadonlyMap<string, Stored>
  readonly config: JsonObject
}

/** Biases that the base has no tensors for, and the config.json of a model that has them. Throws UsageError where none has. */
const slotsFor = ({ base, method }: Plan, names: readonly string[]): Pick<Layout, 'written' | 'config'> => {
  const { architecture, checkpoint } = base
  if (names.length === 0) return { written: [], config: checkpoint.config }
  const known = new Set(architecture.table(base.config).map(({ name }) => name))
  const config = architecture.withBiases?.(checkpoint.config) as JsonObject | undefined
  const written = config
    ? architecture.table(architecture.readConfig(config)).filter(({ name }) => !known.has(name))
    : []
  const lost = names.filter((name) => !written.some((spec) => spec.name === name))
  if (config && lost.length === 0) return { written, config }
  throw new UsageError(
    'CannotFold',
    `${method.paper.id}: ${checkpoint.folder} has no place for ${lost.join(', ')}`,
    { hint: 'Keep the adapter beside its base, or leave those modules out (exclude).' },
  )
}

/** What folding makes of each tensor, in words: two of one base's tensor that are changed alike stay one. */
const changesOf = (plan: Plan): ((name: string) => string) => {
  const sites = new Set(plan.method.fold && plan.sites.map(({ site }) => `${site.name}.weight`))
  const replaced = replacements(plan)
  const rows = new Map(plan.rows.map(({ module, parameter }) => [`${module}.weight`, parameter]))
  return (name) => [sites.has(name) ? name : '', replaced.get(name) ?? '', rows.get(name) ?? ''].join(' ')
}

/**
 * The folded checkpoint's tensors: a tied one is stored by itself where folding makes it differ. Throws UsageError for biases
 * that no config.json of the architecture has.
 */
export const layoutOf = (plan: Plan): Layout => {
  const { architecture, config } = plan.base
  const table = architecture.table(config)
  const changes = changesOf(plan)
  const parts = ({ name, tied }: WeightSpec): boolean => tied !== undefined && changes(name) !== changes(tied)
  const known = new Set(table.map(({ name }) => name))
  const slots = slotsFor(
    plan,
    [...replacements(plan).keys()].filter((name) => !known.has(name)),
  )
  const added = slots.written.map(({ name, shape }) => {
    const { dtype } = storedOf(plan.base, name.replace(/\.bias$/, '.weight'))
    return [name, { dtype, shape }] as const
  })
  const isUntied = table.some(parts)
  const json = isUntied ? retied(architecture, slots.config, false) : slots.config
  // A config that unties one tensor of a head unties all of them: with its bias its weight is written too.
  const after = isUntied ? architecture.table(architecture.readConfig(json)) : table
  const ties = new Set(after.flatMap(({ name, tied }) => (tied === undefined ? [] : [name])))
  const written = table.filter((spec) => parts(spec) || !ties.has(spec.name))
  return { written: [...written, ...slots.written], added: new Map(added), config: json }
}
