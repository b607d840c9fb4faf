/** @file Models some of whose tensors are others than those of their checkpoints. */
import type { JsonObject } from '../checkpoint/web.js'
import { bound, type MemorySource, type Tensor, type Value } from '../tensor/index.js'
import { layoutsOf } from './architecture.js'
import type { Model } from './model.js'
import type { Rewritten } from './stored.js'
import { answering, type Layout, type Weights } from './weights.js'

/**
 * `below` with other tensors in the places that `replaced` names. A module that keeps its tensors keeps its own answer,
 * which may be another than the product with them. layouts: as for the modules of `below`.
 */
export const retold = (
  below: Weights,
  replaced: ReadonlyMap<string, Tensor>,
  layouts: (module: string) => Layout,
): Weights => {
  if (replaced.size === 0) return below
  const tensor = (name: string): Tensor => replaced.get(name) ?? below.tensor(name)
  const has = (name: string): boolean => replaced.has(name) || below.has(name)
  const derived = answering(below, { tensor, has }, layouts)
  const under = (module: string): Weights =>
    replaced.has(`${module}.weight`) || replaced.has(`${module}.bias`) ? derived : below
  return answering(below, {
    tensor,
    has,
    linear: (name, x) => under(name).linear(name, x),
    embedding: (name, ids, options) => under(name).embedding(name, ids, options),
    conv: (name, x, options) => under(name).conv(name, x, options),
  })
}

/**
 * `model` with `values` (by the table's names, in the file's layout) in the place of its tensors, and in that of tensors
 * tied to them; and with `config` as its config.json, where that is another.
 */
export const overlaid = (
  model: Model & Rewritten,
  values: ReadonlyMap<string, Value>,
  config: JsonObject = model.checkpoint.config,
): Model & Rewritten => {
  const { architecture, checkpoint } = model
  const changed = config !== checkpoint.config
  const understood = changed ? architecture.readConfig(config) : model.config
  const table = architecture.table(understood)
  const owners = new Map(table.map(({ name, tied }) => [name, tied ?? name]))
  const sources = new Map<string, MemorySource>()
  for (const [name, value] of values)
    sources.set(name, { kind: 'memory', dtype: value.dtype, shape: value.shape, value })
  return {
    ...model,
    config: understood,
    checkpoint: changed ? checkpoint.withConfig(config) : checkpoint,
    rewritten: (name) => values.get(name) ?? model.rewritten?.(name),
    with: (parameters) => overlaid(model.with(parameters), values, config),
    weights(parameters, trace) {
      const replaced = new Map<string, Tensor>()
      for (const [name, owner] of owners)
        if (sources.has(owner)) replaced.set(name, bound(sources.get(owner)!))
      return retold(model.weights(parameters, trace), replaced, layoutsOf(table))
    },
  }
}
