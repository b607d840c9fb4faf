/** @file What adapters that PEFT wrote must give: its logits, loss, gradients, counts, merged logits, folders. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { goldenFolder } from './golden.js'
import { scratchFolder } from './tiny.js'
import { hold } from './held.js'
import { opened } from './opened.js'
import { type Checkpoint, diskFiles, open, openFile } from '../src/checkpoint/index.js'
import { keyOf, normal } from '../src/random/index.js'
import { type Model, openModel, type Trace } from '../src/models/index.js'
import {
  castValue,
  compile,
  RandomStreams,
  type Tensor,
  toNumbers,
  type Value,
  valueAndGrad,
  valueOf,
} from '../src/tensor/index.js'
import { adamW, forward, isMoved, modelLoss, movedParameters, trainingOf } from '../src/train/index.js'
import { type AdaptedModel, loadAdapter } from '../src/adapt/index.js'

const largestGap = (a: Value, b: Value): number => {
  const [x, y] = [toNumbers(a), toNumbers(b)]
  expect(x.length).toBe(y.length)
  return x.reduce((most, n, i) => Math.max(most, Math.abs(n - y[i])), 0)
}

const relativeGap = (a: Value, b: Value): number => {
  const [x, y] = [toNumbers(a), toNumbers(b)]
  expect(x.length).toBe(y.length)
  const norm = (v: Float64Array): number => Math.sqrt(v.reduce((n, t) => n + t * t, 0))
  // Tokens that no row has give nothing to compare with: zero then.
  return norm(x.map((n, i) => n - y[i])) / (norm(y) || 1)
}

/** The last `count` positions of [batch, time, ...]: PEFT gives logits of virtual tokens too. */
const lastOf = ({ data, shape: [batch, time, ...rest] }: Value, count: number): Value => {
  const width = rest.reduce((n, d) => n * d, 1)
  const rows = Array.from({ length: batch }, (_, i) =>
    Array.from(data.subarray((i * time + time - count) * width, (i + 1) * time * width), Number),
  )
  return valueOf(rows.flat(), [batch, count, ...rest])
}

/** PEFT's name of a parameter's gradient in memory, by its name in Weft. */
const gradientName = (model: AdaptedModel, name: string): string => {
  if (model.plan.whole.includes(name))
    return `base_model.model.${name.replace(/\.(\w+)$/, '.modules_to_save.default.$1')}`
  if (name === 'prompt_embeddings') return 'prompt_encoder.default.embedding.weight'
  if (name.endsWith('lora_magnitude_vector')) return `base_model.model.${name}.default.weight`
  return /\.(weight|bias|module_logits)$/.test(name)
    ? `base_model.model.${name.replace(/\.(\w+)$/, '.default.$1')}`
    : `base_model.model.${name}.default`
}

const run = async (model: Model, batch: Record<string, Value>, trace: Trace = {}) => {
  const program = await compile(
    ({ parameters, batch }: { parameters: Record<string, Tensor>; batch: Record<string, Tensor> }) => {
      const moved = Object.fromEntries(Object.entries(parameters).filter(([name]) => isMoved(model)(name)))
      const usual = { loss: modelLoss(model), optimizer: adamW() }
      const { loss } = trainingOf(model).objective?.(usual) ?? usual
      const { value, grads } = valueAndGrad((p: Record<string, Tensor>) =>
        loss({ ...parameters, ...p }, batch, trace),
      )(moved)
      return { logits: forward(model, parameters, batch).logits, loss: value.loss, grads }
    },
    { parameters: { ...model.parameters }, batch },
  )
  return program.run({ parameters: { ...model.parameters }, batch } as never)
}

interface GoldenOptions {
  /** Inputs beside those of the base, by their names in the golden file. */
  readonly inputs?: Readonly<Record<string, string>>
  /** PEFT's loss is that of training, with what a method adds. */
  readonly trains?: boolean
}

const silent = { onWarning: () => undefined }

