/** @file The shapes and dtypes that each primitive gives, and what it refuses. */
import { type DType, DTypeError, isFloat } from './dtype.js'
import type { Attributes, ConvAttributes, None, Primitive, Spec } from './primitives.js'
import { broadcastShapes, normalAxis, sameShape, type Shape, ShapeError, show, sizeOf } from './shape.js'
import type { Tensor } from './tensor.js'

type Infer<P extends Primitive> = (
  inputs: readonly Tensor[],
  attributes: Attributes[P],
  name: P,
) => readonly Spec[]

const one = (shape: Shape, dtype: DType): readonly Spec[] => [{ shape, dtype }]
const like = (x: Tensor, shape: Shape = x.shape): readonly Spec[] => one(shape, x.dtype)

const requireDType = (name: string, x: Tensor, ok: boolean, expected: string): void => {
  if (!ok) throw new DTypeError(`${name}: ${x.dtype} given, ${expected} expected`, 'Convert with cast().')
}

const requireSame = (name: string, a: Tensor, b: Tensor): void => {
  if (a.dtype !== b.dtype)
    throw new DTypeError(`${name}: dtypes ${a.dtype} and ${b.dtype} differ`, 'Convert one with cast().')
}

const unaryFloat = ([x]: readonly Tensor[], _: None, name: string): readonly Spec[] => {
  requireDType(name, x, x.dtype === 'float32' || x.dtype === 'float64', 'float32 or float64')
  return like(x)
}

const unaryNumber = ([x]: readonly Tensor[], _: None, name: string): readonly Spec[] => {
  requireDType(name, x, x.dtype !== 'bool' && x.dtype !== 'int4', 'a number')
  return like(x)
}

const arithmetic = ([a, b]: readonly Tensor[], _: None, name: string): readonly Spec[] => {
  requireSame(name, a, b)
  requireDType(name, a, a.dtype !== 'bool' && a.dtype !== 'int4', 'a number')
  return like(a, broadcastShapes(name, a.shape, b.shape))
}

const comparison = ([a, b]: readonly Tensor[], _: None, name: string): readonly Spec[] => {
  requireSame(name, a, b)
  return one(broadcastShapes(name, a.shape, b.shape), 'bool')
}

const logic = ([a, b]: readonly Tensor[], _: None, name: string): readonly Spec[] => {
  for (const x of [a, b]) requireDType(name, x, x.dtype === 'bool', 'bool')
  return like(a, broadcastShapes(name, a.shape, b.shape))
}

const bitwise = ([a, b]: readonly Tensor[], _: None, name: string): readonly Spec[] => {
  requireSame(name, a, b)
  requireDType(name, a, !isFloat(a.dtype) && a.dtype !== 'bool' && a.dtype !== 'int4', 'an integer')
  return like(a, broadcastShapes(name, a.shape, b.shape))
}

const without = (shape: Shape, axes: readonly number[]): number[] =>
  shape.map((d, i) => (axes.includes(i) ? 1 : d))

const integerIds = (name: string, ids: Tensor): void =>
  requireDType(name, ids, ids.dtype === 'int32' || ids.dtype === 'int64', 'int32 or int64 indices')

/** What a convolution's spatial axis of `size` becomes. */
export const convSize = (size: number, kernel: number, a: ConvAttributes, axis: 0 | 1): number =>
  Math.floor(
    (size + a.padding[axis] + a.padding[axis + 2] - a.dilations[axis] * (kernel - 1) - 1) / a.strides[axis],
  ) + 1

const inferConv: Infer<'conv'> = ([x, w], a) => {
  requireSame('conv', x, w)
  if (
    x.shape.length !== 4 ||
    w.shape.length !== 4 ||
    x.shape[1] !== w.shape[1] * a.groups ||
    w.shape[0] % a.groups
  )
    throw new ShapeError(
      'conv',
      `x ${show(x.shape)} and w ${show(w.shape)} do not fit with ${a.groups} groups`,
    )
  const out = [convSize(x.shape[2], w.shape[2], a, 0), convSize(x.shape[3], w.shape[3], a, 1)]
  if (out[0] < 1 || out[1] < 1)
    throw new ShapeError('conv', `kernel ${show(w.shape)} does not fit in x ${show(x.shape)}`)
  return like(x, [x.shape[0], w.shape[0], ...out])
}

