/** @file A model beside what the reference library computed with it. No test runner here: browsers use it too. */
import type { Checkpoint } from '../src/checkpoint/web.js'
import type { Model, ModelInputs, Parameters, Task } from '../src/models/index.js'
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
} from '../src/tensor/index.js'

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
  const labels = await golden.read('labels', 'int32')
  if (task === 'sequence')
    inputs.decoderIds = shiftedRight(
      labels,
      Number(config.decoder_start_token_id),
      Number(config.pad_token_id),
    )
  return { inputs, labels }
}

/** The loss that the reference library trains with. */
const lossOf = (task: Task, logits: Tensor, labels: Tensor): Tensor =>
  task === 'causal' ? crossEntropy(logits.slice(1, 0, -1), labels.slice(1, 1)) : crossEntropy(logits, labels)

/** What the reference library computed, computed by Weft. */
export interface Trained {
  readonly logits: Value
  readonly hidden: readonly Value[]
  readonly grads: Parameters<Value>
  /** Before each of five steps, and after the last. */
  readonly losses: readonly number[]
  readonly after: Parameters<Value>
}

/** Runs the reference run's five steps of AdamW: one program, forward, backward and update. */
export const train = async (model: Model, batch: Batch, options: CompileOptions = {}): Promise<Trained> => {
  const task = model.architecture.task(model.config)
  const optimizer = adamW({ weightDecay: 0.01 })
  const scalars = (step: number): Record<string, Value> =>
    mapTree<number, Value, Record<string, number>>({ ...optimizer.scalars(step, 1e-2) }, (x) =>
      valueOf([x], []),
    )
  let state = { parameters: model.parameters, optimizer: optimizer.init(model.parameters) }
  const program = await compile(
    ({ parameters, optimizer: slots, batch: { inputs, labels }, scalars }) => {
      const { value: outputs, grads } = valueAndGrad((p: Parameters<Tensor>) => {
        const w = model.weights(p, {})
        const { logits, hidden } = model.architecture.forward(w, inputs as ModelInputs, model.config)
        return { loss: lossOf(task, logits, labels), logits, hidden }
      })(parameters)
      const next = optimizer.update(parameters, grads, slots, scalars)
      return { ...outputs, grads, parameters: next.parameters, optimizer: next.state }
    },
    { ...state, batch, scalars: scalars(1) },
    options,
  )
  const losses: number[] = []
  let first: Pick<Trained, 'logits' | 'hidden' | 'grads'> | undefined
  let after = model.parameters
  for (let step = 1; step <= 6; step++) {
    const out = await program.run({ ...state, batch, scalars: scalars(step) })
    first ??= { logits: out.logits, hidden: out.hidden, grads: out.grads }
    after = state.parameters
    state = out
    losses.push((await out.loss.read())[0] as number)
  }
  return { ...first!, losses, after }
}

/** The numbers of a value, wherever it lies. */
export const numbersOf = async (v: Value): Promise<Float64Array> =>
  toNumbers(value(await v.read(), v.shape, v.dtype))

export const norm = (x: Float64Array): number => Math.hypot(...x)

/** Greatest absolute difference. */
export const distance = (a: Float64Array, b: Float64Array): number => {
  if (a.length !== b.length) return Infinity
  return a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i])), 0)
}

/** Norm of the difference. */
export const distanceInNorm = (a: Float64Array, b: Float64Array): number =>
  a.length === b.length ? norm(a.map((x, i) => x - b[i])) : Infinity

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
