/**
 * @file The reference interpreter: any graph in float64, a few lines a primitive, without ONNX Runtime. It is the
 * oracle of every lowering and of every gradient, and favours being evidently right over being fast. Integers are
 * exact to 2^53.
 */
import { reachable } from './graph.js'
import { isFloat } from './dtype.js'
import { convolve, convolveTransposed, matrixProduct, type Numbers } from './interpreter-products.js'
import type { FusedAttributes, Node, Primitive, Subgraph } from './primitives.js'
import type { RandomSource } from './random-source.js'
import { sizeOf, type Shape, stridesOf } from './shape.js'
import type { Tensor } from './tensor.js'
import { toNumbers, type Value, value, valueOf } from './value.js'

type Kernel<P extends Primitive> = (
  inputs: readonly Numbers[],
  node: Node<P>,
) => Float64Array | readonly Float64Array[]

const build = (shape: Shape, at: (index: number[], flat: number) => number): Float64Array => {
  const out = new Float64Array(sizeOf(shape))
  const index = new Array<number>(shape.length).fill(0)
  for (let i = 0; i < out.length; i++) {
    out[i] = at(index, i)
    for (let d = shape.length - 1; d >= 0 && ++index[d] === shape[d]; d--) index[d] = 0
  }
  return out
}

/** Reads `x` as broadcast to a shape of which `index` is an index. */
const reader = (x: Numbers): ((index: readonly number[]) => number) => {
  const strides = stridesOf(x.shape).map((s, i) => (x.shape[i] === 1 ? 0 : s))
  return (index) => {
    let at = 0
    const lead = index.length - strides.length
    for (let d = 0; d < strides.length; d++) at += index[lead + d] * strides[d]
    return x.data[at]
  }
}

const unary =
  (f: (x: number) => number): Kernel<Primitive> =>
  ([x]) =>
    x.data.map(f)

const binary =
  (f: (a: number, b: number) => number): Kernel<Primitive> =>
  ([a, b], { outputs: [{ shape, dtype }] }) => {
    const p = reader(a)
    const q = reader(b)
    const wrap =
      dtype === 'int32' ? (x: number) => x | 0 : dtype === 'uint8' ? (x: number) => x & 255 : (x: number) => x
    return build(shape, (i) => wrap(f(p(i), q(i))))
  }

const divide: Kernel<Primitive> = (inputs, node) =>
  binary(isFloat(node.outputs[0].dtype) ? (a, b) => a / b : (a, b) => Math.trunc(a / b))(inputs, node)

/** Every line of `x` along `axis` goes through `f`, which gives lines of another length. */
const lines = (
  x: Numbers,
  axis: number,
  length: number,
  f: (line: Float64Array) => ArrayLike<number>,
): Float64Array => {
  const n = x.shape[axis]
  const inner = sizeOf(x.shape.slice(axis + 1))
  const outer = sizeOf(x.shape.slice(0, axis))
  const out = new Float64Array(outer * length * inner)
  for (let o = 0; o < outer; o++)
    for (let i = 0; i < inner; i++) {
      const line = Float64Array.from({ length: n }, (_, k) => x.data[(o * n + k) * inner + i])
      const result = f(line)
      for (let k = 0; k < length; k++) out[(o * length + k) * inner + i] = result[k]
    }
  return out
}

const reduce =
  (start: number, f: (sum: number, x: number) => number) =>
  (
    [x]: readonly Numbers[],
    { attributes: { axes }, outputs: [y] }: Node<'sum' | 'reduceMax'>,
  ): Float64Array => {
    const out = new Float64Array(y.size).fill(start)
    const strides = stridesOf(y.shape).map((s, i) => (axes.includes(i) ? 0 : s))
    build(x.shape, (index, flat) => {
      const at = index.reduce((n, k, d) => n + k * strides[d], 0)
      return (out[at] = f(out[at], x.data[flat]))
    })
    return out
  }

const order = (line: Float64Array, largest: boolean): number[] =>
  Array.from(line.keys()).sort((i, j) => (largest ? line[j] - line[i] : line[i] - line[j]) || i - j)

