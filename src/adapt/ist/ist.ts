/**
 * @file IST (Yao et al. 2024, arXiv 2410.11772): importance-aware sparse tuning. Around an adapter that stands in layers:
 * each step trains N_u of the L layers, drawn by their importance I; every T steps a few sets of layers are suppressed in
 * turn, and the losses move I. What is saved and folded is the adapter itself.
 */
import { z } from 'zod'
import type { Adapter, Checkpoint } from '../../checkpoint/index.js'
import { UsageError } from '../../errors.js'
import { answering, type Model, type Parameters, type Trace, type Weights } from '../../models/index.js'
import { Stream } from '../../random/index.js'
import { cond, stopGradient, type Tensor, type Value, valueOf } from '../../tensor/index.js'
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
import { combinations, drawCandidates, drawTrained, updatedImportance } from './importance.js'
import { lora, type LoraOptions } from '../lora/lora.js'
import type { AdaptedModel, AdapterMethod, LoadOptions } from '../core/spec.js'

export interface LayerSampling {
  /** N_u: layers that train in a step. Default a quarter of them. */
  readonly trained?: number
  /** T: steps between updates of the importance; 0 for none, which is random sparse tuning. Default 10. */
  readonly every: number
  /** N_c: sets that are suppressed in turn. Default 3, or as many as there are. */
  readonly candidates?: number
  /** N_v: layers in such a set. Default half of them. */
  readonly suppressed?: number
  /** beta: what the adapter's output there is multiplied with. Default 0.25. */
  readonly suppression: number
  /** eta, of the importance. Default 10. */
  readonly importanceRate: number
  /** Divide advantages by their spread. Default false, as the paper. */
  readonly normalized: boolean
}

const samplingOptions = {
  trained: z.number().int().positive().optional().describe('layers that train in a step (a quarter)'),
  every: z
    .number()
    .int()
    .nonnegative()
    .default(10)
    .describe('steps between updates of importance; 0: random layers'),
  candidates: z.number().int().min(2).optional().describe('sets of layers that are suppressed in turn (3)'),
  suppressed: z.number().int().positive().optional().describe('layers in such a set (half)'),
  suppression: z.number().min(0).max(1).default(0.25).describe("factor of the adapter's output there"),
  importanceRate: z.number().positive().default(10).describe('how fast importance moves'),
  normalized: z.boolean().default(false).describe('divide the advantages by their spread'),
}

/** The input that says which layers train: [layers] bool. */
const trainsInput = 'istTrains'
/** The input that layers' adapters are multiplied with: [layers]. */
export const scaleInput = 'istScale'

/** The place of each module among the layers that have one; modules outside layers have none and always train. */
const layersOf = ({
  plan,
}: AdaptedModel): { readonly layer: (name: string) => number | undefined; readonly count: number } => {
  const numberOf = (name: string): string | undefined => /(?:^|\.)(\d+)\./.exec(`${name}.`)?.[1]
  const found = new Set(plan.sites.flatMap(({ site }) => numberOf(site.name) ?? []))
  const { linear, attend, module, forward } = plan.method
  if (!linear || attend || module || forward)
    throw new UsageError('NotPerLayer', `ist: ${plan.method.paper.id} does more than add to linear modules`, {
      hint: 'Layers are trained and suppressed by themselves where a method adds to linear modules: LoRA, serial adapters.',
    })
  const order = new Map([...found].sort((a, b) => Number(a) - Number(b)).map((n, i) => [n, i]))
  if (order.size === 0)
    throw new UsageError('NoLayers', 'ist: the adapter stands in no layers, of which some could train', {
      hint: 'It needs a method with modules in every layer, as LoRA or bottleneck adapters; prompts have none.',
    })
  return { layer: (name) => order.get(numberOf(name) ?? ''), count: order.size }
}

interface Sampling extends Required<LayerSampling> {
  readonly layers: number
}

const checked = (layers: number, given: LayerSampling): Sampling => {
  const { trained = Math.max(1, Math.floor(layers / 4)), suppressed = Math.max(1, Math.floor(layers / 2)) } =
    given
  for (const [name, n] of Object.entries({ trained, suppressed }))
    if (n > layers)
      throw new UsageError('BadOption', `ist: ${name} is ${n}; the adapter stands in ${layers} layers`)
  const most = combinations(layers, suppressed)
  const { candidates = Math.max(2, Math.min(3, most)) } = given
  if (given.every > 0 && candidates > most)
    throw new UsageError(
      'BadOption',
      `ist: ${candidates} sets of ${suppressed} layers out of ${layers}; there are ${most}`,
      {
        hint: 'Compare fewer sets (candidates), of another number of layers (suppressed), or none (every: 0).',
      },
    )
  return { ...given, layers, trained, suppressed, candidates }
}

