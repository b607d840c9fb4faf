import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { goldenFolder } from '../../test/golden.js'
import { scratchFolder } from '../../test/tiny.js'
import { open } from '../checkpoint/index.js'
import { openModel } from '../models/index.js'
import { type Tensor, compile, conv2d, toNumbers } from '../tensor/index.js'
import { fit } from './index.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
beforeAll(async () => {
  scratch = await scratchFolder()
})
afterAll(() => scratch.remove())

it('running statistics follow the batches, no optimiser moves them, and they are saved and loaded', async () => {
  await using checkpoint = await open(goldenFolder('resnet'))
  const model = await openModel(checkpoint, { trainable: true, buffers: true })
  await using golden = await open(goldenFolder('resnet', 'golden.safetensors'))
  const batch = { pixels: await golden.read('pixel_values', 'float32'), labels: await golden.read('labels') }
  const { model: trained } = await fit(model, () => [batch], { steps: 1, learningRate: 1e-3 })

  const name = 'resnet.embedder.embedder.normalization'
  const first = await compile(
    ({ x, w }: { x: Tensor; w: Tensor }) => conv2d(x, w, { stride: 2, padding: 3 }).mean([0, 2, 3]),
    { x: batch.pixels, w: model.parameters['resnet.embedder.embedder.convolution.weight'] },
  )
  const w = model.parameters['resnet.embedder.embedder.convolution.weight']
  const mean = toNumbers(await first.run({ x: batch.pixels, w }))
  const before = toNumbers(model.parameters[`${name}.running_mean`])
  const after = toNumbers(trained.parameters[`${name}.running_mean`])
  after.forEach((x, i) => expect(x).toBeCloseTo(0.9 * before[i] + 0.1 * mean[i], 5))
  const counted = (m: typeof model): number => toNumbers(m.parameters[`${name}.num_batches_tracked`])[0]
  expect(counted(trained)).toBe(counted(model) + 1)

  await trained.save(join(scratch.path, 'trained'))
  await using again = await open(join(scratch.path, 'trained'))
  const reopened = await openModel(again, { trainable: true, buffers: true })
  for (const key of Object.keys(trained.parameters))
    expect(toNumbers(reopened.parameters[key])).toEqual(toNumbers(trained.parameters[key]))
})