const wrapTo: Partial<Record<string, (x: number) => number>> = {
  bool: (x) => Number(x !== 0),
  int32: (x) => Math.trunc(x) | 0,
  int64: Math.trunc,
  uint8: (x) => Math.trunc(x) & 255,
  int8: (x) => (Math.trunc(x) << 24) >> 24,
  int4: (x) => (Math.trunc(x) << 28) >> 28,
}

/** erf by its series (small x) and continued fraction (large x), to float64 accuracy. */
export const erf = (x: number): number => {
  const a = Math.abs(x)
  if (a > 6) return Math.sign(x)
  if (a < 2.5) {
    let term = a
    let sum = a
    for (let n = 1; Math.abs(term) > 1e-17 * sum; n++) {
      term *= (-a * a) / n
      sum += term / (2 * n + 1)
    }
    return Math.sign(x) * ((2 / Math.sqrt(Math.PI)) * sum)
  }
  let fraction = 0
  for (let k = 60; k > 0; k--) fraction = k / 2 / (a + fraction)
  return Math.sign(x) * (1 - Math.exp(-a * a) / (Math.sqrt(Math.PI) * (a + fraction)))
}

const roundEven = (x: number): number => {
  const r = Math.round(x)
  return Math.abs(x % 1) === 0.5 && r % 2 !== 0 ? r - 1 : r
}

const scatter: Kernel<'scatterElements'> = ([x, ids, updates], { attributes: { axis, add } }) => {
  const out = x.data.slice()
  const strides = stridesOf(x.shape)
  build(ids.shape, (index, flat) => {
    const id = ids.data[flat]
    const at = index.reduce(
      (n, k, d) => n + (d === axis ? (id < 0 ? id + x.shape[axis] : id) : k) * strides[d],
      0,
    )
    return (out[at] = add ? out[at] + updates.data[flat] : updates.data[flat])
  })
  return out
}

const gather: Kernel<'gather'> = ([x, ids], { attributes: { axis }, outputs: [y] }) => {
  const outer = stridesOf(x.shape)
  const inner = stridesOf(ids.shape)
  return build(y.shape, (index) => {
    const id = ids.data[inner.reduce((n, s, d) => n + s * index[axis + d], 0)]
    const row = [
      ...index.slice(0, axis),
      id < 0 ? id + x.shape[axis] : id,
      ...index.slice(axis + inner.length),
    ]
    return x.data[outer.reduce((n, s, d) => n + s * row[d], 0)]
  })
}

type Kernels = {
  readonly [
    P in Exclude<Primitive, 'input' | 'constant' | 'bound' | 'random' | 'fused' | 'cond' | 'host'>
  ]: Kernel<P>
}

