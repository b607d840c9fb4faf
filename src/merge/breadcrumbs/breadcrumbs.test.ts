/** @file The exact properties of breadcrumbs, as a recipe, as masks, and as files that compose. */
import fc from 'fast-check'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { tensorsOf } from '../../../test/in-memory.js'
import { scratchFolder } from '../../../test/tiny.js'
import { weftWith } from '../../../test/weft.js'
import { type Checkpoint, diskFiles, open, openFile } from '../../checkpoint/index.js'
import { createModel } from '../../models/index.js'
import { keyOf, normal } from '../../random/index.js'
import { toNumbers, type Value, valueOf } from '../../tensor/index.js'
import { breadcrumbsOf } from './breadcrumbs.js'
import { composeBreadcrumbs, writeBreadcrumbs } from './store.js'
import { mergeRecipe } from '../tensor-methods/recipes.js'
import { maxOf, minOf } from '../../tensor/numbers.js'
import { sizeOf } from '../../tensor/shape.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
const at = (...names: string[]): string => join(scratch.path, ...names)
const config = { model_type: 'weft_mlp', sizes: [8, 16, 4], hidden_act: 'relu' }
let base: Checkpoint
let tuned: Checkpoint[]

beforeAll(async () => {
  scratch = await scratchFolder()
  const model = await createModel(config, { seed: 2 })
  await model.save(at('base'))
  base = await open(at('base'))
  tuned = []
  for (const task of [0, 1, 2]) {
    const moved = Object.entries(model.parameters).map(([name, v]): [string, Value] => {
      const noise = new Float32Array(v.data.length)
      normal(noise, keyOf(`${task} ${name}`))
      return [
        name,
        valueOf(
          Float32Array.from(v.data as Float32Array, (x, i) => x + 0.1 * noise[i]),
          v.shape,
        ),
      ]
    })
    await model.with(Object.fromEntries(moved)).save(at(`task-${task}`))
    tuned.push(await open(at(`task-${task}`)))
  }
})
afterAll(async () => {
  await Promise.all([base, ...tuned].map((checkpoint) => checkpoint.close()))
  await scratch.remove()
})

let made = 0
const read = async (folder: string): Promise<Record<string, Value>> => {
  await using checkpoint = await open(folder)
  return await tensorsOf(checkpoint)
}

/** What a recipe makes of the tasks. */
const recipe = async (
  method: string,
  parameters: Record<string, number | boolean>,
  tasks: readonly number[] = [0, 1, 2],
): Promise<Record<string, Value>> => {
  const folder = at(`recipe-${made++}`)
  const models = tasks.map((task) => ({ model: at(`task-${task}`), parameters: { weight: 0.3 } }))
  await mergeRecipe({ merge_method: method, base_model: at('base'), models, parameters }, folder)
  return read(folder)
}

const composed = async (
  paths: readonly string[],
  scale: number | readonly number[],
): Promise<Record<string, Value>> => {
  const folder = at(`composed-${made++}`)
  await composeBreadcrumbs(base, paths, folder, { scale })
  return read(folder)
}

const crumbs = async (task: number, options: Parameters<typeof writeBreadcrumbs>[3]): Promise<string> => {
  const path = at(`crumbs-${made++}.safetensors`)
  await writeBreadcrumbs(base, tuned[task], path, options)
  return path
}

const expectClose = (a: Record<string, Value>, b: Record<string, Value>, tolerance = 1e-6): void => {
  expect(Object.keys(a).sort()).toEqual(Object.keys(b).sort())
  for (const [name, v] of Object.entries(a)) {
    const other = toNumbers(b[name])
    toNumbers(v).forEach((x, i) => expect(Math.abs(x - other[i])).toBeLessThanOrEqual(tolerance))
  }
}

const changes = fc.array(fc.integer({ min: -9, max: 9 }), { minLength: 4, maxLength: 40 })
const share = fc.double({ min: 0, max: 0.5, noNaN: true })

