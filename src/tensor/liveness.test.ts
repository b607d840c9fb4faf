import { describe, expect, it } from 'vitest'
import { compile, cond, grad, type ProgramNeeds, recompute, type Tensor, valueOf } from './index.js'
import { runOrder } from './liveness.js'
import type { OnnxNode } from './onnx.js'

const node = (outputs: string[], inputs: string[]): OnnxNode => ({ type: 'Add', inputs, outputs })

/** What a function of one tensor of `size` floats needs. */
const needsFor = async (f: (x: Tensor) => Tensor | Tensor[], size = 1000): Promise<ProgramNeeds> => {
  const found: ProgramNeeds[] = []
  await compile(
    ({ x }: { x: Tensor }) => f(x),
    { x: valueOf(new Float32Array(size), [size]) },
    {
      consider: (needs) => void found.push(needs),
    },
  )
  return found[0]
}

describe('the order in which a graph runs', () => {
  it('goes depth first from the last node that nobody reads, the latest that a node reads first', () => {
    const nodes = [
      node(['a'], ['x', 'x']),
      node(['b'], ['x', 'x']),
      node(['c'], ['a', 'b']),
      node(['d'], ['a', 'a']),
      node(['e'], ['c', 'c']),
    ]
    expect(runOrder({ nodes })).toEqual([1, 0, 2, 4, 3])
  })
})

describe('the footprint of a graph', () => {
  it('counts values while somebody will read them, and no value that may be written over', async () => {
    const chain = await needsFor((x) => x.mul(2).sin().mul(3).sin().sum())
    expect(chain.footprint.peak).toBe(2 * 4000)
    const kept = await needsFor((x) => {
      const y = x.sin()
      return y.mul(2).exp().add(y)
    })
    expect(kept.footprint.peak).toBe(3 * 4000)
  })

  it('counts what the outputs take, and what is computed', async () => {
    const { footprint } = await needsFor((x) => [x.mul(2), x.reshape([10, 100]).matmul(x.reshape([100, 10]))])
    expect(footprint.outputs).toBe(4000 + 400)
    expect(footprint.work.flops).toBe(2 * 10 * 10 * 100)
    expect(footprint.work.packed).toBe(4000)
    expect(footprint.work.copied).toBe(footprint.outputs)
    expect(footprint.work.nodes).toBeGreaterThan(3)
  })

  it('counts inside branches what only they hold', async () => {
    const branch = (count: number) => (x: Tensor) =>
      cond(
        x.sum().greater(0),
        () =>
          Array.from({ length: count }, (_, i) => x.add(i).sin())
            .reduce((a, b) => a.mul(b))
            .sum(),
        () => x.sum(),
      )
    const [few, many] = [await needsFor(branch(2)), await needsFor(branch(20))]
    expect(few.footprint.peak).toBeGreaterThan(4000)
    expect(many.footprint.work.functions).toBe(20 * 1000)
  })

  it('falls where values are computed again', async () => {
    const deep = (x: Tensor): Tensor =>
      Array.from({ length: 8 }).reduce<Tensor>((y) => y.sin().mul(y.cos()), x)
    const again = (x: Tensor): Tensor =>
      Array.from({ length: 4 }).reduce<Tensor>((y) => recompute((z) => deep(z), y), x)
    const plain = (x: Tensor): Tensor => Array.from({ length: 4 }).reduce<Tensor>((y) => deep(y), x)
    const [kept, recomputed] = [
      await needsFor((x) => grad((p: Tensor) => plain(p).sum())(x)),
      await needsFor((x) => grad((p: Tensor) => again(p).sum())(x)),
    ]
    expect(recomputed.footprint.peak).toBeLessThan(kept.footprint.peak / 2)
  })
})
