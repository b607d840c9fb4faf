/** @file Moments of what passes through the modules of models, in passes whose sums fit in memory. */
import { nearest, UsageError } from '../errors.js'
import type { Model } from '../models/index.js'
import { matcher } from '../models/targets.js'
import { input, ones, sizeOf, type Tensor, type Value } from '../tensor/index.js'
import type { Batch } from '../train/loss.js'
import { accumulated, type Batches, firstBatch, inPasses, type ObserveOptions } from './accumulate.js'
import { type Passage, passagesOf, unpadded } from './passages.js'

/**
 * Moments of a module on one batch, as graphs by name: summed over batches, and over the times that the module runs. Gets
 * the module's passage in each of the models; `{}` asks for nothing.
 */
export type Moments = (...passages: readonly Passage[]) => Readonly<Record<string, Tensor>>

/** Moments by the modules that they are asked of, which a key names as targets of adapters do: a name, its dotted end, or a regular expression. */
export type Wanted = Readonly<Record<string, Moments>>

/** Sums over all batches at one module. */
export interface Observed {
  readonly module: string
  readonly sums: Readonly<Record<string, Float64Array>>
}

type Sums = Record<string, Tensor>
type ByModel = readonly Readonly<Record<string, Tensor>>[]

/** The moments asked of a module: those of its own name first, else of the first key that matches. */
const chooser = (wanted: Wanted): ((module: string) => Moments | undefined) => {
  const patterns = Object.entries(wanted).map(([key, moments]) => ({ matches: matcher(key), moments }))
  return (module) =>
    Object.hasOwn(wanted, module) ? wanted[module] : patterns.find(({ matches }) => matches(module))?.moments
}

/** Throws UsageError for a key that no module which ran matches. */
const requireMatches = (wanted: Wanted, modules: readonly string[]): void => {
  const lost = Object.keys(wanted).find((key) => !modules.some(matcher(key)))
  if (lost === undefined) return
  const known = new Set(modules.map((module) => module.slice(module.lastIndexOf('.') + 1)))
  throw new UsageError('NoSuchModule', `no module that runs on these batches matches "${lost}"`, {
    hint: `Nearest: ${nearest(lost, known).join(', ')}.`,
  })
}

/** The moments of every module that `chosen` takes, on one batch. */
const momentsOf = (
  models: readonly Model[],
  batch: Batch<Tensor>,
  parameters: ByModel,
  chosen: (module: string) => Moments | undefined,
): Map<string, Sums> => {
  const [first, ...others] = models.map((model, i) => passagesOf(model, batch, parameters[i]))
  const byModule = new Map<string, Sums>()
  first.forEach((passage, i) => {
    const moments = chosen(passage.module)
    if (!moments) return
    const sums = byModule.get(passage.module) ?? {}
    for (const [name, moment] of Object.entries(moments(passage, ...others.map((other) => other[i]))))
      sums[name] = Object.hasOwn(sums, name) ? sums[name].add(moment) : moment
    if (Object.keys(sums).length > 0) byModule.set(passage.module, sums)
  })
  return byModule
}

/** Parameters of all models under names of their own, and their way back. */
const joined = (models: readonly Model[]) => {
  const values: Record<string, Value> = {}
  models.forEach((model, i) => {
    for (const [name, v] of Object.entries(model.parameters)) values[`${i} ${name}`] = v
  })
  const parted = (all: Readonly<Record<string, Tensor>>): ByModel =>
    models.map((model, i) =>
      Object.fromEntries(Object.keys(model.parameters).map((name) => [name, all[`${i} ${name}`]])),
    )
  return { values, parted }
}

const inputsLike = (values: Readonly<Record<string, Value>>): Record<string, Tensor> =>
  Object.fromEntries(
    Object.entries(values).map(([name, { shape, dtype }]) => [name, input(name, shape, dtype)]),
  )

/**
 * The moments `wanted` of the modules of `models` (of one architecture; usually one model), summed over `batches` in
 * float64, module by module as their sums are whole. Memory holds the sums of one pass over the batches, at most
 * `options.limit` numbers (one module's where that is more): more passes are made where more is asked. Each runs the models
 * only as far as its last module; weights that do not train stay in their files. Throws UsageError (NoSuchModule) for a key
 * that matches no module, WeftError (MomentShape) for moments whose sizes differ from batch to batch.
 */
export async function* observe(
  models: readonly Model[],
  batches: Batches,
  wanted: Wanted,
  { limit, signal }: ObserveOptions = {},
): AsyncGenerator<Observed> {
  const batch = await firstBatch(batches)
  if (!batch) return
  const { values, parted } = joined(models)
  const chosen = chooser(wanted)
  const [model] = models
  const traced = inputsLike(batch)
  const modules = passagesOf(model, traced, parted(inputsLike(values))[0]).map(({ module }) => module)
  requireMatches(wanted, modules)
  const shapes = momentsOf(models, traced, parted(inputsLike(values)), chosen)
  const numbersOf = (module: string): number =>
    Object.values(shapes.get(module)!).reduce((count, { shape }) => count + sizeOf(shape), 0)
  for (const pass of inPasses([...shapes.keys()], numbersOf, limit)) {
    const { sums } = await accumulated(
      batches,
      (inputs, parameters) => {
        const moments = momentsOf(models, inputs, parted(parameters), (module) =>
          pass.includes(module) ? chosen(module) : undefined,
        )
        return Object.fromEntries(
          [...moments].flatMap(([module, named]) =>
            Object.entries(named).map(([name, moment]) => [`${module} ${name}`, moment]),
          ),
        )
      },
      { parameters: values, signal },
    )
    for (const module of pass) {
      const names = Object.keys(shapes.get(module)!)
      yield { module, sums: Object.fromEntries(names.map((name) => [name, sums[`${module} ${name}`]])) }
    }
  }
}

/** Σ |x| over the rows of what enters a module, [in], and their number, [1]: rows of padding do not count. */
export const absoluteInputs: Moments = ({ x, batch }) => {
  const axes = Array.from({ length: x.rank - 1 }, (_, axis) => axis)
  const counted = unpadded(ones([...x.shape.slice(0, -1), 1]), batch)
  return { sum: unpadded(x, batch).abs().sum(axes), rows: counted.sum().reshape([1]) }
}
