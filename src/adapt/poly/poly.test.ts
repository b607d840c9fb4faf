import { beforeAll, expect, it } from 'vitest'
import { changed, countOf, gap, logitsOf, noisy } from '../../../test/adapter.js'
import { goldenFolder } from '../../../test/golden.js'
import { opened } from '../../../test/opened.js'
import type { Checkpoint } from '../../checkpoint/index.js'
import { compile, RandomStreams, type Tensor, toNumbers, valueOf } from '../../tensor/index.js'
import { forward } from '../../train/index.js'
import { type AdaptedModel, lora, poly } from '../index.js'

let base: Checkpoint
beforeAll(async () => void (base = await opened(goldenFolder('llama'))))

const taskIds = (...ids: number[]) => ({ taskIds: valueOf(ids, [ids.length], 'int32') })

it('trains S r (in + out) + tasks x splits x S numbers a module', async () => {
  const model = await poly(base, { rank: 3, tasks: 5, skills: 2, splits: 4, targets: ['q_proj'] })
  expect(countOf(model)).toBe(3 * (2 * 3 * (32 + 32) + 5 * 4 * 2))
})

it('a batch of several tasks gives each row what it gets alone', async () => {
  const options = { tasks: 3, skills: 3, splits: 2 }
  const model = noisy(await poly(base, options), 0.5)
  const mixed = await logitsOf(model, taskIds(2, 1))
  const [second, first] = [await logitsOf(model, taskIds(2, 2)), await logitsOf(model, taskIds(1, 1))]
  const half = mixed.length / 2
  expect(gap(mixed.slice(0, half), second.slice(0, half))).toBeLessThan(1e-5)
  expect(gap(mixed.slice(half), first.slice(half))).toBeLessThan(1e-5)
  expect(gap(first, second)).toBeGreaterThan(1e-3)
  // Rows without a task are of the one that the options name.
  const named = (await poly(base, { ...options, task: 2 })).with(model.parameters)
  expect(gap(await logitsOf(named), second)).toBeLessThan(1e-5)
})

it('with one skill is LoRA, whatever the task', async () => {
  const reference = noisy(await lora(base, { rank: 2, alpha: 1 }))
  const model = changed(await poly(base, { rank: 2, tasks: 2, skills: 1 }), (old, name) => {
    const site = name.slice(0, name.indexOf('.poly'))
    const { parameters } = reference
    const turned = (key: string): number[] => {
      const { data, shape } = parameters[`${site}.${key}`]
      const [rows, columns] = shape
      return Array.from({ length: data.length }, (_, i) =>
        Number(data[(i % rows) * columns + Math.floor(i / rows)]),
      )
    }
    if (name.endsWith('lora_A')) return turned('lora_A.weight')
    return name.endsWith('lora_B') ? turned('lora_B.weight') : old
  })
  expect(gap(await logitsOf(model, taskIds(0, 1)), await logitsOf(reference))).toBeLessThan(1e-5)
})

const inTraining = async (model: AdaptedModel, seed: number): Promise<Float64Array> => {
  const batch = { ids: valueOf([3, 1, 4, 1], [1, 4], 'int32'), ...taskIds(0) }
  type Inputs = { parameters: Record<string, Tensor>; batch: Record<string, Tensor> }
  const program = await compile(
    ({ parameters, batch }: Inputs) =>
      forward(model, parameters, batch, { random: new RandomStreams() }).logits,
    { parameters: { ...model.parameters }, batch },
  )
  return toNumbers(
    await program.run({ parameters: { ...model.parameters }, batch } as never, { seed, step: 0 }),
  )
}

it('samples the skills in training, the same for the same seed', async () => {
  const model = noisy(await poly(base, { skills: 4 }), 0.5)
  const [first, again, other] = [
    await inTraining(model, 1),
    await inTraining(model, 1),
    await inTraining(model, 2),
  ]
  expect(again).toEqual(first)
  expect(gap(first, other)).toBeGreaterThan(1e-4)
})

it('refuses tasks that there are not, and splits that do not divide', async () => {
  await expect(poly(base, { tasks: 2, task: 2 })).rejects.toMatchObject({ code: 'NoSuchTask' })
  await expect(poly(base, { splits: 5 })).rejects.toThrow(/5 splits do not divide .*q_proj.* 32 x 32/)
  const model = await poly(base, { tasks: 2 })
  await expect(logitsOf(model, taskIds(0, 2))).rejects.toThrow(/out of/)
  await expect(logitsOf(model, taskIds(0, -1))).rejects.toThrow(/out of/)
})
