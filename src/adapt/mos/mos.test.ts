import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { countOf, gap, logitsOf, noisy } from '../../../test/adapter.js'
import { goldenFolder } from '../../../test/golden.js'
import { scratchFolder } from '../../../test/tiny.js'
import { opened } from '../../../test/opened.js'
import { type Checkpoint, openFile, diskFiles } from '../../checkpoint/index.js'
import { architectureFor, type Model, openModel } from '../../models/index.js'
import { sitesOf } from '../../models/index.js'
import { compile, type Tensor, toNumbers, type Value, valueAndGrad, valueOf } from '../../tensor/index.js'
import { fit, modelLoss, sgd } from '../../train/index.js'
import { exportLora, loadAdapter, lora, mos, type AdaptedModel } from '../index.js'

let base: Checkpoint
let scratch: Awaited<ReturnType<typeof scratchFolder>>
beforeAll(async () => {
  base = await opened(goldenFolder('llama'))
  scratch = await scratchFolder()
})
afterAll(() => scratch.remove())

/** Tables of a module, and what its group's pools are called. */
const settingsOf = (model: AdaptedModel, i = 0) =>
  model.plan.sites[i].settings as { pools: string[]; tables: [Int32Array, Int32Array]; rank: number }

/** A: [r, in] and B: [out, r] of every module, from the parameters, row by row. */
const assembledBy = (model: AdaptedModel): { name: string; A: number[][]; B: number[][] }[] =>
  model.plan.sites.map(({ site, settings }) => {
    const { pools, tables, rank } = settings as ReturnType<typeof settingsOf>
    const [A, B] = pools.map((pool, side) => {
      const { data, shape } = model.parameters[model.plan.shared[pool].key]
      const l = tables[side].length / rank
      const shard = (row: number): number[] =>
        Array.from(data.subarray(row * shape[1], (row + 1) * shape[1]), Number)
      return Array.from({ length: rank }, (_, j) =>
        [...tables[side].subarray(j * l, (j + 1) * l)].flatMap(shard),
      )
    })
    return { name: site.name, A, B: A[0] && B[0].map((_, o) => B.map((row) => row[o])) }
  })

/** LoRA with the vectors that `model` puts together. */
const asLora = async (model: AdaptedModel): Promise<AdaptedModel> => {
  const factors = assembledBy(model)
  const { rank } = settingsOf(model)
  const targets = factors.map(({ name }) => name)
  const start = await lora(base, { rank, alpha: 16, targets, dropout: 0 })
  return start.with(
    Object.fromEntries(
      factors.flatMap(({ name, A, B }): [string, Value][] => [
        [`${name}.lora_A.weight`, valueOf(A.flat(), [rank, A[0].length])],
        [`${name}.lora_B.weight`, valueOf(B.flat(), [B.length, rank])],
      ]),
    ),
  )
}

const batch = {
  ids: valueOf([3, 1, 4, 1, 5, 9, 2, 6], [2, 4], 'int32'),
  labels: valueOf([2, 7, 1, 8, 2, 8, 1, 8], [2, 4], 'int32'),
}

const gradientsOf = async (model: AdaptedModel): Promise<Record<string, Value>> => {
  type Inputs = { parameters: Record<string, Tensor>; batch: Record<string, Tensor> }
  const program = await compile(
    ({ parameters, batch }: Inputs) =>
      valueAndGrad((p: Record<string, Tensor>) => modelLoss(model)(p, batch, {}))(parameters).grads,
    { parameters: { ...model.parameters }, batch },
  )
  return (await program.run({ parameters: { ...model.parameters }, batch })) as Record<string, Value>
}

