/** @file The table's elementwise operations. */
import {
  castValue,
  gelu,
  packInt4,
  toNumbers,
  relu,
  silu,
  type ComputeDType,
  type Tensor,
  type Value,
  where,
} from '../../src/tensor/index.js'
import type { Draw } from '../draw.js'
import { all, integers, numbers, type Operation } from './operation.js'

type Fill = 'values' | 'positive' | 'apart'
type Options = Partial<Omit<Operation, 'name' | 'make'>>

const unary = (
  name: string,
  f: (x: Tensor) => Tensor,
  fill: Fill = 'values',
  options: Options = {},
): Operation => ({ name, make: (d) => ({ inputs: [d[fill](d.shape())], f }), ...options })

const binary = (
  name: string,
  f: (a: Tensor, b: Tensor) => Tensor,
  fill: readonly [Fill, Fill] = ['values', 'values'],
  options: Options = {},
): Operation => ({
  name,
  make: (d) => {
    const [a, b] = d.broadcast()
    return { inputs: [d[fill[0]](a), d[fill[1]](b)], f }
  },
  ...options,
})

const pieces = (dtypes: readonly ComputeDType[] = ['float32']): Options => ({ dtypes, smooth: false })
const discrete = (dtypes: readonly ComputeDType[]): Options => ({
  dtypes,
  smooth: false,
  differentiable: false,
})
const apart2 = ['apart', 'apart'] as const

/** Two tensors that broadcast, whose elements never meet: the second lies between the first's tenths. */
const separate = (d: Draw): Value[] => {
  const [a, b] = d.broadcast()
  return [d.apart(a), d.dtype === 'float32' || d.dtype === 'float64' ? shifted(d.apart(b)) : d.values(b)]
}
const shifted = (v: Value): Value => {
  for (let i = 0; i < v.data.length; i++) v.data[i] = Number(v.data[i]) + 0.04
  return v
}

export const elementwise: readonly Operation[] = [
  unary('neg', (x) => x.neg(), 'values', { dtypes: numbers }),
  unary('abs', (x) => x.abs(), 'apart', pieces(numbers)),
  unary('sign', (x) => x.sign(), 'apart', pieces(numbers)),
  unary('floor', (x) => x.floor(), 'apart', pieces()),
  unary('ceil', (x) => x.ceil(), 'apart', pieces()),
  unary('round', (x) => x.round(), 'apart', pieces()),
  unary('exp', (x) => x.exp()),
  unary('log', (x) => x.log(), 'positive'),
  unary('sqrt', (x) => x.sqrt(), 'positive'),
  unary('erf', (x) => x.erf()),
  unary('sin', (x) => x.sin()),
  unary('cos', (x) => x.cos()),
  unary('tanh', (x) => x.tanh()),
  unary('sigmoid', (x) => x.sigmoid()),
  unary('softplus', (x) => x.softplus()),
  unary('square', (x) => x.square(), 'values', { dtypes: numbers }),
  unary('reciprocal', (x) => x.reciprocal(), 'positive'),
  unary('relu', relu, 'apart', pieces(numbers)),
  unary('gelu', (x) => gelu(x)),
  unary('gelu tanh', (x) => gelu(x, { tanh: true })),
  unary('silu', silu),
  unary('clip', (x) => x.clip(-1, 1), 'apart', pieces(numbers)),
  binary('add', (a, b) => a.add(b), undefined, { dtypes: numbers }),
  binary('sub', (a, b) => a.sub(b), undefined, { dtypes: numbers }),
  binary('mul', (a, b) => a.mul(b), undefined, { dtypes: numbers }),
  binary('div', (a, b) => a.div(b), ['values', 'positive'], { dtypes: numbers }),
  binary('pow', (a, b) => a.pow(b), ['positive', 'values']),
  unary('pow of a constant', (x) => x.pow(3)),
  {
    name: 'mod',
    make: (d) => ({
      inputs: [d.values(d.shape())],
      f: (x) => x.add(x.lift(20)).mod(x.lift(7)).mod(x.lift(-50)),
    }),
    ...pieces(numbers),
  },
  binary('mod by a tensor', (a, b) => a.mod(b), ['positive', 'positive'], { ...discrete(integers) }),
  { name: 'minimum', make: (d) => ({ inputs: separate(d), f: (a, b) => a.minimum(b) }), ...pieces(numbers) },
  { name: 'maximum', make: (d) => ({ inputs: separate(d), f: (a, b) => a.maximum(b) }), ...pieces(numbers) },
  binary('equal', (a, b) => a.equal(b), undefined, discrete(all)),
  binary('notEqual', (a, b) => a.notEqual(b), undefined, discrete(all)),
  binary('less', (a, b) => a.less(b), apart2, discrete(numbers)),
  binary('lessEqual', (a, b) => a.lessEqual(b), apart2, discrete(numbers)),
  binary('greater', (a, b) => a.greater(b), apart2, discrete(numbers)),
  binary('greaterEqual', (a, b) => a.greaterEqual(b), apart2, discrete(numbers)),
  binary('and', (a, b) => a.and(b), undefined, discrete(['bool'])),
  binary('or', (a, b) => a.or(b), undefined, discrete(['bool'])),
  binary('xor', (a, b) => a.xor(b), undefined, discrete(['bool'])),
  unary('not', (x) => x.not(), undefined, discrete(['bool'])),
  binary('bitAnd', (a, b) => a.bitAnd(b), undefined, discrete(integers)),
  binary('bitOr', (a, b) => a.bitOr(b), undefined, discrete(integers)),
  binary('bitXor', (a, b) => a.bitXor(b), undefined, discrete(integers)),
  binary('shiftLeft', (a, b) => a.shiftLeft(b), ['positive', 'positive'], discrete(integers)),
  binary('shiftRight', (a, b) => a.shiftRight(b), ['values', 'positive'], discrete(['int32'])),
  {
    name: 'where',
    make: (d) => {
      const [a, b] = d.broadcast()
      return { inputs: [d.bools(d.bool() ? a : b), d.values(a), d.values(b)], f: where }
    },
    dtypes: all,
    smooth: false,
  },
  ...(['float32', 'int32', 'int64', 'bool'] as const).map((to): Operation =>
    unary(`cast to ${to}`, (x) => x.cast(to), 'values', { ...discrete(all) }),
  ),
  ...(['float16', 'bfloat16', 'int8', 'uint8'] as const).map((to): Operation =>
    unary(`cast through ${to}`, (x) => x.cast(to).cast('float32'), 'positive', discrete(['int32'])),
  ),
  ...(['float16', 'bfloat16', 'int8', 'uint8', 'int4'] as const).map((from): Operation => ({
    name: `cast from ${from}`,
    make: (d) => {
      const shape = d.shape()
      const small = d.between(0, 7, shape, 'int32')
      const packed = from === 'int4' ? packInt4(toNumbers(small), shape) : castValue(small, from)
      return { inputs: [packed], f: (x) => x.cast('float32') }
    },
    ...discrete(['float32']),
    unmapped: from === 'int4' ? 'packed two a byte, rows may share one' : undefined,
  })),
]
