import { describe, expect, it } from 'vitest'
import { Stream } from '../random/index.js'
import { unfused } from '../../test/unfused.js'
import {
  attention,
  compile,
  crossEntropy,
  dropout,
  gelu,
  input,
  interpret,
  layerNorm,
  mapTree,
  ones,
  randomSource,
  RandomStreams,
  rmsNorm,
  rotary,
  silu,
  sizeOf,
  type Spec,
  specOf,
  type Tensor,
  tensor,
  toNumbers,
  type Value,
  valueAndGrad,
  valueOf,
  vmap,
} from './index.js'
import { gradients } from './grad.js'
import { reachable } from './graph.js'
import { normOf } from './numbers.js'

type Named<T> = Record<string, T>

const [rows, batch, time, heads, keyHeads, size, hidden] = [2, 2, 5, 4, 2, 6, 10]
const width = heads * size
const shapes: Named<number[]> = {
  x: [batch, time, width],
  norm: [width],
  weight: [width],
  bias: [width],
  q: [width, heads * size],
  k: [width, keyHeads * size],
  v: [width, keyHeads * size],
  o: [heads * size, width],
  gate: [width, hidden],
  up: [width, hidden],
  down: [hidden, width],
  scores: [1, heads, time, time],
}

const stream = new Stream('again')
const values = (shape: readonly number[]): Value =>
  valueOf(
    Array.from({ length: sizeOf(shape) }, () => stream.uniform() - 0.5),
    shape,
  )
const parameters: Named<Value> = Object.fromEntries(
  Object.entries(shapes).map(([name, shape]) => [name, values(shape)]),
)
const stacked: Named<Value> = Object.fromEntries(
  Object.entries(shapes).map(([name, shape]) => [name, values([rows, ...shape])]),
)
const table = (f: (x: number) => number): Tensor =>
  tensor(
    Array.from({ length: time * size }, (_, i) => f(i)),
    [1, 1, time, size],
  )
const causal = tensor(
  Array.from({ length: time * time }, (_, i) => Number(i % time <= Math.floor(i / time))),
  [1, 1, time, time],
  'bool',
)

/** The loss of a block that has every value which is made again; `drops` adds dropout to each of its parts. */
const lossOf = (p: Named<Tensor>, { drops = false, reads = false } = {}): Tensor => {
  const random = drops ? new RandomStreams() : undefined
  const drop = (t: Tensor): Tensor => dropout(t, 0.3, random)
  const split = (t: Tensor, count: number): Tensor =>
    t.reshape([batch, time, count, size]).transpose([0, 2, 1, 3])
  const n = drop(rmsNorm(p.x, p.norm))
  const turned = (t: Tensor): Tensor => rotary(t, table(Math.cos), table(Math.sin))
  const { output, probabilities } = attention(
    turned(split(n.matmul(p.q), heads)),
    turned(split(n.matmul(p.k), keyHeads)),
    split(n.matmul(p.v), keyHeads),
    { mask: causal, bias: p.scores, softcap: 5, drop },
  )
  const merged = output.transpose([0, 2, 1, 3]).reshape([batch, time, width])
  const h = p.x.add(drop(merged.matmul(p.o)))
  const m = layerNorm(h, { weight: p.weight, bias: p.bias })
  const inner = silu(m.matmul(p.gate)).mul(gelu(m.matmul(p.up)))
  const y = h.add(drop(inner.matmul(p.down)))
  const labels = tensor([1, 2, 3, -100, 5, 6, 7, 0, -100, 3], [batch, time], 'int32')
  const loss = crossEntropy(y, labels)
  return reads ? loss.add(probabilities.square().sum()) : loss
}

const gradientsOf = (loss: Tensor, p: Named<Tensor>): Named<Tensor> => {
  const names = Object.keys(p)
  const found = gradients([loss], [ones([])], Object.values(p))
  return Object.fromEntries(names.map((name, i) => [name, found[i]!]))
}

type Gradient = (p: Named<Tensor>, options?: Parameters<typeof lossOf>[1]) => Named<Tensor>
const kept: Gradient = (p, options) => gradientsOf(unfused([lossOf(p, options)])[0], p)
const again: Gradient = (p, options) => gradientsOf(lossOf(p, options), p)

/** The gradient of a number that depends on every entry of a gradient. */
const second =
  (first: Gradient, plainly: boolean): Gradient =>
  (p, options) => {
    const sum = Object.values(first(p, options)).reduce((t, g) => t.add(g.square().sum()), p.x.sum())
    return gradientsOf(plainly ? unfused([sum])[0] : sum, p)
  }

