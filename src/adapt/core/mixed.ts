/**
 * @file Several adapters over one base, each row of a batch with its own: the base's product is made once for all rows,
 * and what a method adds is vmapped over the rows, whose parameters are gathered from the stacked adapters.
 */
import { UsageError } from '../../errors.js'
import {
  answering,
  type Model,
  type Parameters,
  requireSame,
  type Trace,
  type Weights,
} from '../../models/index.js'
import { type Tensor, tensor, type Value, value, valueOf, vmap, where } from '../../tensor/index.js'
import { frozen } from '../../models/stored.js'
import { contextAt } from './answers.js'
import { type Method, valuesAt } from './plan.js'
import type { AdaptedModel, Named, PlannedSite, SiteContext } from './spec.js'

/** The batch's name for each row's adapter: [batch] int32, its place in the list; -1 for the base alone. */
export const adapterInput = 'adapters'

/**
 * The input that gives each row its adapter of `count`: [batch] int32. rows: [batch], places in the list, -1 for the base.
 * Throws UsageError for one that there is not.
 */
export const adapterRows = (rows: readonly number[], count: number): Value => {
  const wrong = rows.find((row) => !(Number.isInteger(row) && row >= -1 && row < count))
  if (wrong !== undefined)
    throw new UsageError('NoSuchAdapter', `adapter ${wrong} of ${count}`, {
      hint: `Adapters count from 0 to ${count - 1}; -1 is the base alone.`,
    })
  return valueOf([...rows], [rows.length], 'int32')
}

/** Adapters that do the same at a site: one method, settings and shapes. */
interface Group {
  readonly method: Method
  readonly at: PlannedSite
  /** Places in the list of adapters. */
  readonly members: readonly number[]
  /** Of each parameter the stacked values' name, and whether all members have the same one. */
  readonly parameters: Named<{ readonly name: string; readonly same: boolean }>
}

const refuse = (index: number, why: string): never => {
  throw new UsageError('NotPerRow', `adapter ${index} cannot be switched row by row: ${why}`, {
    hint: 'Fold it into the base (fold), or serve it alone.',
  })
}

/** Throws UsageError for an adapter of another base, or one that is more than additions to modules. */
const check = ({ plan }: AdaptedModel, base: Model, index: number): void => {
  const { method, sites, whole, rows, held } = plan
  if (plan.base.checkpoint !== base.checkpoint || plan.base.parameters !== base.parameters)
    throw new UsageError('OtherBase', `adapter ${index} stands on another base than the first`, {
      hint: 'Open the base once, and load every adapter on that model.',
    })
  const changed = held.filter(({ differs }) => differs).map(({ name }) => name)
  const ownModules = [...whole, ...changed, ...rows.map(({ parameter }) => parameter)]
  if (ownModules.length > 0) refuse(index, `it holds '${ownModules[0]}' of its own`)
  const { attend, module, forward } = method
  if (attend ?? module ?? forward)
    refuse(index, `${method.paper.id} stands around more than modules of weights`)
  const replacing = sites.flatMap(({ parameters }) => Object.values(parameters)).find((p) => p.replaces)
  if (replacing || !(method.linear ?? method.embedding))
    refuse(index, `${method.paper.id} replaces tensors of the base`)
}

/** All values of a parameter along a new first axis; one where all are equal. */
const stacked = (values: readonly Value[]): { readonly value: Value; readonly same: boolean } => {
  const [first] = values
  const same = values.every((v) => v === first || v.data.every((x, i) => x === first.data[i]))
  if (same) return { value: first, same }
  const data = first.data.slice(0, 0).constructor as new (length: number) => typeof first.data
  const all = new data(values.length * first.data.length)
  values.forEach((v, i) => all.set(v.data as never, i * first.data.length))
  return { value: value(all, [values.length, ...first.shape], first.dtype), same }
}

/** What `adapters` have at each site, and the stacked values. */
const grouped = (
  adapters: readonly AdaptedModel[],
): { readonly sites: Map<string, Group[]>; readonly values: Record<string, Value> } => {
  const sites = new Map<string, Group[]>()
  const values: Record<string, Value> = {}
  const names = [...new Set(adapters.flatMap(({ plan }) => plan.sites.map(({ site }) => site.name)))]
  for (const site of names) {
    const alike = new Map<string, number[]>()
    adapters.forEach(({ plan }, index) => {
      const at = plan.sites.find((planned) => planned.site.name === site)
      if (!at) return
      const shapes = Object.entries(valuesOf(adapters[index], at)).map(([k, v]) => [k, v.dtype, v.shape])
      const key = JSON.stringify([plan.method.paper.id, at.settings, shapes])
      alike.set(key, [...(alike.get(key) ?? []), index])
    })
    sites.set(
      site,
      [...alike.values()].map((members, g) => groupOf(adapters, members, site, `${site}/${g}`, values)),
    )
  }
  return { sites, values }
}

