/**
 * @file IST (Yao et al. 2024, arXiv 2410.11772): importance-aware sparse tuning. Around an adapter that stands in layers:
 * each step trains N_u of the L layers, drawn by their importance I; every T steps a few sets of layers are suppressed in
 * turn, and the losses move I. What is saved and folded is the adapter itself.
 */
import { z } from 'zod'
import type { Adapter, Checkpoint } from '../../checkpoint/index.js'
import { answering, type Model, type Parameters, type Trace, type Weights } from '../../models/index.js'
import { Stream } from '../../random/index.js'
import { stopGradient, type Tensor, type Value, valueOf, withGradient } from '../../tensor/index.js'
import {
  type Batch,
  byShape,
  modelLoss,
  type Objective,
  type Optimizer,
  type Taken,
  type Training,
  type TrainingCourse,
  trainingOf,
  type TrainingState,
} from '../../train/index.js'
import { frozen } from '../../models/stored.js'
import { gated, setGates } from '../../train/gated.js'
import { card } from './card.js'
import { drawCandidates, drawTrained, updatedImportance } from './importance.js'
import {
  type AdapterLayers,
  floorOf,
  type LayerSampling,
  layersOf,
  notPerLayer,
  type Sampling,
  samplingFor,
  samplingOptions,
} from './layers.js'
import { lora } from '../lora/lora.js'
import type { LoraOptions } from '../lora/options.js'
import type { AdaptedModel, AdapterMethod, LoadOptions } from '../core/spec.js'

/** The input that layers' adapters are multiplied with: [layers]. */
export const scaleInput = 'istScale'
/** The input that says which layers train, [layers] of 0 and 1; its name ends with the floor, so that each has a program. */
const trainsInput = 'istTrains.'

/** The scalar at `i` of a vector. */
const at = (vector: Tensor, i: number): Tensor => vector.slice(0, i, i + 1).reshape([])

/** Which layers train, and the layer from which on the program has gradients; undefined outside of training. */
const trainsIn = ({ inputs = {} }: Trace): { flags: Tensor; floor: number } | undefined => {
  const name = Object.keys(inputs).find((key) => key.startsWith(trainsInput))
  return name === undefined
    ? undefined
    : { flags: inputs[name], floor: Number(name.slice(trainsInput.length)) }
}

/** `p`, whose gradient is multiplied by `flag`. */
const gradientTimes = (p: Tensor, flag: Tensor): Tensor =>
  withGradient(
    (same) => same,
    (g) => [g.mul(flag)],
  )(p)

/** The adapter's answers: suppressed layers scaled, layers that do not train without gradients. */
const answers = (
  model: AdaptedModel,
  { place }: AdapterLayers,
  parameters: Parameters<Tensor>,
  trace: Trace,
): Weights => {
  const trains = trainsIn(trace)
  const parameter = ([name, p]: [string, Tensor]): [string, Tensor] => {
    const layer = place(name)
    if (!trains || layer === undefined) return [name, p]
    return [name, layer < trains.floor ? stopGradient(p) : gradientTimes(p, at(trains.flags, layer))]
  }
  const given = Object.fromEntries(Object.entries(parameters).map(parameter))
  const all = model.weights(given, trace)
  const scale = trace.inputs?.[scaleInput]
  if (!scale) return all
  const { base } = model.plan
  const plain = base.weights(frozen(base), trace)
  return answering(all, {
    linear(name, x) {
      const layer = place(name)
      if (layer === undefined) return all.linear(name, x)
      const y = plain.linear(name, x)
      return y.add(all.linear(name, x).sub(y).mul(at(scale, layer)))
    },
  })
}

/** The loss of the adapter on a batch that says how layers are scaled. */
type LossOf = (inputs: { parameters: Record<string, Value>; batch: Batch }) => Promise<number>

/** The slot of the first parameter that carries the importance of all layers, so that checkpoints hold it. */
const importanceSlot = 'importance'

/** I after (or amid) a run: the more, the more important. [layers], in the order of the layers. Absent before the first step. */
export const layerImportance = ({ optimizers }: Pick<TrainingState, 'optimizers'>): number[] | undefined => {
  const held = Object.values(optimizers[0]).find((slots) => importanceSlot in slots)
  return held && Array.from(held[importanceSlot].data, Number)
}

/** How the wrapped adapter is trained: gates before each step, importance between some. */
const trainingFor = (
  model: AdaptedModel,
  { place }: AdapterLayers,
  s: Sampling,
  lossOf: LossOf,
): Training => {
  const own = trainingOf(model)
  let optimizer: Optimizer | undefined
  let warned = false
  const zeros = new Array<number>(s.layers).fill(0)
  const isOpen = (name: string, trained: readonly number[]): boolean => {
    const layer = place(name)
    return layer === undefined || trained.includes(layer)
  }
  const stream = (what: string, { seed }: TrainingCourse, step: number): Stream =>
    new Stream(seed).fork(`ist ${what}`).fork(step)
  return {
    ...own,
    objective(usual: Objective) {
      const inner = own.objective?.(usual) ?? usual
      optimizer = inner.optimizer
      return { ...inner, optimizer: withImportance(gated(inner.optimizer), zeros) }
    },
    inputs(state, course) {
      const trained = drawTrained(
        layerImportance(state) ?? zeros,
        s.trained,
        stream('layers', course, state.step),
      )
      setGates(state, optimizer!, (name) => isOpen(name, trained), course.learningRate)
      const flags = valueOf(
        zeros.map((_, layer) => Number(trained.includes(layer))),
        [s.layers],
      )
      return { ...own.inputs?.(state, course), [`${trainsInput}${floorOf(trained, s.programs)}`]: flags }
    },
    async between(state, taken) {
      await own.between?.(state, taken)
      if (s.every === 0 || state.step % s.every !== 0) return
      const next = await reconsidered(state, taken, s, lossOf, stream('candidates', taken, state.step))
      if (next) storeImportance(state, next)
      else if (!warned) {
        warned = true
        console.warn('ist: a loss was not finite; the importance of the layers stays as it was')
      }
    },
  }
}

