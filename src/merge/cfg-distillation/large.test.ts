/** The loss of CFG distillation over a vocabulary so large that its logits are made a few rows at a time. */
import { expect, it } from 'vitest'
import { headless } from '../../../test/headless.js'
import { createModel, type Model, openModel } from '../../models/index.js'
import {
  compile,
  RandomStreams,
  reachable,
  type Tensor,
  toNumbers,
  type Value,
  valueAndGrad,
} from '../../tensor/index.js'
import { maxOf, normOf } from '../../tensor/numbers.js'
import { modelInMemory } from '../core/recipe/in-memory.js'
import { distillationLoss, sampledBatch } from './train.js'

const config = {
  ...{ model_type: 'gpt2', vocab_size: 9000, n_embd: 8, n_layer: 1, n_head: 2, n_positions: 300 },
  ...{ embd_pdrop: 0, attn_pdrop: 0, resid_pdrop: 0, initializer_range: 0.5 },
}
const withoutHead = (model: Model): Model => ({ ...model, architecture: headless(model.architecture) })

it.each(['student', 'teacher'] as const)(
  'over a large vocabulary is made a few rows at a time, and is the whole one: towards the %s',
  async (direction) => {
    const large = await createModel(config, { seed: 4 })
    const taught = await openModel(await modelInMemory(await createModel(config, { seed: 5 })))
    const samples = [0, 1].map((r) => Array.from({ length: 256 - 40 * r }, (_, t) => (37 * t + r) % 9000))
    const batch = sampledBatch([[4], [7]], samples, [0.5, -0.25], { negative: [5], tokens: 256, width: 1 })
    const gradients = async (headless: boolean, diversity: number) => {
      const inputs: { parameters: Record<string, Value>; batch: Record<string, Value> } = {
        parameters: { ...large.parameters },
        batch: { ...batch },
      }
      const options = { guidance: { scale: 3, negative: [5] }, direction, diversity }
      const [student, teacher] = headless ? [withoutHead(large), withoutHead(taught)] : [large, taught]
      const loss = distillationLoss(student, teacher, options)
      let largest = 0
      const program = await compile(({ parameters, batch }) => {
        const found = valueAndGrad((p: Record<string, Tensor>) => {
          const { loss: value, metrics } = loss(p, batch, { random: new RandomStreams() })
          return value.add(metrics!.kl.mul(0))
        })(parameters)
        const all = reachable([found.value, ...Object.values(found.grads)])
        largest = maxOf(all.map(({ outputs: [t] }) => t.size))
        return found
      }, inputs)
      return { ...(await program.run(inputs)), largest }
    }
    for (const diversity of [0, 0.1]) {
      const whole = await gradients(true, diversity)
      const parts = await gradients(false, diversity)
      expect(whole.largest).toBeGreaterThanOrEqual(512 * 9000)
      expect(parts.largest).toBeLessThan(512 * 9000)
      expect(toNumbers(parts.value)[0]).toBeCloseTo(toNumbers(whole.value)[0], 3)
      for (const [name, g] of Object.entries(whole.grads)) {
        const wanted = toNumbers(g)
        const found = toNumbers(parts.grads[name])
        const gap = normOf(found.map((x, i) => x - wanted[i]))
        expect(gap).toBeLessThan(1e-4 * normOf(wanted) + 1e-6)
      }
    }
  },
)
