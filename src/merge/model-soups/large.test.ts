/** The loss of a learned soup over a vocabulary so large that its logits are made a few rows at a time. */
import { expect, it } from 'vitest'
import { headless } from '../../../test/headless.js'
import { createModel } from '../../models/index.js'
import {
  compile,
  RandomStreams,
  reachable,
  type Tensor,
  toNumbers,
  type Value,
  valueAndGrad,
  valueOf,
} from '../../tensor/index.js'
import { append, maxOf } from '../../tensor/numbers.js'
import { modelInMemory } from '../core/recipe/in-memory.js'
import { soupLoss, soupModel } from './learned.js'

it('over a large vocabulary makes the logits a few rows at a time, β included', async () => {
  const config = {
    model_type: 'gpt2',
    vocab_size: 9000,
    n_embd: 8,
    n_layer: 1,
    n_head: 2,
    n_positions: 300,
  }
  const some = [1, 2].map((seed) => createModel(config, { seed }))
  const soup = await soupModel(await Promise.all(some.map(async (m) => modelInMemory(await m))), 'model')
  const ids = valueOf(
    Int32Array.from({ length: 600 }, (_, i) => (41 * i) % 9000),
    [2, 300],
    'int32',
  )
  const inputs: Record<'parameters' | 'batch', Record<string, Value>> = {
    parameters: { ...soup.parameters, beta: valueOf([1.5], []) },
    batch: { ids, labels: ids },
  }
  const found = async (model: typeof soup) => {
    const sizes: number[] = []
    const program = await compile(({ parameters, batch }) => {
      const trace = { random: new RandomStreams() }
      const made = valueAndGrad((p: Record<string, Tensor>) => soupLoss(model)(p, batch, trace).loss)(
        parameters,
      )
      append(
        sizes,
        reachable([made.value, ...Object.values(made.grads)]).map(({ outputs: [t] }) => t.size),
      )
      return made
    }, inputs)
    return { ...(await program.run(inputs)), largest: maxOf(sizes) }
  }
  const whole = await found({ ...soup, architecture: headless(soup.architecture) })
  const parts = await found(soup)
  expect(whole.largest).toBeGreaterThanOrEqual(598 * 9000)
  expect(parts.largest).toBeLessThan(300 * 9000)
  expect(Math.abs(toNumbers(parts.value)[0] - toNumbers(whole.value)[0])).toBeLessThan(1e-4)
  for (const [name, g] of Object.entries(whole.grads)) {
    const other = toNumbers(parts.grads[name])
    toNumbers(g).forEach((x, i) => expect(Math.abs(x - other[i])).toBeLessThan(1e-4))
  }
})
