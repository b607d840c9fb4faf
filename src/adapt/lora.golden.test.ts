import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { goldenFolder } from '../../test/golden.js'
import { scratchFolder } from '../../test/tiny.js'
import { type Checkpoint, diskFiles, open, openFile } from '../checkpoint/index.js'
import { type Model, openModel } from '../models/index.js'
import { castValue, compile, type Tensor, toNumbers, type Value, valueAndGrad } from '../tensor/index.js'
import { forward, modelLoss } from '../train/index.js'
import { type AdaptedModel, loadAdapter } from './index.js'

const adapters = ['lora', 'lora-all', 'rslora', 'dora', 'lora-modules-to-save']

const largestGap = (a: Value, b: Value): number => {
  const [x, y] = [toNumbers(a), toNumbers(b)]
  expect(x.length).toBe(y.length)
  return x.reduce((most, n, i) => Math.max(most, Math.abs(n - y[i])), 0)
}

const relativeGap = (a: Value, b: Value): number => {
  const [x, y] = [toNumbers(a), toNumbers(b)]
  expect(x.length).toBe(y.length)
  const norm = (v: Float64Array): number => Math.sqrt(v.reduce((n, t) => n + t * t, 0))
  return norm(x.map((n, i) => n - y[i])) / norm(y)
}

/** PEFT's name of a parameter's gradient in memory, by its name in Weft. */
const gradientName = (model: AdaptedModel, name: string): string => {
  if (model.plan.whole.includes(name))
    return `base_model.model.${name.replace(/\.(\w+)$/, '.modules_to_save.default.$1')}`
  return name.endsWith('lora_magnitude_vector')
    ? `base_model.model.${name}.default.weight`
    : `base_model.model.${name.replace(/\.(\w+)$/, '.default.$1')}`
}

const run = async (model: Model, batch: Record<string, Value>) => {
  const program = await compile(
    ({ parameters, batch }: { parameters: Record<string, Tensor>; batch: Record<string, Tensor> }) => {
      const { value, grads } = valueAndGrad((p: Record<string, Tensor>) => modelLoss(model)(p, batch, {}))(
        parameters,
      )
      return { logits: forward(model, parameters, batch).logits, loss: value.loss, grads }
    },
    { parameters: { ...model.parameters }, batch },
  )
  return program.run({ parameters: { ...model.parameters }, batch } as never)
}

let scratch: Awaited<ReturnType<typeof scratchFolder>>
let base: Checkpoint
let batch: Record<string, Value>
beforeAll(async () => {
  scratch = await scratchFolder()
  base = await open(goldenFolder('llama'))
  const golden = await openFile(diskFiles(goldenFolder('llama')), 'golden.safetensors')
  const read = async (name: string): Promise<Value> => castValue(await golden.read(name), 'int32')
  batch = {
    ids: await read('input_ids'),
    attentionMask: await read('attention_mask'),
    labels: await read('labels'),
  }
})
afterAll(() => scratch.remove())

const silent = { onWarning: () => undefined }

describe.each(adapters)('PEFT adapter %s', (name) => {
  const folder = goldenFolder('peft', name)
  let golden: Checkpoint
  let model: AdaptedModel
  beforeAll(async () => {
    golden = await openFile(diskFiles(folder), 'golden.safetensors')
    model = await loadAdapter(base, folder, silent)
  })

  it('gives the logits, the loss and every gradient that PEFT computed', async () => {
    const { logits, loss, grads } = await run(model, batch)
    expect(largestGap(logits, await golden.read('logits'))).toBeLessThan(2e-5)
    expect(Math.abs(toNumbers(loss)[0] - toNumbers(await golden.read('loss'))[0])).toBeLessThan(2e-5)
    const names = Object.keys(grads).map((n) => `grad.${gradientName(model, n)}`)
    expect(names.sort()).toEqual(golden.names().filter((n) => n.startsWith('grad.')))
    for (const [n, g] of Object.entries(grads))
      expect(relativeGap(g, await golden.read(`grad.${gradientName(model, n)}`))).toBeLessThan(1e-4)
  })

  it('trains as many numbers', async () => {
    const count = Object.values(model.parameters).reduce((n, v) => n + v.data.length, 0)
    expect(count).toBe(Number((await golden.read('trainable')).data[0]))
  })

  it('folds to a checkpoint with the logits of PEFT merged', async () => {
    const out = join(scratch.path, `${name}-folded`)
    await model.fold(out)
    const folded = await openModel(await open(out), { trainable: true })
    const { logits } = await run(folded, batch)
    expect(largestGap(logits, await golden.read('merged_logits'))).toBeLessThan(2e-5)
  })

  it("is saved with PEFT's keys, tensors and config", async () => {
    const out = join(scratch.path, name)
    await model.save(out)
    const [ours, theirs] = await Promise.all(
      [out, folder].map((f) => openFile(diskFiles(f), 'adapter_model.safetensors')),
    )
    expect(ours.names()).toEqual(theirs.names())
    for (const key of ours.names())
      expect([...(await ours.read(key)).data]).toEqual([...(await theirs.read(key)).data])
    const [mine, peft] = await Promise.all(
      [out, folder].map(
        async (f) =>
          JSON.parse(await readFile(join(f, 'adapter_config.json'), 'utf8')) as Record<string, unknown>,
      ),
    )
    const comparable = ({
      base_model_name_or_path: _,
      target_modules: targets,
      ...rest
    }: Record<string, unknown>) => ({
      ...rest,
      target_modules: new Set(targets as string[]),
    })
    expect(comparable(mine)).toEqual(comparable(peft))
  })
})
