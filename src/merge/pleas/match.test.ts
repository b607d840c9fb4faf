/** @file The similarity of units: minus their distance, batch by batch, over every node where their group appears. */
import { expect, it } from 'vitest'
import { createModel, type Model, openModel } from '../../models/index.js'
import { normal, keyOf } from '../../random/index.js'
import { valueOf } from '../../tensor/index.js'
import type { Batch } from '../../train/index.js'
import { permutationGroups } from '../../units/permutation/index.js'
import { matchActivations } from './match.js'

const drawn = (count: number, seed: string): Float32Array => {
  const numbers = new Float32Array(count)
  normal(numbers, keyOf(seed))
  return numbers
}
const batch = (seed: string, scale = 1): Batch => ({
  embeddings: valueOf(
    drawn(12, seed).map((x) => scale * x),
    [4, 3],
    'float32',
  ),
})
const asyncly = (batches: readonly Batch[]) =>
  async function* () {
    yield* batches
  }
const mlp = async (seed: string): Promise<Model> =>
  openModel(
    (await createModel({ model_type: 'weft_mlp', sizes: [3, 5, 2], initializer_range: 0.8 }, { seed }))
      .checkpoint,
  )

/** Outputs of the first layer, and what the second reads, by unit: [5][rows]. */
const nodesOf = async ({ checkpoint }: Model, { embeddings }: Batch): Promise<number[][][]> => {
  const read = async (name: string): Promise<number[]> =>
    Array.from((await checkpoint.read(name, 'float32')).data, Number)
  const names = checkpoint.names()
  const W = await read(names.find((name) => /0\.weight$/.test(name))!)
  const b = await read(names.find((name) => /0\.bias$/.test(name))!)
  const x = Array.from(embeddings.data, Number)
  const z = b.map((bias, u) =>
    Array.from(
      { length: x.length / 3 },
      (_, r) => bias + [0, 1, 2].reduce((sum, i) => sum + W[3 * u + i] * x[3 * r + i], 0),
    ),
  )
  return [z, z.map((row) => row.map((value) => Math.max(0, value)))]
}

it('is summed over batches and over the nodes before and after the activation', async () => {
  const models = [await mlp('a'), await mlp('b')] as const
  const batches = [batch('first'), batch('second', 10), batch('third')]
  const groups = permutationGroups(models[0])
  const [group] = groups
  const match = (await matchActivations(groups, models, asyncly(batches))).get(group.name)!
  for (let unit = 0; unit < 5; unit++) {
    let similarity = 0
    for (const one of batches) {
      const [a, b] = [await nodesOf(models[0], one), await nodesOf(models[1], one)]
      for (const node of [0, 1]) {
        const other = b[node][match.order[unit]]
        similarity -= Math.sqrt(a[node][unit].reduce((sum, x, r) => sum + (x - other[r]) ** 2, 0))
      }
    }
    expect(match.agreement[unit]).toBeCloseTo(similarity, 3)
  }
})

it('no single batch decides: the order of the batches does not matter', async () => {
  const models = [await mlp('a'), await mlp('b')] as const
  const batches = [batch('first'), batch('second', 10), batch('third')]
  const groups = permutationGroups(models[0])
  const match = async (all: readonly Batch[]) =>
    (await matchActivations(groups, models, asyncly(all))).get(groups[0].name)!
  const forwards = await match(batches)
  const backwards = await match(batches.toReversed())
  expect(backwards.order).toEqual(forwards.order)
  forwards.agreement.forEach((x, unit) => expect(backwards.agreement[unit]).toBeCloseTo(x, 6))
})
