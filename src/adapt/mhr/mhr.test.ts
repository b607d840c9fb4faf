import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { changed, countOf, gap, logitsOf, noisy } from '../../../test/adapter.js'
import { goldenFolder } from '../../../test/golden.js'
import { scratchFolder } from '../../../test/tiny.js'
import { opened } from '../../../test/opened.js'
import type { Checkpoint } from '../../checkpoint/index.js'
import { openModel } from '../../models/index.js'
import { compile, type Tensor, toNumbers, type Value, valueAndGrad, valueOf } from '../../tensor/index.js'
import { evaluate, fit, modelLoss, sgd } from '../../train/index.js'
import { type AdaptedModel, exportLora, loadAdapter, lora, mhr, poly } from '../index.js'

let base: Checkpoint
let scratch: Awaited<ReturnType<typeof scratchFolder>>
beforeAll(async () => {
  base = await opened(goldenFolder('llama'))
  scratch = await scratchFolder()
})
afterAll(() => scratch.remove())

const tasks = (...ids: number[]) => ({ taskIds: valueOf(ids, [ids.length], 'int32') })
const batch = {
  ids: valueOf([3, 1, 4, 1, 5, 9, 2, 6], [2, 4], 'int32'),
  labels: valueOf([2, 7, 1, 8, 2, 8, 1, 8], [2, 4], 'int32'),
}
const endless = (given: Record<string, Value>) =>
  function* () {
    for (;;) yield given
  }
const few = { targets: ['q_proj', 'v_proj'] }
/** d of the targets: in + out, over three layers. */
const widths = 3 * (32 + 32 + 32 + 16)

const isRouter = (name: string): boolean => name.includes('_router')

/** The model with rows of its routers that `row` gives for a task and a split. */
const withRows = (model: AdaptedModel, row: (task: number, split: number) => number[]): AdaptedModel => {
  const { splits, tasks } = model.plan.options as unknown as { splits: number; tasks: number }
  return changed(model, (old, name) =>
    isRouter(name)
      ? Array.from({ length: tasks }, (_, t) =>
          Array.from({ length: splits }, (_, q) => row(t, q)).flat(),
        ).flat()
      : old,
  )
}

