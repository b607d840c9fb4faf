/** @file The tests that every architecture passes: agreement with the reference library on a checkpoint. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Checkpoint, open } from '../src/checkpoint/index.js'
import { answering, decoder, layoutsOf, type Model, openModel, type Parameters } from '../src/models/index.js'
import { constant, mapTree, type Tensor, type Value } from '../src/tensor/index.js'
import {
  type Batch,
  batchOf,
  continueUncached,
  distance,
  distanceInNorm,
  norm,
  numbersOf,
  train,
  type Trained,
} from './golden-case.js'
import { goldenFolder } from './golden.js'

export interface GoldenOptions {
  /** Greatest difference of logits and hidden states. Default 2e-5. */
  readonly tolerance?: number
  /** Greatest difference of the six losses. Default 2e-5. */
  readonly losses?: number
}

/** A gradient below it in norm is zero in exact arithmetic: rounding noise, compared absolutely. */
const noise = 1e-6

/** Tests the checkpoint `name` of the reference outputs: forward, gradients, five steps, generation. */
export const testGolden = (name: string, { tolerance = 2e-5, losses = 2e-5 }: GoldenOptions = {}): void => {
  describe(`${name} agrees with the reference library`, () => {
    let checkpoint: Checkpoint
    let golden: Checkpoint
    let model: Model
    let batch: Batch
    let ours: Trained

    beforeAll(async () => {
      checkpoint = await open(goldenFolder(name))
      golden = await open(goldenFolder(name, 'golden.safetensors'))
      model = await openModel(checkpoint, { trainable: true })
      batch = await batchOf(golden, model.architecture.task(model.config), checkpoint.config)
      ours = await train(model, batch)
    })
    afterAll(async () => {
      await checkpoint.close()
      await golden.close()
    })

    const theirs = async (tensor: string): Promise<Float64Array> => numbersOf(await golden.read(tensor))
    const named = (prefix: string): string[] =>
      golden.names().flatMap((n) => (n.startsWith(prefix) ? [n.slice(prefix.length)] : []))
    const isNoise = async (parameter: string): Promise<boolean> =>
      golden.has(`grad.${parameter}`) && norm(await theirs(`grad.${parameter}`)) < noise

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

    test('in its logits', async () => {
      expect(distance(await numbersOf(ours.logits), await theirs('logits'))).toBeLessThan(tolerance)
    })

    test('in its hidden states', async () => {
      const { hidden } = ours
      for (const i of named('hidden.'))
        expect(
          distance(await numbersOf(hidden[Number(i)]), await theirs(`hidden.${i}`)),
          `hidden.${i}`,
        ).toBeLessThan(tolerance)
      if (golden.has('last_hidden'))
        expect(
          distance(await numbersOf(hidden[hidden.length - 1]), await theirs('last_hidden')),
        ).toBeLessThan(tolerance)
    })

    test('in every gradient, and has one for every parameter', async () => {
      const parameters = named('grad.')
      expect(Object.keys(ours.grads).sort()).toEqual(parameters)
      for (const parameter of parameters) {
        const [g, reference] = [await numbersOf(ours.grads[parameter]), await theirs(`grad.${parameter}`)]
        const limit = (await isNoise(parameter)) ? noise : 1e-4 * norm(reference)
        expect(distanceInNorm(g, reference), parameter).toBeLessThanOrEqual(limit)
      }
    })

    test('in its losses over five steps of AdamW', async () => {
      expect(distance(Float64Array.from(ours.losses), await theirs('losses'))).toBeLessThan(losses)
    })

    test('in every parameter after them', async () => {
      for (const parameter of named('after.')) {
        if (await isNoise(parameter)) continue
        const [p, reference] = [await numbersOf(ours.after[parameter]), await theirs(`after.${parameter}`)]
        expect(distanceInNorm(p, reference), parameter).toBeLessThan(1e-3 * norm(reference))
      }
    })

    test('in greedy generation', async ({ skip }) => {
      if (!golden.has('generated')) skip('no generation in the reference outputs')
      const ids = [...(await theirs('generated'))]
      expect(await continueUncached(model, ids.slice(0, 5), ids.length - 5)).toEqual(ids)
    })

    test('in greedy generation with cached keys and values', async ({ skip }) => {
      if (!golden.has('generated')) skip('no generation in the reference outputs')
      const ids = [...(await theirs('generated'))]
      const cached = decoder(model, { capacity: ids.length })
      const generated = ids.slice(0, 5)
      for (let next = await cached.prefill([generated]); generated.length < ids.length;) {
        const logits = await numbersOf(next)
        generated.push(logits.indexOf(logits.reduce((a, b) => Math.max(a, b))))
        if (generated.length < ids.length) next = await cached.step(generated.slice(-1))
      }
      expect(generated).toEqual(ids)
    })
  })
}
