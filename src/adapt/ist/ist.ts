/**
 * @file IST (Yao et al. 2024, arXiv 2410.11772): importance-aware sparse tuning. Around an adapter that stands in layers:
 * each step trains N_u of the L layers, drawn by their importance I; every T steps a few sets of layers are suppressed in
 * turn, and the losses move I. What is saved and folded is the adapter itself.
 */
import { z } from 'zod'
import type { Adapter, Checkpoint } from '../../checkpoint/index.js'
import type { Model } from '../../models/index.js'
import { Stream } from '../../random/index.js'
import { type Value, valueOf } from '../../tensor/index.js'
import {
  type LossFunction,
  modelLoss,
  type Objective,
  type Optimizer,
  type Taken,
  type Training,
  type TrainingCourse,
  trainingOf,
  type TrainingState,
} from '../../train/index.js'
import { gated, setGates } from '../../train/gated.js'
import { answersIn, scaleInput, trainsInput } from './answers.js'
import { card } from './card.js'
import { drawCandidates, drawTrained, updatedImportance } from './importance.js'
import {
  type AdapterLayers,
  type LayerSampling,
  layersOf,
  notPerLayer,
  type Sampling,
  samplingFor,
  samplingOptions,
} from './layers.js'
import { sparseLoss, trialInput } from './program.js'
import { lora } from '../lora/lora.js'
import type { LoraOptions } from '../lora/options.js'
import type { AdaptedModel, AdapterMethod, LoadOptions } from '../core/spec.js'

/** The slot of the first parameter that carries the importance of all layers, so that checkpoints hold it. */
const importanceSlot = 'importance'

/** I after (or amid) a run: the more, the more important. [layers], in the order of the layers. Absent before the first step. */
export const layerImportance = ({ optimizers }: Pick<TrainingState, 'optimizers'>): number[] | undefined => {
  const held = Object.values(optimizers[0]).find((slots) => importanceSlot in slots)
  return held && Array.from(held[importanceSlot].data, Number)
}

/** A vector with a number for each of so many layers. */
const perLayer = (layers: number, f: (layer: number) => number): Value =>
  valueOf(
    Array.from({ length: layers }, (_, layer) => f(layer)),
    [layers],
  )

/** What a step's program is told: which layers train, or in a trial how layers are scaled. */
const inputsOf = (
  { layers, every }: Sampling,
  { trained = [], scale }: { readonly trained?: readonly number[]; readonly scale?: Value },
): Record<string, Value> => ({
  [trainsInput]: perLayer(layers, (layer) => Number(trained.includes(layer))),
  ...(every > 0 && {
    [scaleInput]: scale ?? perLayer(layers, () => 1),
    [trialInput]: valueOf([Number(scale !== undefined)], [], 'bool'),
  }),
})

/** How the wrapped adapter is trained: gates before each step, importance between some. */
const trainingFor = (
  model: AdaptedModel,
  { place }: AdapterLayers,
  s: Sampling,
  tried: LossFunction,
): Training => {
  const own = trainingOf(model)
  let optimizer: Optimizer | undefined
  let warned = false
  const isOpen = (name: string, trained: readonly number[]): boolean => {
    const layer = place(name)
    return layer === undefined || trained.includes(layer)
  }
  const stream = (what: string, { seed }: TrainingCourse, step: number): Stream =>
    new Stream(seed).fork(`ist ${what}`).fork(step)
  /** The loss on a step's batches with adapters scaled, by the step's own program on a copy of the state, which moves nothing. */
  const trial = async (state: TrainingState, taken: Taken, scale: Value): Promise<number> => {
    const copy = { ...state, optimizers: state.optimizers.map((slots) => ({ ...slots })) }
    setGates(copy, optimizer!, () => false, taken.learningRate)
    const inputs = { ...own.inputs?.(copy, taken), ...inputsOf(s, { scale }) }
    const batches = taken.batches.map((batch) => ({ ...batch, ...inputs }))
    return (await taken.step(copy, batches, taken)).losses[0]
  }
  return {
    ...own,
    objective(usual: Objective) {
      const inner = own.objective?.(usual) ?? usual
      optimizer = inner.optimizer
      const loss = sparseLoss(inner, tried, place)
      return { ...inner, loss, optimizer: withImportance(gated(inner.optimizer), s.layers) }
    },
    inputs(state, course) {
      const importance = layerImportance(state) ?? new Array<number>(s.layers).fill(0)
      const trained = drawTrained(importance, s.trained, stream('layers', course, state.step))
      setGates(state, optimizer!, (name) => isOpen(name, trained), course.learningRate)
      return { ...own.inputs?.(state, course), ...inputsOf(s, { trained }) }
    },
    async between(state, taken) {
      await own.between?.(state, taken)
      if (s.every === 0 || state.step % s.every !== 0) return
      const drawn = stream('candidates', taken, state.step)
      const next = await reconsidered(layerImportance(state)!, s, drawn, (scale) =>
        trial(state, taken, scale),
      )
      if (next) storeImportance(state, next)
      else if (!warned) {
        warned = true
        console.warn('ist: a loss was not finite; the importance of the layers stays as it was')
      }
    },
  }
}

/** Holds the importance in the first parameter's slots. */
const withImportance = (optimizer: Optimizer, layers: number): Optimizer => ({
  ...optimizer,
  init(parameters) {
    const [[first, slots], ...rest] = Object.entries(optimizer.init(parameters))
    const importance = perLayer(layers, () => 0)
    return Object.fromEntries([[first, { ...slots, [importanceSlot]: importance }] as const, ...rest])
  },
})

const storeImportance = (state: TrainingState, importance: readonly number[]): void => {
  const slots = state.optimizers[0]
  const name = Object.keys(slots).find((key) => importanceSlot in slots[key])!
  slots[name] = { ...slots[name], [importanceSlot]: valueOf([...importance], [importance.length]) }
}

/** The importance after each candidate was suppressed in a trial; undefined where a loss is not finite. */
const reconsidered = async (
  importance: readonly number[],
  s: Sampling,
  stream: Stream,
  lossWith: (scale: Value) => Promise<number>,
): Promise<number[] | undefined> => {
  const sets = drawCandidates(importance, { sets: s.candidates, count: s.suppressed }, stream)
  const losses: number[] = []
  for (const set of sets)
    losses.push(await lossWith(perLayer(s.layers, (layer) => (set.includes(layer) ? s.suppression : 1))))
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
      weights: (parameters, trace) => answersIn(inner, layers, s.skippable, parameters, trace),
      with: (parameters) => wrapped(inner.with(parameters)),
    }
    return { ...self, training: trainingFor(inner, layers, s, modelLoss(self)) }
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