const kernels: Kernels = {
  neg: unary((x) => -x),
  abs: unary(Math.abs),
  sign: unary(Math.sign),
  floor: unary(Math.floor),
  ceil: unary(Math.ceil),
  round: unary(roundEven),
  exp: unary(Math.exp),
  log: unary(Math.log),
  sqrt: unary(Math.sqrt),
  erf: unary(erf),
  sin: unary(Math.sin),
  cos: unary(Math.cos),
  tanh: unary(Math.tanh),
  sigmoid: unary((x) => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)))),
  softplus: unary((x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)))),
  not: unary((x) => Number(!x)),
  identity: unary((x) => x),
  barrier: unary((x) => x),
  cast: ([x], { attributes: { to } }) => x.data.map(wrapTo[to] ?? ((v) => v)),
  add: binary((a, b) => a + b),
  sub: binary((a, b) => a - b),
  mul: (inputs, node) =>
    binary(node.outputs[0].dtype === 'int32' ? Math.imul : (a, b) => a * b)(inputs, node),
  div: divide,
  mod: binary((a, b) => a - b * Math.floor(a / b)),
  pow: binary((a, b) => a ** b),
  min: binary(Math.min),
  max: binary(Math.max),
  equal: binary((a, b) => Number(a === b)),
  less: binary((a, b) => Number(a < b)),
  lessEqual: binary((a, b) => Number(a <= b)),
  and: binary((a, b) => Number(a && b)),
  or: binary((a, b) => Number(a || b)),
  xor: binary((a, b) => Number(a !== b)),
  bitAnd: binary((a, b) => a & b),
  bitOr: binary((a, b) => a | b),
  bitXor: binary((a, b) => a ^ b),
  shiftLeft: binary((a, b) => a << b),
  shiftRight: binary((a, b) => a >>> b),
  where: ([c, a, b], { outputs: [y] }) => {
    const p = reader(c)
    const q = reader(a)
    const r = reader(b)
    return build(y.shape, (i) => (p(i) ? q(i) : r(i)))
  },
  sum: reduce(0, (s, x) => s + x),
  reduceMax: reduce(-Infinity, Math.max),
  argMax: ([x], { attributes: { axis } }) => lines(x, axis, 1, (line) => [order(line, true)[0]]),
  cumsum: ([x], { attributes: { axis, reverse } }) =>
    lines(x, axis, x.shape[axis], (line) => {
      let sum = 0
      const run = (l: Float64Array): Float64Array => l.map((v) => (sum += v))
      return reverse ? run(line.reverse()).reverse() : run(line)
    }),
  topK: ([x], { attributes: { axis, k, largest } }) => [
    lines(x, axis, k, (line) =>
      order(line, largest)
        .slice(0, k)
        .map((i) => line[i]),
    ),
    lines(x, axis, k, (line) => order(line, largest).slice(0, k)),
  ],
  reshape: ([x]) => x.data,
  transpose: ([x], { attributes: { permutation }, outputs: [y] }) => {
    const strides = stridesOf(x.shape)
    return build(y.shape, (index) => x.data[index.reduce((n, k, d) => n + k * strides[permutation[d]], 0)])
  },
  expand: ([x], { outputs: [y] }) => build(y.shape, reader(x)),
  slice: ([x], { attributes: { starts, steps }, outputs: [y] }) => {
    const strides = stridesOf(x.shape)
    return build(
      y.shape,
      (index) => x.data[index.reduce((n, k, d) => n + (starts[d] + k * steps[d]) * strides[d], 0)],
    )
  },
  flip: ([x], { attributes: { axes } }) => {
    const strides = stridesOf(x.shape)
    return build(
      x.shape,
      (index) =>
        x.data[index.reduce((n, k, d) => n + (axes.includes(d) ? x.shape[d] - 1 - k : k) * strides[d], 0)],
    )
  },
  pad: ([x], { attributes: { before }, outputs: [y] }) => {
    const strides = stridesOf(x.shape)
    const inside = (index: number[]): boolean =>
      index.every((k, d) => k >= before[d] && k < before[d] + x.shape[d])
    return build(y.shape, (index) =>
      inside(index) ? x.data[index.reduce((n, k, d) => n + (k - before[d]) * strides[d], 0)] : 0,
    )
  },
  concat: (inputs, { attributes: { axis }, outputs: [y] }) => {
    const starts = inputs.map((_, i) => inputs.slice(0, i).reduce((n, x) => n + x.shape[axis], 0))
    const strides = inputs.map((x) => stridesOf(x.shape))
    return build(y.shape, (index) => {
      const which = starts.findLastIndex((s, i) => index[axis] >= s && inputs[i].shape[axis] > 0)
      return inputs[which].data[
        index.reduce((n, k, d) => n + (d === axis ? k - starts[which] : k) * strides[which][d], 0)
      ]
    })
  },
  split: ([x], { attributes: { axis, sizes } }) =>
    sizes.map((size, i) => {
      const start = sizes.slice(0, i).reduce((n, s) => n + s, 0)
      return lines(x, axis, size, (line) => line.subarray(start, start + size))
    }),
  gather,
  gatherElements: ([x, ids], { attributes: { axis } }) => {
    const strides = stridesOf(x.shape)
    return build(ids.shape, (index, flat) => {
      const id = ids.data[flat]
      return x.data[
        index.reduce((n, k, d) => n + (d === axis ? (id < 0 ? id + x.shape[axis] : id) : k) * strides[d], 0)
      ]
    })
  },
  scatterElements: scatter,
  matmul: ([a, b], { outputs: [y] }) => matrixProduct(a, b, y.shape),
  conv: ([x, w], { attributes, outputs: [y] }) => convolve(x, w, attributes, y.shape),
  convTranspose: ([x, w], { attributes, outputs: [y] }) => convolveTransposed(x, w, attributes, y.shape),
}