/** The adapter `name` of the golden folder, on the golden Llama, as tests. */
export const describeAdapter = (name: string, { inputs = {}, trains = false }: GoldenOptions = {}): void => {
  describe(`peft: ${name}`, () => {
    let scratch: Awaited<ReturnType<typeof scratchFolder>>
    let base: Checkpoint
    let batch: Record<string, Value>
    const folder = goldenFolder('peft', name)
    let own: Checkpoint
    let model: AdaptedModel
    let merges: boolean
    beforeAll(async () => {
      scratch = await scratchFolder()
      own = hold(await openFile(diskFiles(folder), 'golden.safetensors'))
      base = await opened(goldenFolder('llama'))
      const golden = hold(await openFile(diskFiles(goldenFolder('llama')), 'golden.safetensors'))
      const read = async (name: string): Promise<Value> => castValue(await golden.read(name), 'int32')
      batch = {
        ids: await read('input_ids'),
        attentionMask: await read('attention_mask'),
        labels: await read('labels'),
      }
      for (const [key, stored] of Object.entries(inputs))
        batch[key] = castValue(await own.read(stored), 'int32')
      model = await loadAdapter(base, folder, silent)
      merges = own.has('merged_logits')
    })
    afterAll(() => scratch.remove())

    it('gives the logits, the loss and every gradient that PEFT computed', async () => {
      const { logits, loss, grads } = await run(model, batch, trains ? { random: new RandomStreams() } : {})
      expect(largestGap(logits, lastOf(await own.read('logits'), logits.shape[1]))).toBeLessThan(2e-5)
      expect(Math.abs(toNumbers(loss)[0] - toNumbers(await own.read('loss'))[0])).toBeLessThan(2e-5)
      const names = Object.keys(grads).map((n) => `grad.${gradientName(model, n)}`)
      expect(names.sort()).toEqual(own.names().filter((n) => n.startsWith('grad.')))
      for (const [n, g] of Object.entries(grads))
        expect(relativeGap(g, await own.read(`grad.${gradientName(model, n)}`))).toBeLessThan(1e-4)
    })

    it('trains as many numbers', async () => {
      const count = countOf(model)
      expect(count).toBe(Number((await own.read('trainable')).data[0]))
    })

    it('folds to a checkpoint with the logits of PEFT merged, or refuses where PEFT does', async () => {
      const out = join(scratch.path, `${name}-folded`)
      if (!merges) {
        await expect(model.fold(out)).rejects.toMatchObject({ code: 'CannotFold' })
        return
      }
      await model.fold(out)
      await using plain = await open(out)
      const folded = await openModel(plain, { trainable: true })
      const { logits } = await run(folded, batch)
      expect(largestGap(logits, await own.read('merged_logits'))).toBeLessThan(2e-5)
    })

    it("is saved with PEFT's keys, tensors and config", async () => {
      const out = join(scratch.path, name)
      await model.save(out)
      const [ours, theirs] = await Promise.all(
        [out, folder].map(async (f) => hold(await openFile(diskFiles(f), 'adapter_model.safetensors'))),
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
}

/** Logits of a model for a few tokens. */
export const logitsOf = async (model: Model, inputs: Record<string, Value> = {}): Promise<Float64Array> => {
  const batch = { ids: valueOf([3, 1, 4, 1, 5, 9, 2, 6], [2, 4], 'int32'), ...inputs }
  type Inputs = { parameters: Record<string, Tensor>; batch: Record<string, Tensor> }
  const program = await compile(({ parameters, batch }: Inputs) => forward(model, parameters, batch).logits, {
    parameters: { ...model.parameters },
    batch,
  })
  return toNumbers(await program.run({ parameters: { ...model.parameters }, batch } as never))
}

/** The largest difference between two lists of numbers. */
export const gap = (a: Float64Array, b: Float64Array): number =>
  a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i])), 0)

/** The model with each parameter that trains a function of its name and what it was. */
export const changed = (
  model: AdaptedModel,
  change: (old: Float64Array, name: string) => ArrayLike<number>,
): AdaptedModel =>
  model.with(
    Object.fromEntries(
      Object.entries(model.parameters).map(([name, v]) => [
        name,
        isMoved(model)(name) ? valueOf(Array.from(change(toNumbers(v), name)), v.shape) : v,
      ]),
    ),
  )

/** Every parameter moved by noise. */
export const noisy = (model: AdaptedModel, scale = 0.1): AdaptedModel =>
  changed(model, (old, name) => {
    const noise = new Float32Array(old.length)
    normal(noise, keyOf(name))
    return old.map((x, i) => x + scale * noise[i])
  })

/** How many numbers train. */
export const countOf = (model: Model): number =>
  Object.values(movedParameters(model)).reduce((n, v) => n + v.data.length, 0)
