/** IST around every method of the family that it can wrap; the list is the family's own. */
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scratchFolder } from '../../../test/tiny.js'
import { opened } from '../../../test/opened.js'
import { createModel, type Model, openModel } from '../../models/index.js'
import { Stream } from '../../random/index.js'
import { toNumbers, type Value, valueOf } from '../../tensor/index.js'
import { type Batch, fit, isMoved, type TrainingState } from '../../train/index.js'
import { type AdapterMethod, istAround, layerImportance, loadAdapter, lora, methods } from '../index.js'
import { samplingOptions } from './layers.js'

let base: Model
let scratch: Awaited<ReturnType<typeof scratchFolder>>
beforeAll(async () => {
  scratch = await scratchFolder()
  const config = { model_type: 'llama', vocab_size: 24, hidden_size: 16, intermediate_size: 32 }
  const heads = { num_attention_heads: 2, num_key_value_heads: 2, num_hidden_layers: 2 }
  const rest = { max_position_embeddings: 16, rms_norm_eps: 1e-6 }
  await (await createModel({ ...config, ...heads, ...rest }, { seed: 1 })).save(join(scratch.path, 'base'))
  base = await openModel(await opened(join(scratch.path, 'base')))
})
afterAll(() => scratch.remove())

const data = function* (startAt: number): Generator<Batch> {
  for (let i = startAt; ; i++) {
    const stream = new Stream('data').fork(i)
    const ids = valueOf(
      Array.from({ length: 16 }, () => stream.int(24)),
      [2, 8],
      'int32',
    )
    yield { ids, labels: ids }
  }
}
const layerOf = (name: string): string | undefined => /layers\.(\d+)\./.exec(name)?.[1]
const isSame = (a: Value, b: Value): boolean => String(toNumbers(a)) === String(toNumbers(b))

const wrapped = methods.filter(({ additive, around }) => additive && !around)

type Adapt = AdapterMethod<Record<string, unknown>>

describe.each(wrapped.map((method) => [method.paper.id, method as Adapt] as const))(
  'IST around %s',
  (_, method) => {
    const adapt = istAround(method)
    const given = {
      ...('calibration' in method.options.shape && { calibration: [data(0).next().value] }),
      // Enough of it that it stands in both layers.
      ...(method.size?.kind === 'share' && { [method.size.option]: 0.5 }),
    }

    it('takes the options of both, and saves what the method saves', async () => {
      expect(Object.keys(adapt.options.shape).sort()).toEqual(
        [...Object.keys(method.options.shape), ...Object.keys(samplingOptions)].sort(),
      )
      const model = await adapt(base, { ...given, trained: 1, suppressed: 1 })
      expect(await adapt.count(base, { ...given, trained: 1 })).toBe(await method.count(base, given))
      const folder = join(scratch.path, method.paper.id)
      await model.save(folder)
      const loaded = await loadAdapter(base, folder)
      expect(loaded.plan.method.peftType).toBe(method.peftType)
      const saved = Object.entries((await model.exported()).parameters)
      expect(Object.keys(loaded.parameters)).toEqual(saved.map(([name]) => name))
      for (const [name, v] of saved) expect(isSame(loaded.parameters[name], v), name).toBe(true)
    })

    it('trains one layer a step and learns importance, beside what the method does in training', async () => {
      const inner = (await method(base, given)).plan.method
      // The others train as LoRA does.
      if (!inner.training && inner.paper !== lora.paper) return
      const start = await adapt(base, { ...given, trained: 1, suppressed: 1, every: 1 })
      const states: Pick<TrainingState, 'parameters' | 'optimizers'>[] = []
      const hook = ({ parameters, optimizers }: TrainingState): void =>
        void states.push({ parameters: { ...parameters }, optimizers: [{ ...optimizers[0] }] })
      await fit(start, data, { steps: 2, learningRate: 1e-2, seed: 3, hook })
      expect(layerImportance(states[1])).toHaveLength(2)
      const moved = Object.keys(start.parameters).filter(
        (name) =>
          isMoved(start)(name) &&
          layerOf(name) &&
          !isSame(states[0].parameters[name], start.parameters[name]),
      )
      // What it does by itself between steps, as pruning, is not held back.
      if (!(await method(base, given)).training?.between) expect(new Set(moved.map(layerOf)).size).toBe(1)
    })
  },
)

it('refuses methods that do more than change outputs of linear modules, and wrappers', () => {
  const others = methods.filter((method) => !wrapped.includes(method))
  expect(others.map(({ paper }) => paper.id)).toContain('prefix')
  for (const method of others) expect(() => istAround(method as never)).toThrow(/NotPerLayer|ist: /)
  expect(() => istAround(istAround(lora))).toThrow(/does more than add/)
})
