import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { changed, countOf, gap, logitsOf, noisy } from '../../../test/adapter.js'
import { goldenFolder } from '../../../test/golden.js'
import { scratchFolder } from '../../../test/tiny.js'
import { type Checkpoint, open } from '../../checkpoint/index.js'
import { type Model, openModel } from '../../models/index.js'
import { t5 } from '../../models/t5.js'
import { Stream } from '../../random/index.js'
import { compile, grad, type Tensor, toNumbers, type Value, valueOf } from '../../tensor/index.js'
import { fit, isMoved, modelLoss } from '../../train/index.js'
import { compacter, loadAdapter, taskOrder, vlAdapter, type VlAdapterOptions, withVision } from '../index.js'
import type { AdaptedModel } from '../core/spec.js'
import { maxOf } from '../../tensor/numbers.js'
import { sizeOf } from '../../tensor/shape.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
let base: Checkpoint
let seeing: Model
beforeAll(async () => {
  scratch = await scratchFolder()
  base = await open(goldenFolder('t5'))
  seeing = withVision(await openModel(base), { channels: 6 })
})
afterAll(async () => {
  await base.close()
  await scratch.remove()
})

const [d, b] = [32, 4]
/** Two blocks with two parts, two with three. */
const places = 2 * 2 + 2 * 3
const norms = (2 * 2 + 1 + 2 * 3 + 1) * d
const tasks = 3

const decoderIds = valueOf([0, 4, 5, 6, 0, 9], [2, 3], 'int32')
const random = (seed: string, shape: readonly number[]): Value => {
  const stream = new Stream(seed)
  const size = sizeOf(shape)
  return valueOf(
    Array.from({ length: size }, () => stream.normal()),
    [...shape],
  )
}
const ofTasks = (...ids: number[]): Value => valueOf(ids, [ids.length], 'int32')
const seen = (model: Model, more: Record<string, Value> = {}): Promise<Float64Array> =>
  logitsOf(model, { decoderIds, ...more })

const options = (sharing: VlAdapterOptions['sharing'], more: Partial<VlAdapterOptions> = {}) => ({
  sharing,
  tasks,
  norms: false,
  ...more,
})

describe('the numbers of VL-Adapter', () => {
  const [first, second] = [d * b + b, d * b + d]
  it.each([
    ['single', first + second],
    ['half', first + tasks * second],
    ['multiple', tasks * (first + second)],
  ] as const)('%s: at each place', async (sharing, each) => {
    expect(countOf(await vlAdapter(base, options(sharing)))).toBe(places * each)
    expect(countOf(await vlAdapter(base, options(sharing, { norms: true })))).toBe(places * each + norms)
  })

  it('hyper: of one network, and an embedding a place and a task', async () => {
    const [e, z] = [16, 8]
    const network = 2 * (2 * z * e) + z * 2 * z + z * (2 * d * b + b + d)
    expect(countOf(await vlAdapter(base, options('hyper')))).toBe(places * e + tasks * e + network)
  })

  it('with Kronecker sums of n = 2 as the PHM adapter', async () => {
    const targets = (await vlAdapter(base)).plan.sites.map(({ site }) => site.name)
    const phm = { targets, slow: 'own', rank: 'full', divisions: 2, bottleneck: b, norms: false } as const
    expect(countOf(await compacter(base, phm))).toBe(places * ((2 * d * b) / 2 + b + d + 2 * 8))
  })

  it('are those of the widths of BART-base: 30 places of 148,320', async () => {
    const config = { num_layers: 6, d_model: 768, d_kv: 64, d_ff: 3072, num_heads: 12, vocab_size: 50_265 }
    const checkpoint = { folder: 'as wide as BART-base', config }
    const large = {
      architecture: t5,
      config: t5.readConfig(config),
      checkpoint,
      parameters: {},
    } as unknown as Model
    expect(await vlAdapter.count(large, { norms: false })).toBe(30 * 148_320)
    expect(await vlAdapter.count(large, { norms: false, tasks: 4, sharing: 'multiple' })).toBe(
      4 * 30 * 148_320,
    )
    const visual = 2048 * 768 + 768 + 2 * 768 + 5 * 768 + 2 * 768
    const withNorms = await vlAdapter.count(withVision(large, { channels: 2048 }))
    expect(withNorms).toBe(30 * 148_320 + visual + (2 * 6 + 1 + 3 * 6 + 1) * 768)
  })
})