/** The scalar at `place` of a vector. */
const at = (vector: Tensor, place: number): Tensor => vector.slice(0, place, place + 1).reshape([])

/** The adapter's answers: suppressed layers scaled, layers that do not train without gradient work. */
const answers = (
  model: AdaptedModel,
  layer: (name: string) => number | undefined,
  parameters: Parameters<Tensor>,
  trace: Trace,
): Weights => {
  const [trains, scale] = [trace.inputs?.[trainsInput], trace.inputs?.[scaleInput]]
  const all = model.weights(parameters, trace)
  if (!trains && !scale) return all
  const stopped = Object.fromEntries(Object.entries(parameters).map(([name, p]) => [name, stopGradient(p)]))
  const still = model.weights(stopped, trace)
  const { base } = model.plan
  const plain = base.weights(frozen(base), trace)
  return answering(all, {
    linear(name, x) {
      const place = layer(name)
      if (place === undefined) return all.linear(name, x)
      if (scale) {
        const y = plain.linear(name, x)
        return y.add(all.linear(name, x).sub(y).mul(at(scale, place)))
      }
      const [y] = cond(
        at(trains!, place),
        () => all.linear(name, x),
        () => still.linear(name, x),
      )
      return y
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
  layer: (name: string) => number | undefined,
  s: Sampling,
  lossOf: LossOf,
): Training => {
  const own = trainingOf(model)
  let optimizer: Optimizer | undefined
  let warned = false
  const zeros = new Array<number>(s.layers).fill(0)
  const isOpen = (name: string, trained: readonly number[]): boolean => {
    const place = layer(name)
    return place === undefined || trained.includes(place)
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
      const flags = zeros.map((_, place) => Number(trained.includes(place)))
      return { ...own.inputs?.(state, course), [trainsInput]: valueOf(flags, [s.layers], 'bool') }
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
  const { layer, count } = layersOf(model)
  const s = checked(count, z.object(samplingOptions).parse(given) as LayerSampling)
  const wrapped = (inner: AdaptedModel): AdaptedModel => {
    const self: AdaptedModel = {
      ...inner,
      weights: (parameters, trace) => answers(inner, layer, parameters, trace),
      with: (parameters) => wrapped(inner.with(parameters)),
    }
    const loss = byShape(
      ({ parameters, batch }: { parameters: Record<string, Tensor>; batch: Batch<Tensor> }) =>
        modelLoss(self)(parameters, batch, {}).loss,
    )
    const lossOf: LossOf = async (inputs) => Number((await (await loss(inputs)).read())[0])
    return { ...self, training: trainingFor(inner, layer, s, lossOf) }
  }
  return wrapped(model)
}

/** IST around LoRA: what both need. */
export interface IstOptions extends LoraOptions, LayerSampling {}

const own = (
  options: Partial<IstOptions>,
): { adapter: Partial<LoraOptions>; sampling: Partial<LayerSampling> } => {
  const entries = Object.entries(options)
  const isSampling = ([key]: [string, unknown]): boolean => key in samplingOptions
  return {
    adapter: Object.fromEntries(entries.filter((entry) => !isSampling(entry))),
    sampling: Object.fromEntries(entries.filter(isSampling)),
  }
}

/**
 * LoRA on `base` trained by IST; `layerSampled` does the same to any adapter that stands in layers. Saved, it is the LoRA.
 * Throws UsageError as LoRA does, and for more layers than the adapter stands in.
 */
export const ist: AdapterMethod<IstOptions> = Object.assign(
  async (base: Checkpoint | Model, options: Partial<IstOptions> = {}): Promise<AdaptedModel> => {
    const { adapter, sampling } = own(options)
    return layerSampled(await lora(base, adapter), sampling)
  },
  {
    paper: card,
    peftType: lora.peftType,
    options: lora.options.extend(samplingOptions),
    size: lora.size,
    folds: lora.folds,
    count: (base: Model, options: Partial<IstOptions> = {}) => lora.count(base, own(options).adapter),
    load: async (base: Checkpoint | Model, saved: Adapter, options?: LoadOptions) =>
      layerSampled(await lora.load(base, saved, options)),
  },
)