describe('the breadcrumbs of a tensor', () => {
  const of = (list: readonly number[], keep: number, removeTop: number): number[] => [
    ...breadcrumbsOf(Float32Array.from(list), [list.length], { keep, removeTop }),
  ]

  it('are the largest that are left when the very largest are gone, equal ones by index', () => {
    fc.assert(
      fc.property(changes, share, share, (list, keep, removeTop) => {
        const [kept, top] = [Math.floor(keep * list.length), Math.floor(removeTop * list.length)]
        fc.pre(kept > 0)
        const size = (i: number): number => Math.abs(list[i])
        const falling = [...list.keys()].sort((a, b) => size(b) - size(a) || b - a).slice(top)
        const rest = falling.sort((a, b) => size(b) - size(a) || a - b).slice(0, kept)
        expect(of(list, keep, removeTop)).toEqual(list.map((x, i) => (rest.includes(i) ? x : 0)))
      }),
    )
  })

  it('are exactly floor(keep n) of n different changes, between those removed and those dropped', () => {
    const list = Float32Array.from({ length: 1000 }, (_, i) => (i % 2 ? 1 : -1) * (((i * 617) % 1000) + 1))
    const out = breadcrumbsOf(list, [20, 50], { keep: 0.15, removeTop: 0.006 })
    const sizes = [...out].filter((x) => x !== 0).map(Math.abs)
    expect(sizes.length).toBe(150)
    expect([minOf(sizes), maxOf(sizes)]).toEqual([845, 994])
  })

  it('grow with the changes, and in one row are those of the tensor', () => {
    const list = Float32Array.from({ length: 60 }, (_, i) => Math.sin(7 * i))
    const options = { keep: 0.2, removeTop: 0.05 }
    const plain = breadcrumbsOf(list, [60], options)
    expect(
      breadcrumbsOf(
        list.map((x) => 4 * x),
        [60],
        options,
      ),
    ).toEqual(plain.map((x) => 4 * x))
    expect(breadcrumbsOf(list, [1, 60], { ...options, granularity: 'row' })).toEqual(plain)
    const rows = breadcrumbsOf(list, [3, 20], { ...options, granularity: 'row' })
    for (const row of [0, 1, 2])
      expect(rows.slice(20 * row, 20 * row + 20).filter((x) => x !== 0).length).toBe(4)
  })

  it('are whole where nothing is to be ranked', () => {
    expect(breadcrumbsOf(Float32Array.of(3), [])).toEqual(Float32Array.of(3))
    expect(breadcrumbsOf(Float32Array.of(1, 2), [2], { maskVectors: false })).toEqual(Float32Array.of(1, 2))
    expect(breadcrumbsOf(Float32Array.of(1, 2), [2], { keep: 1, removeTop: 0 })).toEqual(
      Float32Array.of(1, 2),
    )
  })

  it('are refused where there cannot be any', () => {
    expect(() => breadcrumbsOf(Float32Array.of(1, 2), [2], {}, 'head.bias')).toThrow(
      /head.bias \[2\].*not one element/,
    )
    expect(() => of([1, 2, 3, 4], 0.9, 0.2)).toThrow(/at most 1/)
    expect(() => of([1, 2, 3, 4], -0.1, 0.2)).toThrow(/at most 1/)
  })
})

describe('the recipe', () => {
  it('that keeps everything is task arithmetic; with one task and a weight of 1 that task', async () => {
    const whole = { density: 1, gamma: 0 }
    expectClose(await recipe('breadcrumbs', whole), await recipe('task_arithmetic', {}), 0)
    const one = at('one')
    const models = [{ model: at('task-0'), parameters: { weight: 1 } }]
    await mergeRecipe({ merge_method: 'breadcrumbs', base_model: at('base'), models, parameters: whole }, one)
    expectClose(await read(one), await tensorsOf(tuned[0]))
  })

  it('makes what files of breadcrumbs make', async () => {
    // Of the smallest tensor, the head's bias, one of four goes.
    const paths = await Promise.all([0, 1, 2].map((task) => crumbs(task, { keep: 0.5, removeTop: 0.25 })))
    expectClose(await composed(paths, 0.3), await recipe('breadcrumbs', { density: 0.5, gamma: 0.25 }))
  })

  it('without removal is the trimming of TIES', async () => {
    const path = await crumbs(0, { keep: 0.5, removeTop: 0 })
    const trimmed = await recipe('ties', { density: 0.5, lambda: 0.3 }, [0])
    expectClose(await composed([path], 0.3), trimmed)
  })

  it('does not depend on the order of tasks, and masks each by itself', async () => {
    const parameters = { density: 0.5, gamma: 0.25 }
    expectClose(await recipe('breadcrumbs', parameters, [2, 0, 1]), await recipe('breadcrumbs', parameters))
  })
})

