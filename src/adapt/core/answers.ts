/** @file The answers of an adapted model: the base's, with the adapter's parameters in and around its modules. */
import { WeftError } from '../../errors.js'
import {
  answering,
  type Architecture,
  layoutsOf,
  type Parameters,
  type Positions,
  type Trace,
  type Weights,
} from '../../models/index.js'
import { retold } from '../../models/overlay.js'
import type { Site } from '../../models/sites.js'
import { frozen } from '../../models/stored.js'
import type { Tensor } from '../../tensor/index.js'
import { replacements, valuesAt } from './plan.js'
import { withTokenRows } from './token-rows.js'
import type { Named, Plan, PlannedSite, SiteContext } from './spec.js'

/** The base's answers with the parameters that stand for whole tensors in their places. */
const ground = (plan: Plan, tensors: Parameters<Tensor>, trace: Trace): Weights => {
  const { base } = plan
  const replaced = new Map([...replacements(plan)].map(([name, parameter]) => [name, tensors[parameter]]))
  const layouts = layoutsOf(base.architecture.table(base.config))
  const whole = retold(base.weights(frozen(base), trace), replaced, layouts)
  return withTokenRows(whole, plan.rows, tensors)
}

/** What a method may ask for at `site` of a model whose answers without it are `below`. */
export const contextAt = (
  site: Site,
  below: Weights,
  trace: Trace,
  entered: SiteContext['entered'],
): SiteContext => {
  const weight = `${site.name}.weight`
  const bias = `${site.name}.bias`
  return {
    site,
    weight: () => (site.transposed ? below.tensor(weight).t() : below.tensor(weight)),
    bias: () => (below.has(bias) ? below.tensor(bias) : undefined),
    base: (x) => below.linear(site.name, x),
    entered,
    input: (name) => trace.inputs?.[name],
    random: trace.random,
    dropout: below.dropout,
  }
}

/** What entered the linear module that is first in `names`; `inputs` fills as the model runs. */
const enteredFrom =
  (inputs: ReadonlyMap<string, Tensor>, method: string, site: Site): SiteContext['entered'] =>
  (...names) => {
    const name = names.find((known) => inputs.has(known))
    if (name !== undefined) return inputs.get(name)!
    const message = `${method}: nothing entered ${names.join(' or ')} before ${site.name}`
    throw new WeftError('NotEntered', message)
  }

/**
 * The answers of an adapted model in one trace: the base's, changed by the adapter. tensors: all of its parameters, shared
 * ones that never train among them.
 */
export const answersOf = (plan: Plan, tensors: Parameters<Tensor>, trace: Trace): Weights => {
  const { method, sites, shared } = plan
  const below = ground(plan, tensors, trace)
  const inputs = new Map<string, Tensor>()
  const planned = new Map(sites.map((site) => [site.site.name, site]))
  const common = new Map(Object.values(shared).map(({ key }) => [key, tensors[key]]))
  const at = (there: PlannedSite): { p: Named<Tensor>; context: SiteContext } => ({
    p: valuesAt(plan, there, tensors),
    context: contextAt(there.site, below, trace, enteredFrom(inputs, method.paper.id, there.site)),
  })
  return answering(below, {
    tensor: (name) => common.get(name) ?? below.tensor(name),
    has: below.has,
    linear(name, x) {
      inputs.set(name, x)
      const y = below.linear(name, x)
      const there = planned.get(name)
      if (!there || !method.linear) return y
      const { p, context } = at(there)
      return method.linear(y, x, p, there.settings, context)
    },
    embedding(name, ids, options) {
      const y = below.embedding(name, ids, options)
      const there = planned.get(name)
      if (!there || !method.embedding) return y
      const { p, context } = at(there)
      return method.embedding(y, ids, p, there.settings, { ...context, lookup: options })
    },
    conv: below.conv,
    attend(name, parts, core) {
      const there = planned.get(name)
      if (!there || !method.attend) return below.attend(name, parts, core)
      const { p, context } = at(there)
      return method.attend(parts, (changed) => below.attend(name, changed, core), p, there.settings, context)
    },
    module(name, x, positions, body) {
      const there = planned.get(name)
      if (!there || !method.module) return below.module(name, x, positions, body)
      const { p, context } = at(there)
      const run = (inside: Tensor, moved: Positions): Tensor => below.module(name, inside, moved, body)
      return method.module(x, positions, run, p, there.settings, context)
    },
  })
}

/** The base's architecture; where the method goes around the whole model, with it there. */
export const architectureOf = ({ method, base, shared, options }: Plan): Architecture => {
  const { architecture } = base
  if (!method.forward) return architecture
  return {
    ...architecture,
    virtual: method.virtual?.(options),
    forward(weights, inputs, config) {
      const p = Object.fromEntries(Object.entries(shared).map(([k, { key }]) => [k, weights.tensor(key)]))
      return method.forward!(inputs, (changed) => architecture.forward(weights, changed, config), p, {
        base,
        options,
        weights,
      })
    },
  }
}
