import { describe, expect, it } from 'vitest'
import * as composed from '../src/tensor/operations/index.js'
import { Tensor } from '../src/tensor/index.js'
import { Elementwise } from '../src/tensor/elementwise.js'
import { infer } from '../src/tensor/infer.js'
import { operations } from './operations.js'
import { Draw } from './draw.js'
import { input } from '../src/tensor/index.js'
import { everything, reachable } from '../src/tensor/graph.js'

/** Not operations on tensors, or the inner half of one that the table has. */
const others = new Set([
  'RandomStreams',
  'activation',
  'dequantizeBlockWeights',
  'dequantizeBlocks',
  'dequantizeBnb4',
  'dequantizeBnb4Weights',
  'quantizeBlocks',
  'quantizeBnb4',
])

/** Views of reshape, and what no operation is. */
const plumbing = new Set([
  'at',
  't',
  'constructor',
  'rank',
  'size',
  'unary',
  'binary',
  'itself',
  'lift',
  'reduce',
  'unsqueeze',
  'squeeze',
])

const untested = (names: readonly string[], except: ReadonlySet<string>): string[] =>
  names.filter(
    (n) => !except.has(n) && !operations.some(({ name }) => name === n || name.match(/^\w+/)?.[0] === n),
  )

describe('the table of operations', () => {
  it('has every composed operation', () => {
    const functions = Object.entries(composed).flatMap(([name, f]) => (typeof f === 'function' ? [name] : []))
    expect(untested(functions, others)).toEqual([])
  })

  it('has every method of a tensor', () => {
    expect(
      untested(
        [
          ...Object.getOwnPropertyNames(Tensor.prototype),
          ...Object.getOwnPropertyNames(Elementwise.prototype),
        ],
        plumbing,
      ),
    ).toEqual([])
  })

  it('reaches every primitive', () => {
    const used = new Set<string>()
    for (const { make, dtypes = ['float32' as const] } of operations)
      for (const seed of [0, 1, 2, 3]) {
        const { inputs, f } = make(new Draw([seed, 5, 7, 1, 3, 2, 4, 1, 1, 2, 3, 1], { dtype: dtypes[0] }))
        const outputs = [f(...inputs.map((v, i) => input(`${i}`, v.shape, v.dtype)))].flat()
        for (const node of reachable(outputs, everything)) used.add(node.op)
      }
    // The gradient of recompute makes barriers; weights bound to files are tested with sessions.
    expect(Object.keys(infer).filter((p) => !used.has(p) && p !== 'barrier' && p !== 'bound')).toEqual([])
  })
})