describe("the paper's masks", () => {
  /** What breadcrumbs of the first task make of the base, by the definition. */
  const defined = async (options: Parameters<typeof writeBreadcrumbs>[3]): Promise<Record<string, Value>> => {
    const from = await tensorsOf(base)
    const to = await tensorsOf(tuned[0])
    return Object.fromEntries(
      Object.entries(from).map(([name, v]) => {
        const before = v.data as Float32Array
        const delta = (to[name].data as Float32Array).map((x, i) => x - before[i])
        const trail = breadcrumbsOf(delta, v.shape, options, name)
        return [
          name,
          valueOf(
            before.map((x, i) => x + 0.3 * trail[i]),
            v.shape,
          ),
        ]
      }),
    )
  }

  it.each([
    ['tensor', true],
    ['tensor', false],
    ['row', true],
    ['row', false],
  ] as const)('of each %s, vectors masked: %s, are those of the definition', async (granularity, vectors) => {
    for (const [keep, removeTop] of [
      [0.5, 0.25],
      [0.3, 0],
    ]) {
      const parameters = {
        density: keep,
        gamma: removeTop,
        paper_masks: true,
        row_wise: granularity === 'row',
        mask_vectors: vectors,
      }
      const options = { keep, removeTop, granularity, maskVectors: vectors }
      expectClose(await recipe('breadcrumbs', parameters, [0]), await defined(options))
    }
  })

  it('without removal are the trimming of TIES, which those of mergekit are not', async () => {
    const shares = { density: 0.5, gamma: 0 }
    const trimmed = await recipe('ties', { density: 0.5, lambda: 0.3 }, [0])
    expectClose(await recipe('breadcrumbs', { ...shares, paper_masks: true }, [0]), trimmed)
    expectClose(await recipe('breadcrumbs', shares, [0]), await tensorsOf(base))
  })

  it('leave something of every tensor, however small', async () => {
    const paper = { density: 0.15, gamma: 0.006, paper_masks: true }
    const merged = await recipe('breadcrumbs', paper, [0])
    const before = await tensorsOf(base)
    for (const [name, v] of Object.entries(merged)) {
      const changed = toNumbers(v).filter((x, i) => x !== toNumbers(before[name])[i]).length
      expect(changed, name).toBe(Math.max(1, Math.floor(0.15 * v.data.length)))
    }
  })

  it('are refused where they leave out more than there is', async () => {
    await expect(recipe('breadcrumbs', { density: 0.9, gamma: 0.2, paper_masks: true })).rejects.toThrow(
      /density 0.9 and gamma 0.2: .*at most 1/,
    )
  })

  it("are what the method's name alone asks for; an option gives mergekit's", async () => {
    const run = async (...flags: string[]): Promise<Record<string, Value>> => {
      const out = at(`named-${made++}`)
      const argv = ['--method', 'breadcrumbs', '--base', at('base'), '--weight', '0.3', '--out', out]
      const { code } = await weftWith({ WEFT_HOME: at('home') }, ['merge', at('task-0'), ...argv, ...flags])
      expect(code).toBe(0)
      return read(out)
    }
    const shares = { density: 0.15, gamma: 0.006 }
    expectClose(await run(), await recipe('breadcrumbs', { ...shares, paper_masks: true }, [0]))
    expectClose(await run('-p', 'paper_masks=false'), await recipe('breadcrumbs', shares, [0]))
    const plain = await recipe('ties', { density: 0.5, lambda: 0.3 }, [0])
    expectClose(await run('-p', 'gamma=0', '-p', 'density=0.5'), plain)
  })
})