describe('MoS', () => {
  it.each([
    [2, { budget: 2, rank: 3 }],
    [3, { budget: 3, rank: 'all', privateRank: 2, shards: 2 }],
  ] as const)('trains as many numbers as LoRA of rank %i', async (budget, options) => {
    const linears = await lora(base, { rank: budget, targets: 'all-linear' })
    expect(countOf(await mos(base, options))).toBe(countOf(linears))
  })

  it('trains 2,498,560 numbers of LLaMA-2-7B for each unit of budget', () => {
    const config = {
      model_type: 'llama',
      vocab_size: 32000,
      hidden_size: 4096,
      intermediate_size: 11008,
      num_hidden_layers: 32,
      num_attention_heads: 32,
      num_key_value_heads: 32,
      rms_norm_eps: 1e-5,
      max_position_embeddings: 4096,
    }
    const architecture = architectureFor(config)
    const model = { architecture, config: architecture.readConfig(config) } as Model
    const widths = sitesOf(model, ['linear']).filter(({ name }) => name !== 'lm_head')
    expect(widths.reduce((n, site) => n + site.in + site.out, 0)).toBe(2_498_560)
  })

  it('is the base before it is trained, to the bit', async () => {
    expect(await logitsOf(await mos(base))).toEqual(await logitsOf(await openModel(base)))
  })

  it('with nothing to share is LoRA, and learns as LoRA does', async () => {
    const start = await mos(base, {
      budget: 2,
      rank: 2,
      privateRank: 2,
      shards: 4,
      dropout: 0,
      targets: ['q_proj'],
    })
    const data = function* () {
      for (;;) yield batch
    }
    const options = { steps: 5, learningRate: 0.3, optimizer: sgd() }
    const ours = (await fit(start, data, options)).model
    const theirs = (await fit(await asLora(start), data, options)).model
    for (const { name, A, B } of assembledBy(ours)) {
      const expected = [...theirs.parameters[`${name}.lora_A.weight`].data].map(Number)
      A.flat().forEach((a, i) => expect(a).toBeCloseTo(expected[i], 6))
      const rows = [...theirs.parameters[`${name}.lora_B.weight`].data].map(Number)
      B.flat().forEach((b, i) => expect(b).toBeCloseTo(rows[i], 6))
    }
    expect(gap(await logitsOf(ours), await logitsOf(start))).toBeGreaterThan(1e-3)
  })

  it('draws distinct shards for each module, the same for the same seed, and keeps private ones private', async () => {
    const options = { budget: 3, rank: 4, privateRank: 1, shards: 4, targets: ['q_proj', 'k_proj'] }
    const [model, again, other] = [
      await mos(base, options),
      await mos(base, options),
      await mos(base, { ...options, seed: 1 }),
    ]
    const layers = 3
    const seen = new Map<string, number>()
    for (const [i, { site }] of model.plan.sites.entries()) {
      const { tables, pools } = settingsOf(model, i)
      for (const [side, table] of tables.entries()) {
        expect(table.length).toBe(4 * 4)
        expect(new Set(table).size).toBe(table.length)
        for (const row of table.filter((row) => row >= 2 * layers * 4))
          seen.set(`${pools[side]} ${row}`, (seen.get(`${pools[side]} ${row}`) ?? 0) + 1)
      }
      expect(tables[0], site.name).not.toEqual(tables[1])
      expect(settingsOf(again, i)).toEqual(settingsOf(model, i))
      expect(settingsOf(other, i).tables).not.toEqual(tables)
    }
    // Two kinds of module, A and B, of each a pool with layers x 4 private shards: all in use, once.
    expect([...seen.values()]).toEqual(new Array<number>(4 * layers * 4).fill(1))
  })

  it('draws the tables that this seed has always drawn', async () => {
    const { tables } = settingsOf(
      await mos(base, { budget: 2, rank: 3, shards: 2, seed: 7, targets: ['q_proj'] }),
    )
    expect(tables.map((table) => [...table])).toMatchInlineSnapshot(`
      [
        [
          4,
          5,
          3,
          2,
          6,
          7,
        ],
        [
          2,
          5,
          3,
          4,
          6,
          7,
        ],
      ]
    `)
  })

  it('gives a pool the sum of its modules’ gradients of LoRA, scattered through their tables', async () => {
    const model = noisy(
      await mos(base, { budget: 2, rank: 4, shards: 2, dropout: 0, targets: ['v_proj', 'up_proj'] }),
    )
    const [ours, theirs] = [await gradientsOf(model), await gradientsOf(await asLora(model))]
    const sums = new Map(
      Object.entries(model.parameters).map(([key, { data }]) => [key, new Float64Array(data.length)]),
    )
    for (const { site, settings } of model.plan.sites) {
      const { pools, tables, rank } = settings as ReturnType<typeof settingsOf>
      const [A, B] = ['lora_A', 'lora_B'].map((part) => theirs[`${site.name}.${part}.weight`])
      const rowsOfB = Array.from({ length: rank }, (_, j) =>
        [...toNumbers(B)].filter((_, i) => i % rank === j),
      ).flat()
      for (const [side, rows] of [[...toNumbers(A)], rowsOfB].entries()) {
        const key = model.plan.shared[pools[side]].key
        const [sum, width] = [sums.get(key)!, model.parameters[key].shape[1]]
        tables[side].forEach((row, at) => {
          for (let k = 0; k < width; k++) sum[row * width + k] += rows[at * width + k]
        })
      }
    }
    for (const [key, sum] of sums) expect(gap(toNumbers(ours[key]), sum), key).toBeLessThan(1e-5)
  })

  it('without any difference gives every module of a group the same update', async () => {
    const shared = { budget: 2, rank: 'all', shards: 1, privateRank: 0, dissociate: false } as const
    const updates = assembledBy(noisy(await mos(base, { ...shared, targets: ['q_proj'] }))).map(({ A, B }) =>
      B.flatMap((row) => A[0].map((_, i) => row.reduce((sum, b, j) => sum + b * A[j][i], 0))),
    )
    for (const update of updates.slice(1)) update.forEach((w, i) => expect(w).toBeCloseTo(updates[0][i], 5))
    expect(settingsOf(await mos(base, { ...shared, targets: ['q_proj'] })).rank).toBe(2 * 3)
  })

  it('has updates of rank r, above the budget', async () => {
    const model = noisy(await mos(base, { budget: 2, rank: 4, targets: ['q_proj'] }), 1)
    for (const { A, B } of assembledBy(model)) {
      expect(rankOf(A)).toBe(4)
      expect(rankOf(B)).toBe(4)
    }
  })

  it('random scaling stands between A and B, also in what is exported', async () => {
    const [plain, scaled] = await Promise.all(
      [false, true].map((randomScaling) => mos(base, { budget: 2, rank: 4, randomScaling })),
    )
    const [a, b] = [noisy(plain), noisy(scaled)]
    expect(gap(await logitsOf(a), await logitsOf(b))).toBeGreaterThan(1e-3)
    const folder = join(scratch.path, 'scaled')
    await exportLora(b, folder)
    expect(gap(await logitsOf(await loadAdapter(base, folder)), await logitsOf(b))).toBeLessThan(1e-5)
  })

  it('is exported as a LoRA of PEFT with the same logits, named as LoRA is, and of rank r', async () => {
    const model = noisy(await mos(base, { budget: 2, rank: 4, bias: 'none' }))
    const folder = join(scratch.path, 'exported')
    await exportLora(model, folder)
    const loaded = await loadAdapter(base, folder)
    expect(gap(await logitsOf(loaded), await logitsOf(model))).toBeLessThan(1e-5)
    expect(gap(await logitsOf(loaded), await logitsOf(await openModel(base)))).toBeGreaterThan(1e-3)
    const reference = await lora(base, { rank: 4, alpha: 16, dropout: 0.1, targets: 'all-linear' })
    expect(Object.entries(loaded.parameters).map(([name, { shape }]) => [name, shape])).toEqual(
      Object.entries(reference.parameters).map(([name, { shape }]) => [name, shape]),
    )
    await reference.save(join(scratch.path, 'reference'))
    const namesIn = async (name: string): Promise<string[]> => {
      await using file = await openFile(diskFiles(join(scratch.path, name)), 'adapter_model.safetensors')
      return [...file.names()]
    }
    expect(await namesIn('exported')).toEqual(await namesIn('reference'))
  })

  it('keeps the pools and a seed: e / r of the numbers of a LoRA of its rank', async () => {
    const options = { budget: 4, rank: 8, privateRank: 1, shards: 2, targets: ['q_proj', 'up_proj'] }
    const model = await mos(base, options)
    const [ours, theirs] = ['compact', 'full'].map((name) => join(scratch.path, name))
    await model.save(ours)
    await exportLora(model, theirs)
    const bytesIn = async (folder: string): Promise<number> => {
      await using file = await openFile(diskFiles(folder), 'adapter_model.safetensors')
      return file.names().reduce((n, name) => n + file.info(name).length, 0)
    }
    expect(await bytesIn(ours)).toBe(4 * countOf(model))
    expect(await bytesIn(ours)).toBe((await bytesIn(theirs)) * (4 / 8))
  })

  it('refuses shards that do not divide, naming the module and its sizes', async () => {
    await expect(mos(base, { shards: 5 })).rejects.toThrow(
      /5 shards do not divide .*q_proj, whose weight is 32 x 32/,
    )
  })

  it('refuses ranks that do not fit each other, and says which would', async () => {
    const few = { targets: ['q_proj'], shards: 2 }
    await expect(mos(base, { ...few, budget: 1, privateRank: 2 })).rejects.toThrow(
      /privateRank 2 is above the budget 1/,
    )
    await expect(mos(base, { ...few, budget: 2, privateRank: 2, rank: 4 })).rejects.toThrow(
      /The rank is then 2/,
    )
    await expect(mos(base, { ...few, budget: 2, privateRank: 1, rank: 5 })).rejects.toThrow(
      /rank - privateRank is 4, above .* \(2 - 1\) x 3 [^]*The highest rank there is 4/,
    )
    await fc.assert(
      fc.asyncProperty(fc.nat(4), fc.nat(4), fc.nat(14), async (e, p, r) => {
        const legal =
          p <= e + 1 && r + 1 >= p && (p === e + 1 ? r + 1 === e + 1 : r + 1 - p <= (e + 1 - p) * 3)
        const made = await mos(base, { ...few, budget: e + 1, privateRank: p, rank: r + 1 }).catch(
          () => undefined,
        )
        expect(made !== undefined).toBe(legal)
      }),
      { numRuns: 40 },
    )
  })

  it('is refused where there are fewer layers, naming both, and where tables were drawn another way', async () => {
    const folder = join(scratch.path, 'deep')
    await noisy(await mos(base, { budget: 2, rank: 3, targets: ['q_proj'] })).save(folder)
    const path = join(folder, 'adapter_config.json')
    const config = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>
    await writeFile(path, JSON.stringify({ ...config, layers_to_transform: [0, 1] }))
    const attempt = loadAdapter(base, folder, { force: true })
    await expect(attempt).rejects.toMatchObject({ code: 'TensorMismatch', exitCode: 3 })
    await expect(attempt).rejects.toThrow(/mos_A.q_proj_32x32.*24.*16|mos_A.q_proj_32x32.*16.*24/)
    await writeFile(path, JSON.stringify({ ...config, table_version: 2 }))
    await expect(loadAdapter(base, folder)).rejects.toThrow(
      /table_version is 2; this Weft draws tables of version 1/,
    )
  })
})

/** The number of rows that are independent, by elimination. */
function rankOf(rows: readonly (readonly number[])[]): number {
  const left = rows.map((row) => [...row])
  let rank = 0
  for (let column = 0; column < left[0].length && rank < left.length; column++) {
    const best = left
      .slice(rank)
      .reduce((b, row, i) => (Math.abs(row[column]) > Math.abs(left[b][column]) ? rank + i : b), rank)
    if (Math.abs(left[best][column]) < 1e-6) continue
    ;[left[rank], left[best]] = [left[best], left[rank]]
    for (const row of left.slice(rank + 1)) {
      const share = row[column] / left[rank][column]
      for (let k = column; k < row.length; k++) row[k] -= share * left[rank][k]
    }
    rank++
  }
  return rank
}
