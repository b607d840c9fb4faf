import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { goldenFolder } from '../../test/golden.js'
import { scratchFolder, sentences, writeTinyLlama } from '../../test/tiny.js'
import { opened } from '../../test/opened.js'
import { lora } from '../adapt/index.js'
import { type Model, openModel } from '../models/index.js'
import { everything, reachable } from '../tensor/graph.js'
import { input, type Tensor, valueAndGrad } from '../tensor/index.js'
import { evaluate, fit, type FitOptions, modelLoss, recomputing } from './index.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
let model: Model
const records = sentences.map((text) => ({ text }))
beforeAll(async () => {
  scratch = await scratchFolder()
  await writeTinyLlama(join(scratch.path, 'base'))
  model = await openModel(await opened(join(scratch.path, 'base')), { trainable: true })
})
afterAll(() => scratch.remove())

const options: FitOptions = { batch: 4, length: 24, learningRate: 1e-2, seed: 5 }
const bytes = (m: Model): Uint8Array[] =>
  Object.values(m.parameters).map((v) => new Uint8Array(v.data.buffer, v.data.byteOffset, v.data.byteLength))
const linesOf = async (folder: string): Promise<Record<string, unknown>[]> =>
  (await readFile(join(folder, 'metrics.jsonl'), 'utf8'))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)

describe('fit', () => {
  it('learns: the loss on its data falls, and the model given stays as it was', async () => {
    const before = await evaluate(model, records, options)
    const trained = await fit(model, records, { ...options, steps: 30, schedule: 'warmup-cosine', clip: 1 })
    const after = await evaluate(trained.model, records, options)
    expect(after.loss).toBeLessThan(0.5 * before.loss)
    expect(after.perplexity).toBeCloseTo(Math.exp(after.loss))
    expect(await evaluate(model, records, options)).toMatchObject({ loss: before.loss })
  })

  it('writes one line a step, and evaluations; an epoch has as many steps as it has batches', async () => {
    const out = join(scratch.path, 'metrics')
    const { state } = await fit(model, records, {
      ...options,
      epochs: 2,
      evaluation: 0.2,
      evaluateEvery: 2,
      out,
    })
    expect(state.step).toBe(6)
    const lines = await linesOf(out)
    expect(lines.filter((l) => 'loss' in l).map((l) => l.step)).toEqual([1, 2, 3, 4, 5, 6])
    expect(lines.filter((l) => 'evaluation' in l).map((l) => l.step)).toEqual([2, 4, 6])
  })

  it('continues an interrupted run to the same bits, micro-batches included', async () => {
    const run = { ...options, steps: 7, accumulate: 2, evaluation: 0.2, evaluateEvery: 3 }
    const whole = await fit(model, records, run)
    const stop = new AbortController()
    const out = join(scratch.path, 'interrupted')
    const half = await fit(model, records, {
      ...run,
      out,
      signal: stop.signal,
      hook: ({ step }) => void (step === 3 && stop.abort()),
    })
    expect(half.outcome).toBe('interrupted')
    const rest = await fit(model, records, { ...run, out, resume: true })
    expect(rest.loss).toBe(whole.loss)
    expect(bytes(rest.model)).toEqual(bytes(whole.model))
    expect((await linesOf(out)).filter((l) => 'loss' in l).map((l) => l.step)).toEqual([1, 2, 3, 4, 5, 6, 7])
  })

  it('stops early after evaluations without a lower loss', async () => {
    const { outcome, state } = await fit(model, records, {
      ...options,

      optimizer: undefined,
      schedule: () => 0,
      steps: 20,
      evaluation: 0.2,
      evaluateEvery: 2,
      patience: 2,
    })
    expect(outcome).toBe('stopped early')
    expect(state.step).toBe(6)
  })

  it('learns the same when blocks are computed again in the backward pass, dropout included', async () => {
    const start = await lora(model, { dropout: 0.2, targets: 'all-linear' })
    const run = { ...options, steps: 5 }
    const [kept, again] = [
      await fit(start, records, run),
      await fit(start, records, { ...run, recompute: true }),
    ]
    expect(again.loss).toBeCloseTo(kept.loss, 5)
    for (const [name, v] of Object.entries(kept.model.parameters))
      v.data.forEach((x, i) =>
        expect(Math.abs(Number(x) - Number(again.model.parameters[name].data[i]))).toBeLessThan(1e-4),
      )
  })

  it('makes the products of every block again when asked to', () => {
    const ids = input('ids', [1, 3], 'int32')
    const productsOf = (m: Model): number => {
      const parameters = Object.fromEntries(
        Object.entries(model.parameters).map(([name, { shape }]) => [name, input(name, shape)]),
      )
      const loss = (p: Record<string, Tensor>): Tensor => modelLoss(m)(p, { ids, labels: ids }, {}).loss
      const { value, grads } = valueAndGrad(loss)(parameters)
      const nodes = reachable([value, ...Object.values(grads)], everything)
      return nodes.filter(({ op }) => op === 'matmul').length
    }
    // Of a block's seven linear modules the last gives nothing that its own gradient needs.
    const again = 6 * (model.config as { layers: readonly unknown[] }).layers.length
    expect(productsOf(recomputing(model)) - productsOf(model)).toBeGreaterThanOrEqual(again)
  })

  it('lets a hook replace the state between steps', async () => {
    const frozen = model.parameters['lm_head.weight']
    const { model: trained } = await fit(model, records, {
      ...options,
      steps: 2,
      hook: (state) => void (state.parameters['lm_head.weight'] = frozen),
    })
    expect(trained.parameters['lm_head.weight']).toBe(frozen)
  })

  it('refuses a folder in use, other settings on resume, and a model without parameters', async () => {
    const out = join(scratch.path, 'used')
    await fit(model, records, { ...options, steps: 1, out })
    await expect(fit(model, records, { ...options, steps: 1, out })).rejects.toThrow(
      /FolderInUse|checkpoints of a run/,
    )
    await expect(fit(model, records, { ...options, steps: 1, batch: 2, out, resume: true })).rejects.toThrow(
      /batch \(4, now 2\)/,
    )
    const bert = await openModel(await opened(goldenFolder('bert-classify')), { trainable: true })
    await expect(fit(bert, records, options)).rejects.toThrow(/task 'classify'/)
    const wild = { ...options, steps: 20, schedule: () => 1e30 }
    await expect(fit(model, records, wild)).rejects.toThrow(/loss of step \d+ is (NaN|Infinity)/)
    const frozen = await openModel(model.checkpoint)
    await expect(fit(frozen, records, options)).rejects.toThrow(/no parameter that trains/)
  })
})