describe('files of breadcrumbs', () => {
  it('give the base back bit for bit where nothing is added', async () => {
    const path = await crumbs(0, { keep: 0.25 })
    expectClose(await composed([path], 0), await tensorsOf(base), 0)
    expectClose(await composed([], 0.3), await tensorsOf(base), 0)
    const same = at('same.safetensors')
    await writeBreadcrumbs(base, base, same)
    expectClose(await composed([same], 1), await tensorsOf(base), 0)
  })

  it('are added and taken away', async () => {
    const [a, b] = await Promise.all([0, 1].map((task) => crumbs(task, { keep: 0.5 })))
    expectClose(await composed([a, b, b], [1, 1, -1]), await composed([a], 1))
  })

  it('hold the numbers of what is kept, and a bit for each', async () => {
    const path = await crumbs(0, { keep: 0.25, removeTop: 0.05 })
    await using file = await openFile(diskFiles(scratch.path), path.slice(scratch.path.length + 1))
    for (const name of base.names()) {
      const count = sizeOf(base.info(name).shape)
      expect(file.info(`${name}.mask`).length).toBe(Math.ceil(count / 8))
      expect(file.info(`${name}.values`).length).toBe(4 * Math.floor(0.25 * count))
    }
    expect((await stat(path)).size).toBeLessThan((await stat(at('task-0', 'model.safetensors'))).size)
  })

  it('are refused on another base, and for a model of other tensors', async () => {
    const path = await crumbs(0, { keep: 0.5 })
    await expect(composeBreadcrumbs(tuned[1], [path], at('foreign'))).rejects.toThrow(/another base/)
    await (await createModel({ ...config, sizes: [8, 16, 5] })).save(at('other'))
    await using other = await open(at('other'))
    await expect(writeBreadcrumbs(base, other, at('x.safetensors'))).rejects.toThrow(/head.bias, head.weight/)
    const exclude = (name: string): boolean => name.startsWith('head.')
    await writeBreadcrumbs(base, other, at('y.safetensors'), { exclude, keep: 0.5 })
    expect((await stat(at('y.safetensors'))).isFile()).toBe(true)
  })

  it('are written and put together from the command line, with fine-tunings that are masked on the way', async () => {
    const weft = (...argv: string[]) => weftWith({ WEFT_HOME: at('home') }, argv)
    const masks = ['--keep', '0.5', '--remove-top', '0.1', '--granularity', 'row', '--no-mask-vectors']
    for (const task of [0, 1]) {
      const models = [at('base'), at(`task-${task}`)]
      const out = ['--out', at(`written-${task}`)]
      expect(await weft('extract', ...models, '--as', 'breadcrumbs', ...masks, ...out)).toMatchObject({
        code: 0,
      })
    }
    const files = [0, 1].map((task) => at(`written-${task}`, 'breadcrumbs.safetensors'))
    const merge = async (out: string, inputs: readonly string[], ...options: string[]) => {
      const argv = ['--method', 'breadcrumb-files', '--base', at('base'), ...inputs, '--out', at(out)]
      return weft('merge', ...argv, ...options.flatMap((option) => ['-p', option]))
    }
    const own = ['keep=0.5', 'removeTop=0.1', 'granularity=row', 'maskVectors=false']
    expect(await merge('of-files', files)).toMatchObject({ code: 0 })
    expect(await merge('of-both', [files[0], at('task-1')], ...own)).toMatchObject({ code: 0 })
    expect(await merge('of-models', [at('task-0'), at('task-1')], ...own)).toMatchObject({ code: 0 })
    const shares = { density: 0.5, gamma: 0.1, paper_masks: true, row_wise: true, mask_vectors: false }
    const dense = await recipe('breadcrumbs', shares, [0, 1])
    for (const out of ['of-files', 'of-both', 'of-models']) expectClose(await read(at(out)), dense)
    const left = [at('base'), at('task-0'), '--as', 'breadcrumbs', '--keep', '0.5', '--exclude', 'head']
    expect(await weft('extract', ...left, '--out', at('left'))).toMatchObject({ code: 0 })
    await using trail = await open(at('left', 'breadcrumbs.safetensors'))
    expect(trail.names().filter((name) => name.startsWith('head'))).toEqual([])
    expect(trail.names().length).toBeGreaterThan(0)
    const foreign = await weft(
      ...['merge', '--method', 'breadcrumb-files', '--base', at('task-2'), files[0], '--out', at('no')],
    )
    expect(foreign).toMatchObject({ code: 3, err: expect.stringContaining('another base') })
    const wrong = await weft(
      'extract',
      at('base'),
      at('task-0'),
      '--as',
      'breadcrumbs',
      '--rank',
      '2',
      '--out',
      'x',
    )
    expect(wrong).toMatchObject({
      code: 2,
      err: expect.stringContaining('--rank: not taken with --as breadcrumbs'),
    })
  })
})
