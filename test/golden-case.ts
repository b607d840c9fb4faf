/** @file A model beside what the reference library computed with it. No test runner here: browsers use it too. */
import type { Checkpoint } from '../src/checkpoint/web.js'
import { decoder, type Model, type ModelInputs, type Parameters, type Task } from '../src/models/index.js'
import { answerLoss } from '../src/train/loss.js'
import { adamW } from '../src/train/optimizer.js'
import {
  compile,
  type CompileOptions,
  crossEntropy,
  mapTree,
  type Tensor,
  toNumbers,
  value,
  type Value,
  valueAndGrad,
  valueOf,
  where,
} from '../src/tensor/index.js'
import { normOf } from '../src/tensor/numbers.js'

/** The inputs and labels of the reference run. */
export interface Batch {
  readonly inputs: Readonly<Partial<Record<'ids' | 'mask' | 'types' | 'decoderIds' | 'pixels', Value>>>
  readonly labels: Value
}

const inputNames = { ids: 'input_ids', mask: 'attention_mask', types: 'token_type_ids' } as const

/** The labels one to the right behind the start token, as the decoder of a sequence model reads them. */
const shiftedRight = (labels: Value, start: number, padding: number): Value => {
  const [rows, time] = labels.shape
  const at = (row: number, t: number): number => Number(labels.data[row * time + t])
  const ids = Array.from({ length: rows * time }, (_, i) =>
    i % time ? at(Math.floor(i / time), (i % time) - 1) : start,
  )
  return valueOf(
    ids.map((id) => (id === -100 ? padding : id)),
    labels.shape,
    'int32',
  )
}

/** The batch in `golden`, for a model whose config.json is `config`. */
export const batchOf = async (
  golden: Checkpoint,
  task: Task,
  config: Readonly<Record<string, unknown>>,
): Promise<Batch> => {
  const inputs: Record<string, Value> = {}
  for (const [key, name] of Object.entries(inputNames))
    if (golden.has(name)) inputs[key] = await golden.read(name, 'int32')
  if (golden.has('pixel_values')) inputs.pixels = await golden.read('pixel_values')
  const rows = (inputs.ids ?? inputs.pixels).shape[0]
  // Of images and texts each row's label is its own number.
  const labels = golden.has('labels')
    ? await golden.read('labels', 'int32')
    : valueOf(
        Int32Array.from({ length: rows }, (_, i) => i),
        [rows],
        'int32',
      )
  if (task === 'sequence')
    inputs.decoderIds = shiftedRight(
      labels,
      Number(config.decoder_start_token_id),
      Number(config.pad_token_id),
    )
  return { inputs, labels }
}

/** The reference run's gradients of its first step, of those of `names` that it has. */
export const firstGradients = async (
  golden: Checkpoint,
  names: readonly string[],
): Promise<Parameters<Value>> => {
  const there = names.filter((name) => golden.has(`grad.${name}`))
  return Object.fromEntries(
    await Promise.all(there.map(async (name) => [name, await golden.read(`grad.${name}`)] as const)),
  )
}

/** The loss that the reference library trains with. */
export const lossOf = (task: Task, logits: Tensor, labels: Tensor): Tensor => {
  if (task === 'causal') return crossEntropy(logits.slice(1, 0, -1), labels.slice(1, 1))
  if (task === 'answer') return answerLoss({ logits, hidden: [] }, { labels }).loss
  const loss = crossEntropy(logits, labels)
  return task === 'contrastive' ? loss.add(crossEntropy(logits.t(), labels)).div(2) : loss
}

/** What the reference library computed, computed by Weft. */
export interface Trained {
  readonly logits: Value
  readonly hidden: readonly Value[]
  /** Of two towers, in the reference library's names. */
  readonly embeddings: Parameters<Value>
  readonly grads: Parameters<Value>
  /** Before each of five steps, and after the last. */
  readonly losses: readonly number[]
  readonly after: Parameters<Value>
}

/** Options of `train`. */
export interface TrainOptions extends CompileOptions {
  /** Default five. */
  readonly steps?: number
  /** The reference run's gradients of its first step, by parameter. Default: none. */
  readonly reference?: Parameters<Value>
}

/**
 * `grads` for the first step, in which entries that are rounding noise (below 1e-6 of their tensor's norm) are the
 * reference's: Adam makes a whole step of them, whichever way the noise points. first: 1 in the first step, else 0.
 */