describe('sharing', () => {
  it.each(['single', 'half', 'multiple', 'hyper'] as const)(
    '%s: changes nothing at first',
    async (sharing) => {
      const taskIds = ofTasks(0, 2)
      const plain = await seen(await openModel(base))
      expect(gap(await seen(await vlAdapter(base, options(sharing)), { taskIds }), plain)).toBeLessThan(1e-5)
      const official = await vlAdapter(base, options(sharing, { initial: 'random' }))
      expect(gap(await seen(official, { taskIds }), plain)).toBeGreaterThan(1e-4)
    },
  )

  it('of one task is the same however it is shared, step by step', async () => {
    const ids = valueOf([3, 1, 4, 1], [1, 4], 'int32')
    const data = () => [{ ids, labels: ids }]
    const trained = await Promise.all(
      (['single', 'half', 'multiple'] as const).map(async (sharing) => {
        const start = await vlAdapter(base, { sharing, norms: false })
        const { model } = await fit(start, data, { steps: 3, learningRate: 1e-2 })
        return Object.entries(model.parameters).map(([name, v]) => [name, [...v.data]])
      }),
    )
    expect(trained[1]).toEqual(trained[0])
    expect(trained[2]).toEqual(trained[0])
  })

  it('multiple, half, hyper: a row of a batch is as in a batch of its own task', async () => {
    for (const sharing of ['half', 'multiple', 'hyper'] as const) {
      const model = noisy(await vlAdapter(base, options(sharing)))
      const [mixed, zero, two] = await Promise.all(
        [ofTasks(0, 2), ofTasks(0, 0), ofTasks(2, 2)].map((taskIds) => seen(model, { taskIds })),
      )
      const half = mixed.length / 2
      expect(gap(mixed.subarray(0, half), zero.subarray(0, half))).toBeLessThan(1e-5)
      expect(gap(mixed.subarray(half), two.subarray(half))).toBeLessThan(1e-5)
      expect(gap(zero, two)).toBeGreaterThan(1e-4)
    }
  })

  it('multiple: a step on one task leaves the others as they were, single: it does not', async () => {
    const ids = valueOf([3, 1, 4, 1], [1, 4], 'int32')
    // A step on task 0 first: its momentum must not move task 0 in the second.
    const batch = (task: number) => ({ ids, labels: ids, taskIds: ofTasks(task) })
    const after = async (sharing: 'single' | 'multiple') => {
      const start = noisy(await vlAdapter(base, options(sharing)))
      const states: AdaptedModel[] = []
      const hook = ({ parameters }: { parameters: Record<string, Value> }): void =>
        void states.push(start.with({ ...parameters }))
      await fit(start, () => [batch(0), batch(1)], { steps: 2, learningRate: 1e-2, hook })
      const other = { taskIds: ofTasks(0, 2) }
      return Promise.all(states.map((model) => seen(model, other)))
    }
    const [before, multiple] = await after('multiple')
    expect(multiple).toEqual(before)
    const [shared, single] = await after('single')
    expect(gap(single, shared)).toBeGreaterThan(1e-4)
  })

  it('half: the shared gradient is the sum over tasks, and a second projection has none of other tasks', async () => {
    const model = noisy(await vlAdapter(base, options('half')))
    const [mixed, zero, two] = await Promise.all([
      gradientsOf(model, [0, 2]),
      gradientsOf(model, [0]),
      gradientsOf(model, [2], 1),
    ])
    for (const [name, g] of Object.entries(mixed)) {
      const [a, x, y] = [g, zero[name], two[name]].map(toNumbers)
      // The mean over two rows is half the sum of both.
      expect(
        gap(
          a,
          a.map((_, i) => (x[i] + y[i]) / 2),
        ),
      ).toBeLessThan(1e-5)
      if (!name.includes('adapter_up')) continue
      const each = x.length / tasks
      expect(maxOf(x.subarray(each).map(Math.abs))).toBe(0)
    }
  })

  it('saved and loaded is the same', async () => {
    for (const sharing of ['half', 'hyper'] as const) {
      const model = noisy(await vlAdapter(seeing, options(sharing, { norms: true })))
      const folder = join(scratch.path, sharing)
      await model.save(folder)
      const loaded = await loadAdapter(seeing, folder)
      const pixels = random('pixels', [2, 6, 2, 2])
      const taskIds = ofTasks(1, 2)
      expect(await seen(loaded, { pixels, taskIds })).toEqual(await seen(model, { pixels, taskIds }))
    }
  })
})

const gradientsOf = async (model: AdaptedModel, ids: number[], from = 0): Promise<Record<string, Value>> => {
  const rows = [
    [3, 1, 4, 1],
    [5, 9, 2, 6],
  ].slice(from, from + ids.length)
  const text = valueOf(rows.flat(), [rows.length, 4], 'int32')
  const batch = { ids: text, labels: text, taskIds: ofTasks(...ids) }
  const program = await compile(
    ({ p, batch }: { p: Record<string, Tensor>; batch: Record<string, Tensor> }) =>
      grad((p: Record<string, Tensor>) => modelLoss(model)(p, batch, {}).loss)(p),
    { p: { ...model.parameters }, batch },
  )
  return program.run({ p: { ...model.parameters }, batch } as never)
}

