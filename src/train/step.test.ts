import { beforeAll, describe, expect, it } from 'vitest'
import { goldenFolder } from '../../test/golden.js'
import { hold } from '../../test/held.js'
import { opened } from '../../test/opened.js'
import { type Checkpoint, openFile, diskFiles } from '../checkpoint/index.js'
import { type Model, openModel } from '../models/index.js'
import { castValue, toNumbers, type Value } from '../tensor/index.js'
import { adamW, initialState, makeStep, modelLoss, type Objective, sgd } from './index.js'

const distance = (a: Value, b: Value): number => {
  const [x, y] = [toNumbers(a), toNumbers(b)]
  let [d, n] = [0, 0]
  for (let i = 0; i < x.length; i++) {
    d += (x[i] - y[i]) ** 2
    n += y[i] ** 2
  }
  return Math.sqrt(d / n)
}

let golden: Checkpoint
let model: Model
let batch: Record<string, Value>
beforeAll(async () => {
  golden = hold(await openFile(diskFiles(goldenFolder('llama')), 'golden.safetensors'))
  model = await openModel(await opened(goldenFolder('llama')), { trainable: true })
  const read = async (name: string): Promise<Value> => castValue(await golden.read(name), 'int32')
  batch = {
    ids: await read('input_ids'),
    attentionMask: await read('attention_mask'),
    labels: await read('labels'),
  }
})

const rows = (b: Record<string, Value>, from: number, to: number): Record<string, Value> =>
  Object.fromEntries(
    Object.entries(b).map(([name, v]) => {
      const width = v.shape[1]
      const data = v.data.slice(from * width, to * width)
      return [name, { ...v, shape: [to - from, width], data, read: async () => data }]
    }),
  )

describe('a training step', () => {
  for (const memory of ['fused', 'lean'] as const)
    it(`gives the losses and the parameters of PyTorch's AdamW over five steps (${memory})`, async () => {
      const objective: Objective = { loss: modelLoss(model), optimizer: adamW() }
      const step = makeStep([objective], { memory })
      const state = initialState([objective], model.parameters)
      const expected = toNumbers(await golden.read('losses'))
      for (let i = 0; i < 5; i++) {
        const { losses } = await step(state, batch, { learningRate: 1e-2 })
        expect(Math.abs(losses[0] - expected[i])).toBeLessThan(2e-5)
      }
      for (const [name, v] of Object.entries(state.parameters))
        expect(distance(v, await golden.read(`after.${name}`))).toBeLessThan(1e-3)
      const { losses } = await step(state, batch, { learningRate: 0 })
      expect(Math.abs(losses[0] - expected[5])).toBeLessThan(2e-5)
    })

  it('accumulates micro-batches as if they were one batch, clipped alike', async () => {
    const objective: Objective = { loss: modelLoss(model), optimizer: sgd({ momentum: 0.9, nesterov: true }) }
    const step = makeStep([objective], { clip: 0.5 })
    const [whole, parts] = [1, 2].map(() => initialState([objective], model.parameters))
    const size = batch.ids.shape[0]
    const halves = [rows(batch, 0, 1), rows(batch, 1, size)]
    const a = await step(whole, batch, { learningRate: 0.1 })
    const b = await step(parts, halves, { learningRate: 0.1 })
    expect(a.metrics.gradientNorm).toBeGreaterThan(0.5)
    expect(b.metrics.gradientNorm).toBeCloseTo(a.metrics.gradientNorm, 4)
    expect(b.losses[0]).toBeCloseTo(a.losses[0], 5)
    for (const name of Object.keys(whole.parameters))
      expect(distance(parts.parameters[name], whole.parameters[name])).toBeLessThan(1e-6)
  })

  it('moves only what an objective is given, and refuses to move a parameter twice', async () => {
    const loss = modelLoss(model)
    const head: Objective = { loss, optimizer: sgd(), moves: (name) => name === 'lm_head.weight' }
    const rest: Objective = { loss, optimizer: adamW(), moves: (name) => name.endsWith('norm.weight') }
    const state = initialState([head, rest], model.parameters)
    await makeStep([head, rest])(state, batch, { learningRate: 0.01 })
    const moved = Object.keys(state.parameters).filter(
      (name) => distance(state.parameters[name], model.parameters[name]) > 0,
    )
    expect(moved.sort()).toEqual(
      Object.keys(model.parameters)
        .filter((name) => name === 'lm_head.weight' || name.endsWith('norm.weight'))
        .sort(),
    )
    expect(() => initialState([head, { ...rest, moves: () => true }], model.parameters)).toThrow(
      /lm_head.weight.*several objectives/,
    )
  })
})
