import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { changed, countOf, gap, logitsOf, noisy } from '../../../test/adapter.js'
import { goldenFolder } from '../../../test/golden.js'
import { scratchFolder } from '../../../test/tiny.js'
import { weft } from '../../../test/weft.js'
import { opened } from '../../../test/opened.js'
import type { Checkpoint } from '../../checkpoint/index.js'
import { openModel } from '../../models/index.js'
import { toNumbers, valueOf } from '../../tensor/index.js'
import { type AdaptedModel, exportLora, ia3, loadAdapter, mhr } from '../index.js'

let base: Checkpoint
let scratch: Awaited<ReturnType<typeof scratchFolder>>
beforeAll(async () => {
  base = await opened(goldenFolder('llama'))
  scratch = await scratchFolder()
})
afterAll(() => scratch.remove())

const tasks = (...ids: number[]) => ({ taskIds: valueOf(ids, [ids.length], 'int32') })
const few = { skill: 'ia3', targets: ['q_proj', 'v_proj'] } as const
/** Widths of the targets' outputs, over three layers. */
const outputs = 3 * (32 + 16)
const isRouter = (name: string): boolean => name.includes('_router')
const sitesOf = ({ plan }: AdaptedModel): string[] => plan.sites.map(({ site }) => site.name)

describe('an inventory of (IA)³ vectors', () => {
  it('trains S out + T S h numbers a module, and to adapt S out + S h, S h, or out', async () => {
    const [S, h, T] = [3, 4, 5]
    const inventory = noisy(await mhr(base, { ...few, skills: S, splits: h, tasks: T }))
    expect(countOf(inventory)).toBe(S * outputs + 6 * T * S * h)
    const adapting = (tune: 'all' | 'routing' | 'average') => mhr(base, { inventory, tune })
    expect(countOf(await adapting('all'))).toBe(S * outputs + 6 * S * h)
    expect(countOf(await adapting('routing'))).toBe(6 * S * h)
    expect(countOf(await adapting('average'))).toBe(outputs)
  })

  it('is the base before it is trained, for every task', async () => {
    const plain = await logitsOf(await openModel(base))
    const model = await mhr(base, { ...few, tasks: 3 })
    for (const task of [0, 1, 2])
      expect(gap(await logitsOf(model, tasks(task, task)), plain)).toBeLessThan(1e-5)
  })

  it.each(['qwen2', 'gpt2'])(
    'of one skill is one (IA)³ on every output, folded too: %s',
    async (architecture) => {
      const base = await opened(goldenFolder(architecture))
      const model = noisy(await mhr(base, { skill: 'ia3', skills: 1, splits: 2, tasks: 2, task: 1 }))
      const plain = await ia3(base, { targets: sitesOf(model), feedforward: ['none'] })
      expect(sitesOf(plain)).toEqual(sitesOf(model))
      const same = changed(plain, (_, name) => [
        ...toNumbers(model.parameters[name.replace('ia3_l', 'poly_ia3_l')]),
      ])
      for (const task of [0, 1])
        expect(gap(await logitsOf(model, tasks(task, task)), await logitsOf(same))).toBeLessThan(1e-5)
      const folder = join(scratch.path, `folded-${architecture}`)
      await model.fold(folder)
      expect(gap(await logitsOf(await openModel(await opened(folder))), await logitsOf(model))).toBeLessThan(
        2e-5,
      )
    },
  )

  it('stands at keys, values and the factor of the hidden units that no activation is on', async () => {
    const ends = async (architecture: string): Promise<string[]> => {
      const model = await mhr(await opened(goldenFolder(architecture)), { skill: 'ia3' })
      return [...new Set(sitesOf(model).map((name) => name.replace(/^.*\.\d+\./, '')))].sort()
    }
    expect(await ends('llama')).toEqual(['mlp.up_proj', 'self_attn.k_proj', 'self_attn.v_proj'])
    expect(await ends('gpt2')).toEqual(['attn.c_attn', 'mlp.c_fc'])
    expect(await ends('t5')).toContain('DenseReluDense.wi')
  })

  it('mixes the vectors of each part by the row of the task that each row of a batch is of', async () => {
    const model = noisy(await mhr(base, { ...few, skills: 3, splits: 4, tasks: 3 }), 0.5)
    const rows = async (...ids: number[]): Promise<Float64Array[]> => {
      const logits = await logitsOf(model, tasks(...ids))
      return [logits.slice(0, logits.length / 2), logits.slice(logits.length / 2)]
    }
    const [first, second] = await rows(2, 1)
    expect(gap(first, (await rows(2, 2))[0])).toBeLessThan(1e-6)
    expect(gap(second, (await rows(1, 1))[1])).toBeLessThan(1e-6)
    expect(gap(first, (await rows(1, 1))[0])).toBeGreaterThan(1e-4)
  })

  it('with all logits zero is the average of its skills, where MHR-mu begins; it is no LoRA', async () => {
    const trained = noisy(await mhr(base, { ...few, skills: 3, splits: 4, tasks: 3 }))
    const average = await mhr(base, { inventory: trained, tune: 'average' })
    const zero = changed(trained, (old, name) => (isRouter(name) ? old.map(() => 0) : old))
    expect(gap(await logitsOf(average), await logitsOf(zero, tasks(0, 2)))).toBeLessThan(1e-5)
    expect(gap(await logitsOf(average), await logitsOf(trained, tasks(0, 2)))).toBeGreaterThan(1e-4)
    await expect(exportLora(average, join(scratch.path, 'lora'))).rejects.toMatchObject({ code: 'NoLora' })
  })

  it('is saved, opened, and begun from, with its kind of skills', async () => {
    const inventory = noisy(await mhr(base, { ...few, skills: 2, splits: 2, tasks: 3, router: 'block' }))
    const folder = join(scratch.path, 'inventory')
    await inventory.save(folder)
    const loaded = await loadAdapter(base, folder)
    expect(await logitsOf(loaded, tasks(2, 0))).toEqual(await logitsOf(inventory, tasks(2, 0)))
    const model = await mhr(base, { inventory: folder, tune: 'routing' })
    expect(model.plan.options).toMatchObject({ skill: 'ia3', router: 'block' })
    for (const [name, { data }] of Object.entries(model.parameters))
      if (!isRouter(name)) expect([...data]).toEqual([...inventory.parameters[name].data])
    const untrained = await mhr(base, few)
    await expect(mhr(base, { inventory: untrained })).rejects.toMatchObject({ code: 'UntrainedInventory' })
  })

  it('asks splits to divide outputs alone', async () => {
    const wide = { targets: ['down_proj'], skills: 2, splits: 32 }
    await expect(mhr(base, wide)).rejects.toMatchObject({ code: 'BadSplits' })
    expect(countOf(await mhr(base, { ...wide, skill: 'ia3' }))).toBe(3 * (2 * 32 + 2 * 32))
    await expect(mhr(base, { ...few, splits: 5 })).rejects.toMatchObject({ code: 'BadSplits' })
  })

  it('takes no rank on the command line, and nothing that a given inventory decides', async () => {
    const call = ['adapt', 'mhr', goldenFolder('llama'), '--data', 'none.jsonl']
    for (const [flag, ...choice] of [
      ['--rank', '--skill', 'ia3'],
      ['--skills', '--inventory', 'trained'],
      ['--splits', '--inventory', 'trained'],
    ]) {
      const { code, err } = await weft(...call, flag, '2', ...choice)
      expect({ code, err }).toMatchObject({ code: 2, err: expect.stringContaining(`${flag}: not taken`) })
    }
  })
})