const inferConvTranspose: Infer<'convTranspose'> = ([x, w], a) => {
  requireSame('convTranspose', x, w)
  if (x.shape.length !== 4 || w.shape.length !== 4 || x.shape[1] !== w.shape[0] || x.shape[1] % a.groups)
    throw new ShapeError(
      'convTranspose',
      `x ${show(x.shape)} and w ${show(w.shape)} do not fit with ${a.groups} groups`,
    )
  const out = ([0, 1] as const).map(
    (i) =>
      (x.shape[i + 2] - 1) * a.strides[i] -
      a.padding[i] -
      a.padding[i + 2] +
      a.dilations[i] * (w.shape[i + 2] - 1) +
      1 +
      a.outputPadding[i],
  )
  if (out[0] < 1 || out[1] < 1)
    throw new ShapeError('convTranspose', `padding leaves nothing of x ${show(x.shape)}`)
  return like(x, [x.shape[0], w.shape[1] * a.groups, ...out])
}

const inferMatmul: Infer<'matmul'> = ([a, b]) => {
  requireSame('matmul', a, b)
  requireDType(
    'matmul',
    a,
    a.dtype === 'float32' || a.dtype === 'float64' || a.dtype === 'int32',
    'float32, float64 or int32',
  )
  const p = a.shape
  const q = b.shape
  if (p.length < 2 || q.length < 2 || p[p.length - 1] !== q[q.length - 2])
    throw new ShapeError(
      'matmul',
      `${show(p, q)} do not multiply: the last axis of the first must equal the last but one of the second`,
    )
  return like(a, [
    ...broadcastShapes('matmul', p.slice(0, -2), q.slice(0, -2)),
    p[p.length - 2],
    q[q.length - 1],
  ])
}

const inferConcat: Infer<'concat'> = (inputs, { axis }) => {
  const [first] = inputs
  for (const x of inputs) {
    requireSame('concat', first, x)
    if (!sameShape(without(x.shape, [axis]), without(first.shape, [axis])))
      throw new ShapeError('concat', `${show(first.shape, x.shape)} differ outside axis ${axis}`)
  }
  return like(
    first,
    first.shape.map((d, i) => (i === axis ? inputs.reduce((n, x) => n + x.shape[i], 0) : d)),
  )
}

const inferElements =
  (name: string) =>
  (data: Tensor, ids: Tensor, axis: number): void => {
    integerIds(name, ids)
    const fits =
      ids.shape.length === data.shape.length && ids.shape.every((d, i) => i === axis || d <= data.shape[i])
    if (!fits)
      throw new ShapeError(
        name,
        `indices ${show(ids.shape)} do not fit data ${show(data.shape)} along axis ${axis}`,
      )
  }

const inferCond: Infer<'cond'> = ([predicate], { then, otherwise }) => {
  requireDType(
    'cond',
    predicate,
    predicate.dtype === 'bool' && sizeOf(predicate.shape) === 1,
    'a single bool',
  )
  then.outputs.forEach((t, i) => {
    const o = otherwise.outputs[i]
    if (!o || !sameShape(t.shape, o.shape) || t.dtype !== o.dtype)
      throw new ShapeError(
        'cond',
        `output ${i} of the branches differs: ${t.dtype} ${show(t.shape)} and ${o?.dtype} ${show(o?.shape ?? [])}`,
      )
  })
  return then.outputs
}

/**
 * The shape and dtype rule of every primitive; it throws ShapeError or DTypeError naming the operation and both
 * shapes.
 */
