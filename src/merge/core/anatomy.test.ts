import { describe, expect, it } from 'vitest'
import { inMemory } from '../../../test/in-memory.js'
import type { Checkpoint } from '../../checkpoint/index.js'
import type { DrawnPlot } from '../../papers/plot.js'
import { valueOf } from '../../tensor/index.js'
import { anatomyOf, layerPartOf } from './anatomy.js'

const name = 'model.layers.3.mlp.up_proj.weight'
const of = (numbers: readonly number[], more: Record<string, readonly number[]> = {}): Promise<Checkpoint> =>
  inMemory(
    {},
    Object.fromEntries(
      Object.entries({ [name]: numbers, ...more }).map(([key, x]) => [key, valueOf(x, [x.length])]),
    ),
  )
const cell = ({ series }: DrawnPlot, row: string, column: string): number =>
  series.find((s) => s.name === row)!.points.find((p) => p.x === column)!.y

describe('the anatomy of a merge', () => {
  it('says how far each model lies from the result, and how far the result from the base', async () => {
    const models = new Map([
      ['a', await of([3, 4])],
      ['b', await of([0, 4])],
    ])
    const [distance, change] = await anatomyOf(await of([0, 4]), models, { base: await of([0, 2]) })
    expect(cell(distance, 'layer 3', 'a')).toBeCloseTo(3 / 4)
    expect(cell(distance, 'layer 3', 'b')).toBe(0)
    expect(cell(change, 'layer 3', 'up_proj')).toBeCloseTo(1)
  })

  it('counts agreement in sign over the entries that at least two models changed', async () => {
    // Changes by entry: both up, against each other, one alone, none.
    const models = new Map([
      ['a', await of([1, 1, 1, 0])],
      ['b', await of([2, -1, 0, 0])],
    ])
    const [, , signs] = await anatomyOf(await of([1, 0, 0, 0]), models, { base: await of([0, 0, 0, 0]) })
    expect(cell(signs, 'layer 3', 'up_proj')).toBe(2 / 4)
  })

  it('leaves out tensors that a model lacks or has in another shape, and orders layers by number', async () => {
    const more = { 'model.layers.10.mlp.up_proj.weight': [1, 1], 'lm_head.weight': [1] }
    const models = new Map([['a', await of([1, 1], { ...more, 'lm_head.weight': [1, 2] })]])
    const [distance] = await anatomyOf(await of([1, 2], more), models)
    expect(distance.series.map((s) => s.name)).toEqual(['layer 3', 'layer 10'])
  })

  it('places tensors by their layer and module', () => {
    expect(layerPartOf(name)).toEqual({ layer: 'layer 3', part: 'up_proj' })
    expect(layerPartOf('model.embed_tokens.weight')).toEqual({ layer: 'outside', part: 'embed_tokens' })
  })
})