const withoutNoise = (
  grads: Parameters<Tensor>,
  reference: Parameters<Tensor>,
  first: Tensor,
): Parameters<Tensor> =>
  Object.fromEntries(
    Object.entries(grads).map(([name, g]) => {
      if (!Object.hasOwn(reference, name)) return [name, g]
      const theirs = reference[name]
      const floor = theirs.square().sum().sqrt().mul(1e-6).mul(first)
      return [name, where(theirs.abs().less(floor), theirs, g)]
    }),
  )

/** Runs the reference run's steps of AdamW (five, and the loss after them): one program, forward, backward and update. */
export const train = async (model: Model, batch: Batch, options: TrainOptions = {}): Promise<Trained> => {
  const { reference = {} } = options
  const task = model.architecture.task(model.config)
  const optimizer = adamW({ weightDecay: 0.01 })
  const scalars = (step: number): Record<string, Value> =>
    mapTree<number, Value, Record<string, number>>(
      { ...optimizer.scalars(step, 1e-2), first: Number(step === 1) },
      (x) => valueOf([x], []),
    )
  let state = { parameters: model.parameters, optimizer: optimizer.init(model.parameters) }
  const program = await compile(
    ({ parameters, optimizer: slots, batch: { inputs, labels }, reference, scalars }) => {
      const { value: outputs, grads } = valueAndGrad((p: Parameters<Tensor>) => {
        const w = model.weights(p, {})
        const outputs = model.architecture.forward(w, inputs as ModelInputs, model.config)
        const { logits, hidden, embeddings: towers } = outputs
        const embeddings: Parameters<Tensor> = towers
          ? { text_embeds: towers.text, image_embeds: towers.image }
          : {}
        return { loss: lossOf(task, logits, labels), logits, hidden, embeddings }
      })(parameters)
      const stepped = withoutNoise(grads, reference, scalars.first)
      const next = optimizer.update(parameters, stepped, slots, scalars)
      return { ...outputs, grads, parameters: next.parameters, optimizer: next.state }
    },
    { ...state, batch, reference, scalars: scalars(1) },
    options,
  )
  const losses: number[] = []
  let first: Pick<Trained, 'logits' | 'hidden' | 'embeddings' | 'grads'> | undefined
  let after = model.parameters
  for (let step = 1; step <= (options.steps ?? 5) + 1; step++) {
    const out = await program.run({ ...state, batch, reference, scalars: scalars(step) })
    first ??= { logits: out.logits, hidden: out.hidden, embeddings: out.embeddings, grads: out.grads }
    after = state.parameters
    state = out
    losses.push((await out.loss.read())[0] as number)
  }
  return { ...first!, losses, after }
}

/** The numbers of a value, wherever it lies. */
export const numbersOf = async (v: Value): Promise<Float64Array> =>
  toNumbers(value(await v.read(), v.shape, v.dtype))

export const norm = (x: Float64Array): number => normOf(x)

/** Greatest absolute difference. */
export const distance = (a: Float64Array, b: Float64Array): number => {
  if (a.length !== b.length) return Infinity
  return a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i])), 0)
}

/** Norm of the difference. */
export const distanceInNorm = (a: Float64Array, b: Float64Array): number =>
  a.length === b.length ? norm(a.map((x, i) => x - b[i])) : Infinity

export interface Tolerances {
  /** Of logits and hidden states: the greatest difference. Default 2e-5. */
  readonly tolerance?: number
  /** Of losses. Default 2e-5. */
  readonly losses?: number
}

/** How far each tensor is off, as a share of what is allowed: all is well while none is above 1. */
export type Deviations = Readonly<Record<string, number>>

/** A gradient below it in norm is zero in exact arithmetic: rounding noise, compared absolutely. */
const noise = 1e-6

/** What Weft computed beside what the reference library did. */
export class Comparison {
  private readonly tolerance: number
  private readonly losses: number

  constructor(
    private readonly ours: Trained,
    private readonly golden: Checkpoint,
    { tolerance = 2e-5, losses = 2e-5 }: Tolerances = {},
  ) {
    this.tolerance = tolerance
    this.losses = losses
  }

  private async theirs(name: string): Promise<Float64Array> {
    return numbersOf(await this.golden.read(name))
  }

