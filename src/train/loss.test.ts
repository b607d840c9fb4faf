import { describe, expect, it } from 'vitest'
import { goldenFolder } from '../../test/golden.js'
import { hold } from '../../test/held.js'
import { opened } from '../../test/opened.js'
import { diskFiles, openFile } from '../checkpoint/index.js'
import { type ModelOutputs, openModel } from '../models/index.js'
import { compile, input, interpret, type Tensor, tensor, toNumbers, type Value } from '../tensor/index.js'
import { type Batch, causalLoss, classLoss, type Loss, modelLoss } from './index.js'

const inputs = {
  ids: 'input_ids',
  attentionMask: 'attention_mask',
  types: 'token_type_ids',
  pixels: 'pixel_values',
  labels: 'labels',
}

describe('the loss of a model by its task', () => {
  it.each(['llama', 'bert-mlm', 'bert-classify', 't5', 'vit'])("is Transformers' on %s", async (name) => {
    const golden = hold(await openFile(diskFiles(goldenFolder(name)), 'golden.safetensors'))
    const model = await openModel(await opened(goldenFolder(name)))
    const batch: Record<string, Value> = {}
    for (const [key, stored] of Object.entries(inputs))
      if (golden.has(stored)) batch[key] = await golden.read(stored, key === 'pixels' ? 'float32' : 'int32')
    const program = await compile(
      ({ batch }: { batch: Batch<Tensor> }) => modelLoss(model)({}, batch, {}).loss,
      {
        batch,
      },
    )
    const [loss] = toNumbers(await program.run({ batch } as never))
    expect(Math.abs(loss - toNumbers(await golden.read('losses'))[0])).toBeLessThan(2e-5)
  })

  it('adds what a model reports as auxiliaryLoss, in training only', async () => {
    const model = await openModel(await opened(goldenFolder('llama')))
    const reporting = {
      ...model,
      weights: (...[parameters, trace]: Parameters<typeof model.weights>) => {
        trace.reports?.set('model.layers.0.auxiliaryLoss', tensor([3], []))
        return model.weights(parameters, trace)
      },
    }
    const batch = { ids: tensor([1, 2, 3], [1, 3], 'int32'), labels: tensor([1, 2, 3], [1, 3], 'int32') }
    const random = { bytes: (shape: readonly number[]) => input('bytes', shape, 'uint8') } as never
    const losses = [modelLoss(reporting)({}, batch, { random }), modelLoss(reporting)({}, batch, {})]
    const [training, evaluation] = await interpret(
      losses.map(({ loss }) => loss),
      { inputs: {} },
    )
    expect(Number(training[0]) - Number(evaluation[0])).toBeCloseTo(3)
  })
})

const numbers = async (loss: Loss): Promise<number[]> => {
  const tensors = [loss.loss, loss.weight!, ...Object.values(loss.metrics ?? {})]
  return (await interpret(tensors, { inputs: {} })).map((n) => Number(n[0]))
}
const outputs = (logits: Tensor): ModelOutputs => ({ logits, hidden: [] })

describe('losses', () => {
  it('count labels, not positions: those of value -100 and the first of a causal row do not count', async () => {
    const logits = tensor(new Float32Array(2 * 3 * 4), [2, 3, 4])
    const labels = tensor([1, 2, -100, 0, -100, -100], [2, 3], 'int32')
    const [loss, weight] = await numbers(causalLoss(outputs(logits), { labels }))
    expect(loss).toBeCloseTo(Math.log(4))
    expect(weight).toBe(1)
  })

  it('of nothing is zero', async () => {
    const labels = tensor([-100, -100], [1, 2], 'int32')
    const [loss, weight] = await numbers(causalLoss(outputs(tensor([1, 2, 3, 4], [1, 2, 2])), { labels }))
    expect([loss, weight]).toEqual([0, 0])
  })

  it('of classes come with the accuracy over those that count', async () => {
    const logits = tensor([2, 1, 0, 3, 0, 1], [3, 2])
    const [, weight, accuracy] = await numbers(
      classLoss(outputs(logits), { labels: tensor([0, 0, -100], [3], 'int32') }),
    )
    expect([weight, accuracy]).toEqual([2, 0.5])
  })

  it('say what a batch lacks', () => {
    expect(() => classLoss(outputs(tensor([1, 2], [1, 2])), {})).toThrow(/needs 'labels'/)
  })
})
