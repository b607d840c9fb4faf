import { describe, expect, it } from 'vitest'
import {
  compile,
  crossEntropy,
  type Tensor,
  toNumbers,
  type Value,
  valueAndGrad,
  valueOf,
  zeros,
} from '../tensor/index.js'
import { createModel } from './create.js'
import { type Model, mlp, plainWeights } from './index.js'

const plain = { model_type: 'weft_mlp', sizes: [3, 4, 5, 2], hidden_act: 'tanh' }
const deep = { ...plain, residual: true, width: 6 }

const logitsOf = async (
  model: Model,
  x: Value,
  key: 'embeddings' | 'pixels' = 'embeddings',
): Promise<number[]> => {
  const program = await compile(
    ({ x, parameters }) =>
      model.architecture.forward(model.weights(parameters, {}), { [key]: x }, model.config).logits,
    { x, parameters: model.parameters },
    { device: 'reference' },
  )
  return [...toNumbers(await program.run({ x, parameters: model.parameters }))]
}

type Rows = readonly (readonly number[])[]

/** The rows of x Wᵀ + b. */
const linear = ({ parameters }: Model, name: string, x: Rows, biased = true): number[][] => {
  const w = toNumbers(parameters[`${name}.weight`])
  const b = biased ? toNumbers(parameters[`${name}.bias`]) : new Float64Array(w.length / x[0].length)
  return x.map((row) =>
    Array.from(b, (bias, o) => row.reduce((sum, v, i) => sum + v * w[o * row.length + i], bias)),
  )
}
const tanh = (x: Rows): number[][] => x.map((row) => row.map(Math.tanh))
const normed = (x: Rows): number[][] =>
  x.map((row) => {
    const mean = row.reduce((a, b) => a + b) / row.length
    const variance = row.reduce((sum, v) => sum + (v - mean) ** 2, 0) / row.length
    return row.map((v) => (v - mean) / Math.sqrt(variance + 1e-5))
  })
const added = (x: Rows, y: Rows): number[][] => x.map((row, i) => row.map((v, j) => v + y[i][j]))
const close = (a: readonly number[], rows: Rows): void => {
  const expected = rows.flat()
  expect(a.length).toBe(expected.length)
  a.forEach((n, i) => expect(n).toBeCloseTo(expected[i], 6))
}

const x: Rows = [
  [0.5, -1, 2],
  [1, 0.25, -0.5],
]
const value = valueOf(x.flat(), [2, 3])

describe('an mlp', () => {
  it('is linear modules with activations between them', async () => {
    const model = await createModel(plain)
    const h = tanh(linear(model, 'layers.1', tanh(linear(model, 'layers.0', x))))
    close(await logitsOf(model, value), linear(model, 'head', h))
  })

  it('is blocks that add to a stream, when residual', async () => {
    const model = await createModel(deep)
    const block = (i: number, h: Rows): Rows =>
      added(h, linear(model, `blocks.${i}.down`, tanh(linear(model, `blocks.${i}.up`, normed(h)))))
    const h = block(1, block(0, linear(model, 'input', x)))
    close(await logitsOf(model, value), linear(model, 'head', normed(h)))
  })

  it('may be blocks on the inputs themselves, with RMS norms that have no parameters', async () => {
    const bare = { ...plain, residual: true, width: 3, norm: 'rms', input_projection: false, bias: false }
    const model = await createModel({ ...bare, down_scale: 0.5 })
    expect(Object.keys(model.parameters).sort()).toEqual(
      ['blocks.0.down', 'blocks.0.up', 'blocks.1.down', 'blocks.1.up', 'head'].map((n) => `${n}.weight`),
    )
    const rms = (x: Rows): number[][] =>
      x.map((row) => row.map((v) => v / Math.sqrt(row.reduce((s, u) => s + u * u, 0) / row.length + 1e-5)))
    const times = (name: string, x: Rows): number[][] => linear(model, name, x, false)
    const block = (i: number, h: Rows): Rows =>
      added(h, times(`blocks.${i}.down`, tanh(times(`blocks.${i}.up`, rms(h)))))
    close(await logitsOf(model, value), times('head', block(1, block(0, x))))
    const full = toNumbers((await createModel(bare)).parameters['blocks.0.down.weight'])
    const half = toNumbers(model.parameters['blocks.0.down.weight'])
    half.forEach((w, i) => expect(w).toBeCloseTo(full[i] / 2, 6))
  })

  it('reads pixels as one row an image', async () => {
    const model = await createModel(plain)
    const images = valueOf(x.flat(), [2, 3, 1, 1])
    expect(await logitsOf(model, images, 'pixels')).toEqual(await logitsOf(model, value))
  })

  it('learns', async () => {
    const model = await createModel({ ...deep, hidden_act: 'relu' })
    const labels = valueOf([1, 0], [2], 'int32')
    const step = await compile(
      ({ parameters, x, labels }) => {
        const { value: loss, grads } = valueAndGrad((p: Record<string, Tensor>) =>
          crossEntropy(
            model.architecture.forward(model.weights(p, {}), { embeddings: x }, model.config).logits,
            labels,
          ),
        )(parameters)
        const next = Object.entries(parameters).map(
          ([name, p]) => [name, p.sub(grads[name].mul(0.1))] as const,
        )
        return { loss, parameters: Object.fromEntries(next) }
      },
      { parameters: model.parameters, x: value, labels },
    )
    let { parameters } = model
    const losses: number[] = []
    for (let i = 0; i < 30; i++) {
      const out = await step.run({ parameters, x: value, labels })
      parameters = out.parameters
      losses.push(toNumbers(out.loss)[0])
    }
    expect(losses[29]).toBeLessThan(losses[0] / 5)
  })

  it('asks for every tensor of its table, and for no other', () => {
    for (const config of [plain, deep, { ...plain, bias: false }, { ...deep, norm: 'rms' }]) {
      const c = mlp.mlp.readConfig(config)
      const table = new Map(mlp.mlp.table(c).map(({ name, shape }) => [name, shape]))
      const asked = new Set<string>()
      const lookup = (name: string): Tensor | undefined => {
        const shape = table.get(name)
        if (shape) asked.add(name)
        return shape && zeros(shape)
      }
      const w = plainWeights(lookup, () => table.keys())
      expect(mlp.mlp.forward(w, { embeddings: zeros([4, 3]) }, c).logits.shape).toEqual([4, 2])
      expect([...asked].sort()).toEqual([...table.keys()].sort())
    }
  })

  it.each([
    [{ sizes: [3] }, /sizes is \[3\]; expected at least two/],
    [{ sizes: [3, 0, 2] }, /sizes is \[3,0,2\]; expected a list of positive integers/],
    [{ sizes: undefined }, /sizes is missing/],
    [{ residual: true }, /width is missing/],
    [
      { residual: true, width: 6, input_projection: false },
      /input_projection is false; expected true, unless/,
    ],
    [{ norm: 'batch' }, /norm is "batch"; expected 'layer' or 'rms'/],
    [{ hidden_act: 'rellu' }, /rellu/],
  ])('refuses %j', (change, message) => {
    expect(() => mlp.mlp.readConfig({ ...plain, ...change })).toThrow(message)
  })

  it('refuses inputs of another size', async () => {
    const model = await createModel(plain)
    await expect(logitsOf(model, valueOf([1, 2], [1, 2]))).rejects.toThrow(
      /\[1,2\] given; 3 numbers an example/,
    )
  })
})