const groupOf = (
  adapters: readonly AdaptedModel[],
  members: readonly number[],
  site: string,
  prefix: string,
  values: Record<string, Value>,
): Group => {
  const { plan } = adapters[members[0]]
  const at = plan.sites.find((planned) => planned.site.name === site)!
  const perMember = members.map((index) => {
    const there = adapters[index].plan.sites.find((planned) => planned.site.name === site)!
    return valuesOf(adapters[index], there)
  })
  const parameters = Object.keys(perMember[0]).map((key) => {
    const name = `${prefix}/${key}`
    const { value: all, same } = stacked(perMember.map((v) => v[key]))
    values[name] = all
    return [key, { name, same }] as const
  })
  return { method: plan.method, at, members, parameters: Object.fromEntries(parameters) }
}

/** The values that the method sees at a site: its own and the shared ones. */
const valuesOf = ({ plan, parameters, constants }: AdaptedModel, at: PlannedSite): Named<Value> =>
  valuesAt(plan, at, { ...parameters, ...constants })

/** Of each row its place among the group's members, and whether it has one. rows: [batch] -> both [batch]. */
const placesIn = (
  { members }: Group,
  rows: Tensor,
  count: number,
): { readonly place: Tensor; readonly present: Tensor } => {
  const table = Array.from({ length: count + 1 }, (_, index) => members.indexOf(index))
  // -1, the base, is the table's last entry. Beyond the list nothing is found: the engine refuses the index.
  const place = tensor(table, [count + 1], 'int32').gather(where(rows.less(0), count, rows), 0)
  return { place: place.maximum(0), present: place.greaterEqual(0) }
}

/** `y` with what the group's method makes of it in the rows that have one of its adapters. y, x: [batch, ...]. */
const switched = (
  group: Group,
  y: Tensor,
  x: Tensor,
  values: Parameters<Tensor>,
  rows: { readonly place: Tensor; readonly present: Tensor },
  hook: (y: Tensor, x: Tensor, p: Named<Tensor>) => Tensor,
): Tensor => {
  const entries = Object.entries(group.parameters)
  const common = entries.filter(([, { same }]) => same).map(([k, { name }]) => [k, values[name]] as const)
  const perRow = entries
    .filter(([, { same }]) => !same)
    .map(([k, { name }]) => [k, values[name].gather(rows.place, 0)] as const)
  const changed = vmap((y: Tensor, x: Tensor, p: Record<string, Tensor>) =>
    // A row is a batch of one, since methods expect a batch.
    hook(y.unsqueeze(0), x.unsqueeze(0), { ...Object.fromEntries(common), ...p }).squeeze(0),
  )(y, x, Object.fromEntries(perRow))
  const shape = [rows.present.shape[0], ...new Array<number>(y.rank - 1).fill(1)]
  return where(rows.present.reshape(shape), changed, y)
}

/**
 * The base of `adapters` with all of them on it: a batch names each row's adapter in `adapters`: [batch] int32, the place
 * in the list, -1 (and an absent input) for the base alone. Its parameters are the adapters' values, stacked; the base's
 * tensors are those of the one base, in memory once. For methods that add to linear or embedding modules (LoRA, (IA)³,
 * MoS, S2FT, ...). Throws UsageError for an adapter of another base, and for one that replaces tensors whole.
 */
export const mixed = (adapters: readonly AdaptedModel[]): Model => {
  if (adapters.length === 0)
    throw new UsageError('NoAdapters', 'mixed: expected at least one adapter, found none')
  const { base } = adapters[0].plan
  adapters.forEach((adapter, index) => check(adapter, base, index))
  const { sites, values } = grouped(adapters)
  const weights = (parameters: Parameters<Tensor>, trace: Trace): Weights => {
    const below = base.weights(frozen(base), trace)
    const rows = trace.inputs?.[adapterInput]
    if (!rows) return below
    const through = (name: string, kind: 'linear' | 'embedding', x: Tensor): Tensor => {
      const plain = below[kind](name, x)
      return (sites.get(name) ?? []).reduce((y, group) => {
        const hook = group.method[kind]
        if (!hook) return y
        const context = contextAt(group.at.site, below, trace, notRowByRow)
        return switched(group, y, x, parameters, placesIn(group, rows, adapters.length), (y, x, p) =>
          hook(y, x, p, group.at.settings, context),
        )
      }, plain)
    }
    return answering(below, {
      linear: (name, x) => through(name, 'linear', x),
      embedding: (name, ids) => through(name, 'embedding', ids),
    })
  }
  return assembled(base, weights, values)
}

const notRowByRow: SiteContext['entered'] = (...names) => {
  throw new UsageError('NotPerRow', `what enters ${names.join()} is not there row by row`, {
    hint: 'Serve that adapter alone.',
  })
}

const assembled = (base: Model, weights: Model['weights'], parameters: Parameters<Value>): Model => ({
  ...{ architecture: base.architecture, config: base.config, checkpoint: base.checkpoint },
  parameters,
  weights,
  with(values) {
    requireSame(parameters, values)
    return assembled(base, weights, values)
  },
  save: () => {
    throw new UsageError('CannotSave', 'several adapters over one base are no checkpoint', {
      hint: 'Save each adapter by itself.',
    })
  },
})
