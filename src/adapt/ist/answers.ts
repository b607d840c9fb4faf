/**
 * @file What a model is answered while IST trains it: the lowest blocks have no backward pass in steps that need none, and in a
 * trial some layers are suppressed.
 */
import { answering, type Model, type Parameters, type Trace, type Weights } from '../../models/index.js'
import { frozen } from '../../models/stored.js'
import { type Node, reachable, recomputeWhen, type Tensor } from '../../tensor/index.js'
import { everything } from '../../tensor/graph.js'
import { isMoved } from '../../train/index.js'
import { isBlock } from '../../train/recompute.js'
import { answersOf } from '../core/answers.js'
import type { AdaptedModel } from '../core/spec.js'
import type { AdapterLayers } from './layers.js'

/** The input that layers' adapters are multiplied with: [layers]. */
export const scaleInput = 'istScale'
/** The input that says which layers train: [layers] of 0 and 1. */
export const trainsInput = 'istTrains'

/** The numbers of a vector, [] each. */
export const numbersOf = (vector: Tensor): Tensor[] =>
  vector.split(vector.size, 0).map((number) => number.reshape([]))

/** The layers that a tensor depends on; undefined where it depends on something that trains in every step. */
type Dependence = (t: Tensor) => ReadonlySet<number> | undefined

/** What tensors of one trace depend on: each is looked through down to those that were asked about before. */
const dependenceOn = (
  model: Model,
  parameters: Parameters<Tensor>,
  place: AdapterLayers['place'],
): Dependence => {
  const moved = Object.entries(parameters).filter(([name]) => isMoved(model)(name))
  const layerOf = new Map(moved.map(([name, p]) => [p.node, place(name)]))
  const known = new Map<Node, ReadonlySet<number> | undefined>()
  return (t) => {
    const ends = (node: Node): boolean => layerOf.has(node) || known.has(node)
    const nodes = reachable([t], (node) => (ends(node) ? [] : everything(node)))
    const layers = nodes.flatMap((node) =>
      layerOf.has(node) ? [layerOf.get(node)] : known.has(node) ? [...(known.get(node) ?? [undefined])] : [],
    )
    const always = layers.includes(undefined)
    const found = always ? undefined : new Set(layers as number[])
    known.set(t.node, found)
    return found
  }
}

/** Blocks that depend on at most `most` layers are computed again in the backward pass, where one of these trains. */
const skipping = (all: Weights, dependence: Dependence, trains: Tensor, most: number): Weights => {
  const flags = numbersOf(trains)
  const isNeeded = (result: Tensor): Tensor | undefined => {
    const layers = [...(dependence(result) ?? [])]
    if (layers.length === 0 || layers.length > most) return undefined
    return layers
      .map((layer) => flags[layer])
      .reduce((a, b) => a.add(b))
      .greater(0.5)
  }
  return answering(all, {
    module(name, x, positions, body) {
      const run = (x: Tensor): Tensor => all.module(name, x, positions, body)
      return isBlock(name) ? recomputeWhen(isNeeded, run, x) : run(x)
    },
  })
}

/** The adapter's answers where what it adds in each layer is multiplied with that layer's scale. */
const suppressing = (
  { plan, constants }: AdaptedModel,
  place: AdapterLayers['place'],
  parameters: Parameters<Tensor>,
  trace: Trace,
  scale: Tensor,
): Weights => {
  const scales = numbersOf(scale)
  const linear: typeof plan.method.linear = (y, x, p, settings, context) => {
    const changed = plan.method.linear!(y, x, p, settings, context)
    const layer = place(context.site.name)
    return layer === undefined ? changed : y.add(changed.sub(y).mul(scales[layer]))
  }
  const method = { ...plan.method, linear }
  return answersOf({ ...plan, method }, { ...parameters, ...frozen({ parameters: constants }) }, trace)
}

/**
 * The adapter's answers in a trace whose inputs say which layers train, or how layers are scaled; without either, its own.
 * skippable: how many of the lowest layers have no backward pass in steps that train none so low.
 */
export const answersIn = (
  model: AdaptedModel,
  { place }: AdapterLayers,
  skippable: number,
  parameters: Parameters<Tensor>,
  trace: Trace,
): Weights => {
  const { [trainsInput]: trains, [scaleInput]: scale } = trace.inputs ?? {}
  if (scale) return suppressing(model, place, parameters, trace, scale)
  if (!trains) return model.weights(parameters, trace)
  const all = model.weights(parameters, trace)
  return skipping(all, dependenceOn(model, parameters, place), trains, skippable)
}