type Env = Map<Tensor, Numbers>

/** What a run is given: the inputs' values by name, and the source of random bytes. */
export interface Feeds {
  readonly inputs: Readonly<Record<string, Value>>
  readonly random?: RandomSource
}

const leaf = async (node: Node, feeds: Feeds): Promise<Float64Array | undefined> => {
  switch (node.op) {
    case 'input':
      return toNumbers(feeds.inputs[(node as Node<'input'>).attributes.name])
    case 'constant':
      return toNumbers((node as Node<'constant'>).attributes.value)
    case 'bound': {
      const { source } = (node as Node<'bound'>).attributes
      return toNumbers(source.kind === 'file' ? await source.read() : source.value)
    }
    case 'random': {
      const { shape, stream } = (node as Node<'random'>).attributes
      if (!feeds.random) throw new Error('a program with random bytes needs a seed')
      return Float64Array.from(feeds.random(sizeOf(shape), stream))
    }
    default:
      return undefined
  }
}

const run = async (outputs: readonly Tensor[], env: Env, feeds: Feeds): Promise<void> => {
  const sources = (n: Node): readonly Tensor[] =>
    n.op === 'fused' ? (n.attributes as FusedAttributes).body : n.inputs
  for (const node of reachable(
    outputs.filter((o) => !env.has(o)),
    (n) => sources(n).filter((t) => !env.has(t)),
  )) {
    const results = (await leaf(node, feeds)) ?? (await compute(node, env, feeds))
    const list = results instanceof Float64Array ? [results] : results
    node.outputs.forEach((o, i) => env.set(o, { shape: o.shape, data: list[i] }))
  }
}

const branch = async (
  { parameters, outputs }: Subgraph,
  operands: readonly Numbers[],
  feeds: Feeds,
): Promise<Float64Array[]> => {
  const env: Env = new Map(parameters.map((p, i) => [p, operands[i]]))
  await run(outputs, env, feeds)
  return outputs.map((o) => env.get(o)!.data)
}

const compute = async (
  node: Node,
  env: Env,
  feeds: Feeds,
): Promise<Float64Array | readonly Float64Array[]> => {
  const read = (t: Tensor): Numbers => env.get(t)!
  if (node.op === 'fused') return (node.attributes as FusedAttributes).body.map((t) => read(t).data)
  if (node.op === 'cond') {
    const { then, otherwise } = (node as Node<'cond'>).attributes
    const [predicate, ...operands] = node.inputs.map(read)
    return branch(predicate.data[0] ? then : otherwise, operands, feeds)
  }
  if (node.op === 'host') {
    const values = node.inputs.map((t) =>
      valueOf(read(t).data, t.shape, t.dtype === 'float32' ? 'float32' : t.dtype),
    )
    return (await (node as Node<'host'>).attributes.run(values)).map(toNumbers)
  }
  return (kernels[node.op as keyof Kernels] as Kernel<Primitive>)(node.inputs.map(read), node)
}

/**
 * The numbers of `outputs`: [...] each, computed in float64 whatever the dtypes say. Throws what host operations
 * throw.
 */
export const interpret = async (outputs: readonly Tensor[], feeds: Feeds): Promise<Float64Array[]> => {
  const env: Env = new Map()
  await run(outputs, env, feeds)
  return outputs.map((o) => env.get(o)!.data)
}

/** The numbers of `interpret` as a value of the tensor's dtype. */
export const toValue = (t: Tensor, numbers: Float64Array): Value =>
  t.dtype === 'float64' ? value(numbers, t.shape, 'float64') : valueOf(numbers, t.shape, t.dtype)
