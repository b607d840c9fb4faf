/** @file The tests that every architecture passes: agreement with the reference library on a checkpoint. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Checkpoint, open } from '../src/checkpoint/index.js'
import { answering, layoutsOf, type Model, openModel, type Parameters } from '../src/models/index.js'
import { constant, mapTree, type Tensor, type Value } from '../src/tensor/index.js'
import {
  type Batch,
  batchOf,
  beyond,
  Comparison,
  continueCached,
  continueUncached,
  firstGradients,
  numbersOf,
  type Tolerances,
  train,
} from './golden-case.js'
import { goldenFolder } from './golden.js'
import { fromDefinition } from './kept-gradients.js'

/** Tests the checkpoint `name` of the reference outputs: forward, gradients, five steps, generation. */
export const testGolden = (name: string, tolerances: Tolerances = {}): void => {
  describe(`${name} agrees with the reference library`, () => {
    let checkpoint: Checkpoint
    let golden: Checkpoint
    let model: Model
    let batch: Batch
    let comparison: Comparison

    beforeAll(async () => {
      checkpoint = await open(goldenFolder(name))
      golden = await open(goldenFolder(name, 'golden.safetensors'))
      model = await openModel(checkpoint, { trainable: true })
      batch = await batchOf(golden, model.architecture.task(model.config), checkpoint.config)
      const reference = await firstGradients(golden, Object.keys(model.parameters))
      comparison = new Comparison(await train(model, batch, { reference }), golden, tolerances)
    })
    afterAll(async () => {
      await checkpoint.close()
      await golden.close()
    })

    test('asking for every tensor of its table but ties, and for no other', () => {
      const table = model.architecture.table(model.config)
      const asked = new Set<string>()
      const symbols = mapTree<Value, Tensor, Parameters<Value>>(model.parameters, constant)
      const base = model.weights(symbols, {})
      const listening = answering(
        base,
        { tensor: (name) => (asked.add(name), base.tensor(name)) },
        layoutsOf(table),
      )
      const inputs = mapTree<Value, Tensor, Batch['inputs']>(batch.inputs, constant)
      model.architecture.forward(listening, inputs, model.config)
      const owners = new Map(table.map(({ name, tied }) => [name, tied ?? name]))
      const unknown = [...asked].filter((name) => !owners.has(name))
      expect(unknown).toEqual([])
      expect([...new Set([...asked].map((name) => owners.get(name)))].sort()).toEqual(
        [...new Set(owners.values())].sort(),
      )
    })

    test('in its logits and hidden states', async () => {
      expect(beyond(await comparison.forward())).toEqual({})
    })

    test('in every gradient, and has one for every parameter', async () => {
      expect(beyond(await comparison.gradients())).toEqual({})
    })

    test('in what it makes again for the gradient, dropout included, as in what its definition keeps', async () => {
      const { exact, program } = await fromDefinition(model, batch)
      expect(exact).toBeLessThan(1e-9)
      expect(program).toBeLessThan(5e-6)
    })

    test('in its losses over five steps of AdamW', async () => {
      expect(beyond(await comparison.training())).toEqual({})
    })

    test('in every parameter after them', async () => {
      expect(beyond(await comparison.after())).toEqual({})
    })

    test('in greedy generation', async ({ skip }) => {
      if (!golden.has('generated')) skip('no generation in the reference outputs')
      const ids = [...(await numbersOf(await golden.read('generated')))]
      expect(await continueUncached(model, ids.slice(0, 5), ids.length - 5)).toEqual(ids)
    })

    test('in greedy generation with cached keys and values', async ({ skip }) => {
      if (!golden.has('generated')) skip('no generation in the reference outputs')
      const ids = [...(await numbersOf(await golden.read('generated')))]
      const generated = await continueCached(model, ids.slice(0, 5), ids.length - 5)
      expect(generated).toEqual(ids)
    })
  })
}