describe('MHR', () => {
  it('trains what the formulas say: S r d + T S h a module, and to adapt S r d + S h, S h, or r d', async () => {
    const [S, h, r, T] = [3, 4, 2, 5]
    const inventory = noisy(await mhr(base, { ...few, skills: S, splits: h, rank: r, tasks: T }))
    expect(countOf(inventory)).toBe(S * r * widths + 6 * T * S * h)
    const adapting = (tune: 'all' | 'routing' | 'average') => mhr(base, { inventory, tune })
    expect(countOf(await adapting('all'))).toBe(S * r * widths + 6 * S * h)
    expect(countOf(await adapting('routing'))).toBe(6 * S * h)
    expect(countOf(await adapting('average'))).toBe(r * widths)
    expect(countOf(await mhr(base, { ...few, skills: S, splits: 1, rank: r, tasks: T }))).toBe(
      S * r * widths + 6 * T * S,
    )
  })

  it.each([
    ['module', 6],
    ['block', 3],
    ['stack', 1],
    ['model', 1],
  ] as const)('has one router a %s: %i of them, and keeps them', async (router, count) => {
    const model = noisy(await mhr(base, { ...few, router, skills: 2, splits: 2, tasks: 3 }))
    expect(Object.keys(model.parameters).filter(isRouter).length).toBe(count)
    const folder = join(scratch.path, router)
    await model.save(folder)
    expect(await logitsOf(await loadAdapter(base, folder), tasks(2, 1))).toEqual(
      await logitsOf(model, tasks(2, 1)),
    )
  })

  it('is the base before it is trained, for every task', async () => {
    const plain = await logitsOf(await openModel(base))
    const model = await mhr(base, { ...few, tasks: 3 })
    for (const task of [0, 1, 2])
      expect(gap(await logitsOf(model, tasks(task, task)), plain)).toBeLessThan(1e-6)
  })

  it('with equal rows for all splits is Poly', async () => {
    const rows = (t: number): number[] => [t, -t, 0.5]
    const options = { ...few, skills: 3, rank: 2, tasks: 3 }
    const model = withRows(noisy(await mhr(base, { ...options, splits: 4 })), rows)
    const reference = changed(withRows(await poly(base, { ...options, splits: 1 }), rows), (old, name) => {
      if (isRouter(name)) return old
      const { data, shape } = model.parameters[name]
      const [splits, skills, a, b] = shape
      const at = (q: number, s: number, i: number, j: number): number =>
        Number(data[((q * skills + s) * a + i) * b + j])
      const all = Array.from({ length: skills }, (_, s) =>
        name.endsWith('lora_A')
          ? Array.from({ length: splits * a * b }, (_, k) =>
              at(Math.floor(k / (a * b)), s, Math.floor(k / b) % a, k % b),
            )
          : Array.from({ length: a * splits * b }, (_, k) =>
              at(Math.floor(k / b) % splits, s, Math.floor(k / (splits * b)), k % b),
            ),
      )
      return all.flat()
    })
    expect(gap(await logitsOf(model, tasks(2, 1)), await logitsOf(reference, tasks(2, 1)))).toBeLessThan(1e-5)
    expect(gap(await logitsOf(model, tasks(2, 1)), await logitsOf(model, tasks(1, 2)))).toBeGreaterThan(1e-4)
  })

  it('changes nothing when skills change places together with their logits', async () => {
    const model = noisy(await mhr(base, { ...few, skills: 2, splits: 4, tasks: 2 }), 0.5)
    const swapped = changed(model, (old, name) => {
      const { shape } = model.parameters[name]
      const block = isRouter(name) ? 1 : shape[2] * shape[3]
      return old.map((_, i) => old[(Math.floor(i / block) % 2 ? -block : block) + i])
    })
    expect(gap(await logitsOf(swapped, tasks(0, 1)), await logitsOf(model, tasks(0, 1)))).toBeLessThan(1e-5)
  })

  it('with all logits zero is the average of its skills, which is where MHR-mu begins', async () => {
    const trained = noisy(await mhr(base, { ...few, skills: 3, splits: 4, tasks: 3 }))
    const average = await mhr(base, { inventory: trained, tune: 'average' })
    const zero = withRows(trained, () => [0, 0, 0])
    const inputs = tasks(0, 2)
    expect(gap(await logitsOf(average), await logitsOf(zero, inputs))).toBeLessThan(1e-5)
    expect(gap(await logitsOf(average), await logitsOf(trained, inputs))).toBeGreaterThan(1e-4)
    const folder = join(scratch.path, 'average')
    await exportLora(average, folder)
    const exported = await loadAdapter(base, folder)
    expect(exported.plan.method.peftType).toBe('LORA')
    expect(exported.plan.options).toMatchObject({ rank: 4, alpha: 1 })
    expect(gap(await logitsOf(exported), await logitsOf(average))).toBeLessThan(1e-5)
  })

  it('average: S tied copies under SGD learn as the one LoRA does at a rate S times lower', async () => {
    const S = 3
    const options = { ...few, skills: S, splits: 1, rank: 2, tasks: 1 }
    const start = withRows(noisy(await mhr(base, options)), () => [0, 0, 0])
    const tied = changed(start, (old, name) => {
      if (isRouter(name)) return old
      const size = old.length / S
      return old.map((_, i) => [0, 1, 2].reduce((sum, s) => sum + old[s * size + (i % size)], 0) / S)
    })
    const average = await mhr(base, { inventory: tied, tune: 'average' })
    const learn = async (model: AdaptedModel, learningRate: number): Promise<Float64Array> => {
      const moves = (name: string): boolean => !isRouter(name)
      const objectives = [{ loss: modelLoss(model), optimizer: sgd(), moves }]
      return logitsOf((await fit(model, endless(batch), { steps: 4, learningRate, objectives })).model)
    }
    const [copies, one] = [await learn(tied, 0.05 * S), await learn(average, 0.05)]
    expect(gap(copies, one)).toBeLessThan(1e-5)
    expect(gap(one, await logitsOf(average))).toBeGreaterThan(1e-3)
  })

  it('with one skill is one LoRA with alpha 1, whatever the task', async () => {
    const model = noisy(await mhr(base, { ...few, skills: 1, splits: 4, rank: 2, tasks: 2, task: 1 }))
    const folder = join(scratch.path, 'one-skill')
    await exportLora(model, folder)
    const reference = await loadAdapter(base, folder)
    expect(reference.plan.options).toMatchObject({ rank: 2, alpha: 1 })
    for (const task of [0, 1])
      expect(gap(await logitsOf(model, tasks(task, task)), await logitsOf(reference))).toBeLessThan(1e-5)
  })

  it('gives the rows of other tasks no gradient, and learns routers at a rate of their own', async () => {
    const model = noisy(await mhr(base, { ...few, skills: 2, splits: 2, tasks: 3 }))
    type Inputs = { parameters: Record<string, Tensor>; batch: Record<string, Tensor> }
    const program = await compile(
      ({ parameters, batch }: Inputs) =>
        valueAndGrad((p: Record<string, Tensor>) => modelLoss(model)(p, batch, {}))(parameters).grads,
      { parameters: { ...model.parameters }, batch: { ...batch, ...tasks(1, 1) } },
    )
    const given = { parameters: { ...model.parameters }, batch: { ...batch, ...tasks(1, 1) } }
    const grads = (await program.run(given)) as Record<string, Value>
    for (const name of Object.keys(grads).filter(isRouter)) {
      const g = toNumbers(grads[name])
      expect([...g.slice(0, 4), ...g.slice(8)]).toEqual(new Array(8).fill(0))
      expect(g.slice(4, 8).some((x) => Math.abs(x) > 1e-6)).toBe(true)
    }
    const step = { steps: 1, learningRate: 1e-3, optimizer: sgd() }
    const after = (await fit(model, endless({ ...batch, ...tasks(1, 1) }), step)).model
    for (const [name, g] of Object.entries(grads)) {
      const rate = isRouter(name) ? 0.1 : 1e-3
      const [old, now] = [model, after].map(({ parameters }) => toNumbers(parameters[name]))
      const expected = old.map((x, i) => x - rate * toNumbers(g)[i])
      expect(gap(now, expected), name).toBeLessThan(1e-6)
    }
  })

  it('MHR-z moves routers alone, MHR-mu everything but them', async () => {
    const inventory = noisy(await mhr(base, { ...few, skills: 2, splits: 2, tasks: 2 }))
    for (const tune of ['routing', 'average'] as const) {
      const start = await mhr(base, { inventory, tune })
      const { model } = await fit(start, endless(batch), { steps: 2, learningRate: 1e-2 })
      for (const [name, v] of Object.entries(model.parameters))
        expect(gap(toNumbers(v), toNumbers(start.parameters[name])) > 0, `${tune} ${name}`).toBe(
          isRouter(name) === (tune === 'routing'),
        )
    }
  })

  it('begins with the skills of a saved inventory, its own or one of Poly, and a fresh row', async () => {
    for (const method of [mhr, poly]) {
      const inventory = noisy(await method(base, { ...few, skills: 2, splits: 2, tasks: 3 }))
      const folder = join(scratch.path, `inventory-${method.peftType}`)
      await inventory.save(folder)
      const model = await mhr(base, { inventory: folder, tune: 'routing' })
      for (const [name, { data, shape }] of Object.entries(model.parameters))
        if (isRouter(name)) expect(shape).toEqual([1, 4])
        else expect([...data]).toEqual([...inventory.parameters[name].data])
    }
  })

  it('refuses a task that there is not before a step or an evaluation is taken, and says which row', async () => {
    const model = await mhr(base, { ...few, tasks: 3 })
    const wrong = { ...batch, ...tasks(0, 3) }
    const told = {
      code: 'NoSuchTask',
      message: expect.stringContaining('row 1 of the batch is of task 3: there are 3 tasks') as string,
    }
    await expect(fit(model, endless(wrong), { steps: 1 })).rejects.toMatchObject(told)
    await expect(evaluate(model, () => [wrong])).rejects.toMatchObject(told)
    await expect(evaluate(model, () => [{ ...batch, ...tasks(-1, 0) }])).rejects.toThrow(/row 0 .* no task/)
    await expect(evaluate(await poly(base, { tasks: 3 }), () => [wrong])).rejects.toMatchObject({
      code: 'NoSuchTask',
    })
  })

  it('refuses a batch that names no task, and an export of no task, where there are several', async () => {
    const model = await mhr(base, { ...few, tasks: 2 })
    await expect(fit(model, endless(batch), { steps: 1 })).rejects.toMatchObject({ code: 'NoTask' })
    await expect(exportLora(model, join(scratch.path, 'none'))).rejects.toMatchObject({ code: 'NoTask' })
  })

  it('refuses splits that do not divide, tuning of what is not there, and inventories that are none', async () => {
    await expect(mhr(base, { splits: 5 })).rejects.toThrow(/5 splits do not divide .*q_proj.* 32 x 32/)
    await expect(mhr(base, { tune: 'routing' })).rejects.toMatchObject({ code: 'NoInventory' })
    await expect(mhr(base, { inventory: await mhr(base, few), tune: 'average' })).rejects.toMatchObject({
      code: 'UntrainedInventory',
    })
    const folder = join(scratch.path, 'lora')
    await (await lora(base)).save(folder)
    await expect(mhr(base, { inventory: folder })).rejects.toThrow(/is a LORA adapter/)
  })
})