/** The leaves of `f` at `inputs`, in float64 by the interpreter, or in float32 as programs compute. */
const exactly = async (
  f: (p: Named<Tensor>) => Named<Tensor>,
  inputs: Named<Value>,
): Promise<Float64Array[]> => {
  const symbols = Object.entries(inputs).map(([name, { shape }]) => [name, input(name, shape)] as const)
  const outputs = Object.values(f(Object.fromEntries(symbols)))
  return interpret(outputs, { inputs, random: randomSource({ seed: 3 }) })
}
const inProgram = async (
  f: (p: Named<Tensor>) => Named<Tensor>,
  inputs: Named<Value>,
): Promise<Float64Array[]> => {
  const specs = mapTree<Value, Spec, Named<Value>>(inputs, specOf)
  const program = await compile(f as never, specs)
  return Object.values((await program.run(inputs as never, { seed: 3 })) as Named<Value>).map(toNumbers)
}

/** The greatest difference in norm of two gradients, relative to the whole. */
const apart = (a: readonly Float64Array[], b: readonly Float64Array[]): number => {
  const scale = normOf(a.map((x) => normOf(x)))
  return normOf(a.map((x, i) => normOf(x.map((y, j) => y - b[i][j])))) / scale
}

const cases: [string, Gradient, Gradient, Named<Value>, Parameters<typeof lossOf>[1]][] = [
  ['of a block', kept, again, parameters, {}],
  ['of a block with dropout', kept, again, parameters, { drops: true }],
  ['of a block whose probabilities are read', kept, again, parameters, { drops: true, reads: true }],
  ['of its gradient', second(kept, true), second(again, false), parameters, { drops: true }],
  [
    'of many rows',
    (p, o) => vmap((row: Named<Tensor>) => kept(row, o))(p),
    (p, o) => vmap((row: Named<Tensor>) => again(row, o))(p),
    stacked,
    { drops: true },
  ],
  [
    'through vmap',
    (p, o) => gradientsOf(unfused([vmap((row: Named<Tensor>) => lossOf(row, o))(p).sum()])[0], p),
    (p, o) => gradientsOf(vmap((row: Named<Tensor>) => lossOf(row, o))(p).sum(), p),
    stacked,
    { drops: true },
  ],
]

describe('values that the backward pass makes again', () => {
  it.each(cases)('give the gradient %s that kept ones give', async (_, plain, remade, inputs, options) => {
    const exact = await exactly((p) => plain(p, options), inputs)
    expect(apart(exact, await exactly((p) => remade(p, options), inputs))).toBeLessThan(1e-9)
    expect(apart(exact, await inProgram((p) => remade(p, options), inputs))).toBeLessThan(5e-6)
  })

  it('are not kept: of a block only what they are made from is', () => {
    const p = Object.fromEntries(
      Object.entries(shapes).map(([name, shape]) => [name, ones(shape).add(0)]),
    ) as Named<Tensor>
    let last = 0
    const { grads } = valueAndGrad((q: Named<Tensor>) => {
      const loss = lossOf(q, { drops: true })
      last = loss.node.id
      return loss
    })(p)
    const nodes = reachable(Object.values(grads))
    const read = new Set(nodes.filter(({ id }) => id > last).flatMap(({ inputs }) => inputs))
    const size = [...read]
      .filter((t) => t.node.id <= last && t.dtype === 'float32' && t.shape.length > 3)
      .filter((t) => t.shape[2] === time && t.shape[3] === time && t.shape[0] === batch)
    // No probabilities, no scores.
    expect(size).toEqual([])
  })

  it('are made again layer by layer, by nodes that grow with the layers, where these share a mask and a bias', async () => {
    const x = input('x', [1, 2, 4, 3])
    const bias = input('bias', [1, 2, 4, 4])
    const mask = input('mask', [1, 1, 4, 4], 'bool')
    const lossOf = (layers: number): Tensor => {
      let h = x
      for (let i = 0; i < layers; i++) h = h.add(attention(h, h, h, { mask, bias: bias.mul(2) }).output)
      return h.square().sum()
    }
    const shared = (layers: number): Tensor => {
      const all = bias.mul(2)
      let h = x
      for (let i = 0; i < layers; i++) h = h.add(attention(h, h, h, { mask, bias: all }).output)
      return h.square().sum()
    }
    const nodes = (layers: number): number =>
      reachable(gradients([shared(layers)], [ones([])], [x, bias]).map((g) => g!)).length
    expect(nodes(8) - nodes(6)).toBe(nodes(6) - nodes(4))
    const fed = {
      x: values(x.shape),
      bias: values(bias.shape),
      mask: valueOf(new Array<number>(16).fill(1), mask.shape, 'bool'),
    }
    const gradientBy = (loss: Tensor): Promise<Float64Array[]> =>
      interpret(
        gradients([loss], [ones([])], [x, bias]).map((g) => g!),
        { inputs: fed, random: randomSource({}) },
      )
    expect(apart(await gradientBy(unfused([lossOf(4)])[0]), await gradientBy(shared(4)))).toBeLessThan(1e-9)
  })
})
