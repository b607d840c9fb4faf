/** @file What a training step costs beside the arithmetic: compiling it, and the time outside ONNX Runtime. */
import { InferenceSession } from 'onnxruntime-node'
import { createModel } from '../src/models/index.js'
import { compile, type Tensor, type Value, valueOf, zerosValue } from '../src/tensor/index.js'
import { gpt, gptBatch, randomBatch, trainer } from './_gpt.js'
import { median, row } from './row.js'
import type { Row } from './row.js'

const llama = (vocabulary: number) =>
  createModel({
    model_type: 'llama',
    num_hidden_layers: 12,
    hidden_size: 256,
    intermediate_size: 688,
    num_attention_heads: 4,
    vocab_size: vocabulary,
    max_position_embeddings: 128,
  })

/** Seconds from the model to its compiled step: the first call less a later one. */
const compileSeconds = async (vocabulary: number): Promise<number> => {
  const step = trainer(await llama(vocabulary), randomBatch(1, 64, vocabulary))
  const times: number[] = []
  for (let i = 0; i < 4; i++) {
    const start = performance.now()
    await step()
    times.push(performance.now() - start)
  }
  return (times[0] - median(times.slice(1))) / 1000
}

export const compileRow = async (): Promise<Row> => {
  const seconds: number[] = []
  // Each of another size, since programs of equal structure share a session.
  for (let i = 0; i < 5; i++) seconds.push(await compileSeconds(512 + i))
  return row("compiling a 12-layer Llama's training step", median(seconds), 'the budget', 3, 's')
}

/** Adds up the milliseconds that sessions opened from now on spend in `session.run`. */
const watchSessions = (): { inside: number } => {
  const watch = { inside: 0 }
  const create = InferenceSession.create.bind(InferenceSession) as (
    ...given: unknown[]
  ) => Promise<InferenceSession>
  InferenceSession.create = (async (...given: unknown[]) => {
    const session = await create(...given)
    const run = session.run.bind(session) as (...given: unknown[]) => ReturnType<InferenceSession['run']>
    session.run = async (...given: unknown[]) => {
      const start = performance.now()
      const results = await run(...given)
      watch.inside += performance.now() - start
      return results
    }
    return session
  }) as typeof InferenceSession.create
  return watch
}

type Named<T> = Readonly<Record<string, T>>
type Inputs<T> = { parameters: Named<T>; m: Named<T>; v: Named<T>; batch: Named<T>; rates: T[] }

/** A program with a training step's inputs and outputs that computes nothing. */
const emptyProgram = async (parameters: Named<Value>): Promise<() => Promise<unknown>> => {
  const zeros = Object.fromEntries(
    Object.entries(parameters).map(([k, v]) => [k, zerosValue(v.shape, v.dtype)]),
  )
  const rates = [valueOf([1], []), valueOf([1], []), valueOf([1], [])]
  const inputs: Inputs<Value> = { parameters, m: zeros, v: zeros, batch: gptBatch(), rates }
  const copy = ({ parameters: p, m, v, rates: [loss, weight] }: Inputs<Tensor>) => ({ p, m, v, loss, weight })
  const program = await compile(copy as never, inputs)
  let state = inputs
  return async () => {
    const { p, m, v } = (await program.run(state)) as { p: Named<Value>; m: Named<Value>; v: Named<Value> }
    state = { ...state, parameters: p, m, v }
  }
}

const steps = 200

export const overheadRows = async (): Promise<Row[]> => {
  const watch = watchSessions()
  const model = await gpt()
  const step = trainer(model, gptBatch())
  const empty = await emptyProgram(model.parameters)
  const [whole, outside, nothing]: number[][] = [[], [], []]
  for (let i = -10; i < steps; i++) {
    let start = performance.now()
    watch.inside = 0
    await step()
    const took = performance.now() - start
    const beside = took - watch.inside
    start = performance.now()
    await empty()
    if (i < 0) continue
    whole.push(took)
    outside.push(beside)
    nothing.push(performance.now() - start)
  }
  const all = median(whole)
  return [
    row('time outside session.run', median(outside), 'the whole step', all, 'ms'),
    row('an empty graph of the same inputs and outputs', median(nothing), 'the whole step', all, 'ms'),
  ]
}
