/** @file The gradients of a model in training, dropout included: as they are, and with every fused value by its definition. */
import type { Model, ModelInputs, Parameters } from '../src/models/index.js'
import { gradients } from '../src/tensor/grad.js'
import {
  compile,
  input,
  interpret,
  ones,
  randomSource,
  RandomStreams,
  type Tensor,
  toNumbers,
  type Value,
} from '../src/tensor/index.js'
import { normOf } from '../src/tensor/numbers.js'
import { type Batch, lossOf } from './golden-case.js'
import { unfused } from './unfused.js'

const seed = 5

const symbolOf = (name: string, { shape, dtype }: Value): Tensor => input(name, shape, dtype)

const named = (values: Readonly<Record<string, Value>>): Record<string, Tensor> =>
  Object.fromEntries(Object.entries(values).map(([name, v]) => [name, symbolOf(name, v)]))

interface Inputs<T> {
  readonly parameters: Parameters<T>
  readonly inputs: Readonly<Record<string, T>>
  readonly labels: T
}

const gradientsOf = (
  model: Model,
  { parameters, inputs, labels }: Inputs<Tensor>,
  change: (loss: Tensor) => Tensor,
): Tensor[] => {
  const w = model.weights(parameters, { random: new RandomStreams() })
  const { logits } = model.architecture.forward(w, inputs as ModelInputs, model.config)
  const loss = change(lossOf(model.architecture.task(model.config), logits, labels))
  const wrt = Object.values(parameters)
  return gradients([loss], [ones([])], wrt).flatMap((g) => g ?? [])
}

const apart = (a: readonly Float64Array[], b: readonly Float64Array[]): number =>
  normOf(a.map((x, i) => normOf(x.map((y, j) => y - b[i][j])))) / normOf(a.map((x) => normOf(x)))

/**
 * How far the gradients of `model` on `batch` are from those of its definition, relative to their norm: in float64 by the
 * interpreter, and in float32 as a program computes them.
 */
export const fromDefinition = async (
  model: Model,
  { inputs, labels }: Batch,
): Promise<{ exact: number; program: number }> => {
  const { parameters } = model
  const symbols = { parameters: named(parameters), inputs: named(inputs), labels: symbolOf('labels', labels) }
  const feeds = { inputs: { ...parameters, ...inputs, labels }, random: randomSource({ seed }) }
  const plain = await interpret(
    gradientsOf(model, symbols, (loss) => unfused([loss])[0]),
    feeds,
  )
  const exact = await interpret(
    gradientsOf(model, symbols, (loss) => loss),
    feeds,
  )
  const given: Inputs<Value> = { parameters, inputs, labels }
  const program = await compile(
    ((at: Inputs<Tensor>) => gradientsOf(model, at, (loss) => loss)) as never,
    given as never,
  )
  const values = (await program.run(given as never, { seed })) as unknown as Value[]
  return {
    exact: apart(plain, exact),
    program: apart(plain, values.map(toNumbers)),
  }
}