export const infer: { readonly [P in Primitive]: Infer<P> } = {
  input: (_, { shape, dtype }) => one(shape, dtype),
  constant: (_, { value }) => one(value.shape, value.dtype),
  bound: (_, { source }) => one(source.shape, source.dtype),
  random: (_, { shape }) => one(shape, 'uint8'),
  identity: ([x]) => like(x),
  barrier: ([x]) => like(x),
  cast: ([x], { to }) => one(x.shape, to),
  neg: unaryNumber,
  abs: unaryNumber,
  sign: unaryNumber,
  floor: unaryFloat,
  ceil: unaryFloat,
  round: unaryFloat,
  exp: unaryFloat,
  log: unaryFloat,
  sqrt: unaryFloat,
  erf: unaryFloat,
  sin: unaryFloat,
  cos: unaryFloat,
  tanh: unaryFloat,
  sigmoid: unaryFloat,
  softplus: unaryFloat,
  add: arithmetic,
  sub: arithmetic,
  mul: arithmetic,
  div: arithmetic,
  mod: arithmetic,
  pow: arithmetic,
  min: arithmetic,
  max: arithmetic,
  equal: comparison,
  less: comparison,
  lessEqual: comparison,
  and: logic,
  or: logic,
  xor: logic,
  not: ([x]) => {
    requireDType('not', x, x.dtype === 'bool', 'bool')
    return like(x)
  },
  bitAnd: bitwise,
  bitOr: bitwise,
  bitXor: bitwise,
  shiftLeft: bitwise,
  shiftRight: bitwise,
  where: ([c, a, b]) => {
    requireDType('where', c, c.dtype === 'bool', 'a bool condition')
    requireSame('where', a, b)
    return like(a, broadcastShapes('where', c.shape, broadcastShapes('where', a.shape, b.shape)))
  },
  sum: ([x], { axes }) => like(x, without(x.shape, axes)),
  reduceMax: ([x], { axes }) => like(x, without(x.shape, axes)),
  argMax: ([x], { axis }) => one(without(x.shape, [axis]), 'int32'),
  cumsum: ([x]) => like(x),
  topK: ([x], { axis, k }) => {
    if (!Number.isInteger(k) || k < 1 || k > x.shape[axis])
      throw new ShapeError(
        'topK',
        `k = ${k} is not between 1 and the ${x.shape[axis]} elements of axis ${axis} of ${show(x.shape)}`,
      )
    const shape = x.shape.map((d, i) => (i === axis ? k : d))
    return [
      { shape, dtype: x.dtype },
      { shape, dtype: 'int32' },
    ]
  },
  reshape: ([x], { shape }) => {
    if (sizeOf(shape) !== sizeOf(x.shape))
      throw new ShapeError('reshape', `${show(x.shape, shape)} have different sizes`)
    return like(x, shape)
  },
  transpose: ([x], { permutation }) => {
    if (
      permutation.length !== x.shape.length ||
      new Set(permutation.map((a) => normalAxis('transpose', a, x.shape.length))).size !== permutation.length
    )
      throw new ShapeError('transpose', `[${permutation}] is no permutation of the axes of ${show(x.shape)}`)
    return like(
      x,
      permutation.map((a) => x.shape[a]),
    )
  },
  expand: ([x], { shape }) => {
    if (!sameShape(broadcastShapes('expand', x.shape, shape), shape))
      throw new ShapeError('expand', `${show(x.shape)} does not expand to ${show(shape)}`)
    return like(x, shape)
  },
  slice: ([x], { starts, ends, steps }) =>
    like(
      x,
      x.shape.map((_, i) => Math.ceil((ends[i] - starts[i]) / steps[i])),
    ),
  flip: ([x]) => like(x),
  pad: ([x], { before, after }) =>
    like(
      x,
      x.shape.map((d, i) => d + before[i] + after[i]),
    ),
  concat: inferConcat,
  split: ([x], { axis, sizes }) =>
    sizes.map((size) => ({ shape: x.shape.map((d, i) => (i === axis ? size : d)), dtype: x.dtype })),
  gather: ([x, ids], { axis }) => {
    integerIds('gather', ids)
    return like(x, [...x.shape.slice(0, axis), ...ids.shape, ...x.shape.slice(axis + 1)])
  },
  gatherElements: ([x, ids], { axis }) => {
    inferElements('gatherElements')(x, ids, axis)
    return like(x, ids.shape)
  },
  scatterElements: ([x, ids, updates], { axis }) => {
    inferElements('scatter')(x, ids, axis)
    requireSame('scatter', x, updates)
    if (!sameShape(ids.shape, updates.shape))
      throw new ShapeError('scatter', `indices and updates ${show(ids.shape, updates.shape)} differ`)
    return like(x)
  },
  matmul: inferMatmul,
  conv: inferConv,
  convTranspose: inferConvTranspose,
  fused: (_, { body }) => body.map(({ shape, dtype }) => ({ shape, dtype })),
  cond: inferCond,
  host: (_, { outputs }) => outputs,
}