  /** The rest of every name that begins with `prefix`. */
  private named(prefix: string): string[] {
    return this.golden.names().flatMap((n) => (n.startsWith(prefix) ? [n.slice(prefix.length)] : []))
  }

  private async absolute(v: Value, name: string): Promise<number> {
    return distance(await numbersOf(v), await this.theirs(name)) / this.tolerance
  }

  async forward(): Promise<Deviations> {
    const { logits, hidden, embeddings } = this.ours
    const name = this.golden.has('logits') ? 'logits' : 'logits_per_image'
    const found: Record<string, number> = { logits: await this.absolute(logits, name) }
    for (const [name, v] of Object.entries(embeddings)) found[name] = await this.absolute(v, name)
    for (const i of this.named('hidden.'))
      found[`hidden.${i}`] = await this.absolute(hidden[Number(i)], `hidden.${i}`)
    if (this.golden.has('last_hidden'))
      found.last_hidden = await this.absolute(hidden[hidden.length - 1], 'last_hidden')
    return found
  }

  private async isNoise(parameter: string): Promise<boolean> {
    return norm(await this.theirs(`grad.${parameter}`)) < noise
  }

  /** Of every parameter; one that either side lacks is infinitely off. */
  async gradients(): Promise<Deviations> {
    const found: Record<string, number> = {}
    for (const name of new Set([...Object.keys(this.ours.grads), ...this.named('grad.')])) {
      const g = this.ours.grads[name] as Value | undefined
      found[name] = Infinity
      if (!g || !this.golden.has(`grad.${name}`)) continue
      const reference = await this.theirs(`grad.${name}`)
      const allowed = (await this.isNoise(name)) ? noise : 1e-4 * norm(reference)
      found[name] = distanceInNorm(await numbersOf(g), reference) / allowed
    }
    return found
  }

  /** Of as many losses as there are. */
  async training(): Promise<Deviations> {
    const reference = await this.theirs('losses')
    const off = this.ours.losses.map((loss, i) => [i, Math.abs(loss - reference[i]) / this.losses])
    return Object.fromEntries(off)
  }

  /** Of the parameters after the five steps. Adam turns noise into steps: such parameters are left out. */
  async after(): Promise<Deviations> {
    const found: Record<string, number> = {}
    for (const name of this.named('after.')) {
      if (await this.isNoise(name)) continue
      const reference = await this.theirs(`after.${name}`)
      const p = await numbersOf(this.ours.after[name])
      found[name] = distanceInNorm(p, reference) / (1e-3 * norm(reference))
    }
    return found
  }
}

/** Those that are off by more than `times` what is allowed. */
export const beyond = (deviations: Deviations, times = 1): Deviations =>
  Object.fromEntries(Object.entries(deviations).filter(([, share]) => !(share <= times)))

/** Greedy continuation of `prompt` by `count` tokens, the whole sequence computed anew at every token. */
export const continueUncached = async (
  model: Model,
  prompt: readonly number[],
  count: number,
  options: CompileOptions = {},
): Promise<number[]> => {
  const length = prompt.length + count
  const row = (ids: readonly number[]): Value =>
    valueOf([...ids, ...new Array<number>(length - ids.length).fill(0)], [1, length], 'int32')
  const program = await compile(
    ({ ids, parameters }) =>
      model.architecture.forward(model.weights(parameters, {}), { ids }, model.config).logits.argMax(-1),
    { ids: row(prompt), parameters: model.parameters },
    options,
  )
  const ids = [...prompt]
  while (ids.length < length) {
    const best = await program.run({ ids: row(ids), parameters: model.parameters })
    ids.push(Number((await best.read())[ids.length - 1]))
  }
  return ids
}

/** The same by the cache: the prompt at once, then token by token. */
export const continueCached = async (
  model: Model,
  prompt: readonly number[],
  count: number,
  options: Pick<CompileOptions, 'device'> = {},
): Promise<number[]> => {
  const cached = decoder(model, { capacity: prompt.length + count, ...options })
  const ids = [...prompt]
  let logits = await cached.prefill([prompt])
  for (let left = count; left > 0; left--) {
    const numbers = await numbersOf(logits)
    ids.push(numbers.indexOf(numbers.reduce((a, b) => Math.max(a, b))))
    if (left > 1) logits = await cached.step(ids.slice(-1))
  }
  return ids
}