describe('a text model that sees', () => {
  it('is the text model where there is no image, and another where there is', async () => {
    const plain = await seen(await openModel(base))
    expect(await seen(seeing)).toEqual(plain)
    expect(gap(await seen(seeing, { pixels: random('pixels', [2, 6, 2, 2]) }), plain)).toBeGreaterThan(1e-3)
    expect(gap(await seen(seeing, { pixels: random('pixels', [2, 12, 2, 2]) }), plain)).toBeGreaterThan(1e-3)
  })

  it('takes regions in any order: where they are is in their boxes alone', async () => {
    // Without boxes, a turned image is the same set of regions.
    const blind = seeing.with(
      Object.fromEntries(
        Object.entries(seeing.parameters).map(([name, v]) =>
          name === 'visual.boxes.weight'
            ? [name, valueOf(new Array<number>(v.data.length).fill(0), v.shape)]
            : [name, v],
        ),
      ),
    )
    const pixels = random('pixels', [2, 6, 2, 2])
    const turned = valueOf(
      Array.from({ length: pixels.data.length }, (_, i) =>
        Number(pixels.data[4 * Math.floor(i / 4) + 3 - (i % 4)]),
      ),
      [2, 6, 2, 2],
    )
    expect(gap(await seen(blind, { pixels }), await seen(blind, { pixels: turned }))).toBeLessThan(1e-5)
    expect(gap(await seen(seeing, { pixels }), await seen(seeing, { pixels: turned }))).toBeGreaterThan(1e-4)
  })

  it('adapted, trains adapters, norms and the visual embedding, and leaves the rest', async () => {
    const start = await vlAdapter(seeing)
    const trains = Object.keys(start.parameters).filter(isMoved(start))
    for (const name of trains) expect(name).toMatch(/adapter_(up|down)|^visual\.|norm\.weight$/)
    const visual = trains.filter((name) => name.startsWith('visual.'))
    expect(visual).toHaveLength(7)
    const ids = valueOf([3, 1, 4, 1], [1, 4], 'int32')
    const data = () => [{ ids, labels: ids, pixels: random('pixels', [1, 6, 2, 2]) }]
    const { model } = await fit(start, data, { steps: 1, learningRate: 1e-2 })
    for (const name of visual.filter((n) => !n.includes('images')))
      expect([...model.parameters[name].data]).not.toEqual([...start.parameters[name].data])
    const silent = changed(model as AdaptedModel, (old, name) =>
      name.includes('adapter_up') ? old.fill(0) : toNumbers(start.parameters[name]),
    )
    expect(await seen(silent)).toEqual(await seen(await openModel(base)))
  })

  it('refuses features of other channels, more images than it knows, and a base that decodes alone', async () => {
    for (const channels of [5, 18])
      await expect(seen(seeing, { pixels: random('pixels', [2, channels, 2, 2]) })).rejects.toMatchObject({
        code: 'BadFeatures',
      })
    await using llama = await open(goldenFolder('llama'))
    const decoder = await openModel(llama)
    expect(() => withVision(decoder, { channels: 6 })).toThrow(/llama is no encoder-decoder/)
  })
})

describe('an epoch of tasks', () => {
  const given = { vqa: { prefix: 'vqa:', batches: 7 }, pair: { prefix: 'nlvr:', batches: 2 } }
  const countIn = (order: string[], task: string): number => order.filter((name) => name === task).length

  it('has each task as often as it has batches, in an order of the epoch', () => {
    const order = taskOrder(given, 3)
    expect([countIn(order, 'vqa'), countIn(order, 'pair')]).toEqual([7, 2])
    expect(taskOrder(given, 3)).toEqual(order)
    const orders = new Set(Array.from({ length: 8 }, (_, epoch) => taskOrder(given, epoch).join()))
    expect(orders.size).toBeGreaterThan(3)
    const balanced = taskOrder(given, 3, { balanced: true })
    expect([countIn(balanced, 'vqa'), countIn(balanced, 'pair')]).toEqual([7, 7])
  })

  it('refuses two tasks that begin alike', () => {
    expect(() => taskOrder({ ...given, gqa: { prefix: 'vqa:', batches: 1 } }, 0)).toThrow(
      /vqa and gqa both begin with "vqa:"/,
    )
  })
})

describe('what it refuses', () => {
  it('a reduction that does not divide, places that there are not, and batches that name no task', async () => {
    await expect(vlAdapter(base, { reduction: 5 })).rejects.toMatchObject({ code: 'BadReduction' })
    await using llama = await open(goldenFolder('llama'))
    await expect(vlAdapter(llama, { targets: ['EncDecAttention.o'] })).rejects.toMatchObject({
      code: 'NoSuchModule',
    })
    await expect(seen(await vlAdapter(base, options('multiple')))).rejects.toMatchObject({ code: 'NoTask' })
    const targets = ['SelfAttention.o', 'SelfAttention.q', 'DenseReluDense.wi']
    await expect(vlAdapter(base, { sharing: 'hyper', bottleneck: b, targets })).rejects.toMatchObject({
      code: 'UnequalPlaces',
    })
  })
})