/** Holds the importance in the first parameter's slots. */
const withImportance = (optimizer: Optimizer, zeros: readonly number[]): Optimizer => ({
  ...optimizer,
  init(parameters) {
    const [[first, slots], ...rest] = Object.entries(optimizer.init(parameters))
    const importance = valueOf([...zeros], [zeros.length])
    return Object.fromEntries([[first, { ...slots, [importanceSlot]: importance }] as const, ...rest])
  },
})

const storeImportance = (state: TrainingState, importance: readonly number[]): void => {
  const slots = state.optimizers[0]
  const name = Object.keys(slots).find((key) => importanceSlot in slots[key])!
  slots[name] = { ...slots[name], [importanceSlot]: valueOf([...importance], [importance.length]) }
}

/** The importance after each candidate was suppressed on the step's batch; nothing where a loss is not finite. */
const reconsidered = async (
  state: TrainingState,
  { batches: [batch] }: Taken,
  s: Sampling,
  lossOf: LossOf,
  stream: Stream,
): Promise<number[] | undefined> => {
  const importance = layerImportance(state)!
  const sets = drawCandidates(importance, { sets: s.candidates, count: s.suppressed }, stream)
  const losses: number[] = []
  for (const layers of sets) {
    const scale = importance.map((_, place) => (layers.includes(place) ? s.suppression : 1))
    const { parameters } = state
    losses.push(await lossOf({ parameters, batch: { ...batch, [scaleInput]: valueOf(scale, [s.layers]) } }))
  }
  if (!losses.every(Number.isFinite)) return undefined
  return updatedImportance(importance, sets, losses, { rate: s.importanceRate, normalized: s.normalized })
}

/**
 * `model`, an adapter with modules in layers, trained by IST: `fit` takes it as any other. Throws UsageError for an adapter
 * without layers, and for more layers than it has.
 */
export const layerSampled = (model: AdaptedModel, given: Partial<LayerSampling> = {}): AdaptedModel => {
  const layers = layersOf(model)
  const s = samplingFor(layers.count, z.object(samplingOptions).parse(given) as LayerSampling)
  const wrapped = (inner: AdaptedModel): AdaptedModel => {
    const self: AdaptedModel = {
      ...inner,
      weights: (parameters, trace) => answers(inner, layers, parameters, trace),
      with: (parameters) => wrapped(inner.with(parameters)),
    }
    const loss = byShape(
      ({ parameters, batch }: { parameters: Record<string, Tensor>; batch: Batch<Tensor> }) =>
        modelLoss(self)(parameters, batch, {}).loss,
    )
    const lossOf: LossOf = async (inputs) => Number((await (await loss(inputs)).read())[0])
    return { ...self, training: trainingFor(inner, layers, s, lossOf) }
  }
  return wrapped(model)
}

/** Options of IST around LoRA: what both need. */
export interface IstOptions extends LoraOptions, LayerSampling {}

/** The entries of a record whose keys are, or are not, options of the sampling. */
const entriesOf = (options: object, sampling: boolean): object =>
  Object.fromEntries(Object.entries(options).filter(([key]) => key in samplingOptions === sampling))

/**
 * IST around `method`, any that only adds to linear modules: its options are that method's and `LayerSampling`, and what it
 * saves is that method's adapter. Throws UsageError for a method that does more, and for another wrapper.
 */
export const istAround = <P extends object>(method: AdapterMethod<P>): AdapterMethod<P & LayerSampling> => {
  if (!method.additive || method.around) throw notPerLayer(method.paper.id)
  const inner = (options: object): Partial<P> => entriesOf(options, false)
  return Object.assign(
    async (base: Checkpoint | Model, options: Partial<P & LayerSampling> = {}): Promise<AdaptedModel> =>
      layerSampled(await method(base, inner(options)), entriesOf(options, true)),
    {
      ...{ paper: card, peftType: method.peftType, size: method.size, folds: method.folds, additive: true },
      options: method.options.extend(samplingOptions),
      around: istAround as AdapterMethod<never>['around'],
      count: (base: Model, options: Partial<P & LayerSampling> = {}) => method.count(base, inner(options)),
      load: async (base: Checkpoint | Model, saved: Adapter, options?: LoadOptions) =>
        layerSampled(await method.load(base, saved, options)),
    },
  )
}

/**
 * LoRA on `base` trained by IST; `istAround` does the same with any adapter that stands in layers, and `layerSampled` with
 * one that is made. Saved, it is the LoRA. Throws UsageError as LoRA does, and for more layers than the adapter stands in.
 */
export const ist: AdapterMethod<IstOptions> = istAround(lora)
