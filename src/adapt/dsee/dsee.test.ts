import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { countOf, gap, logitsOf } from '../../../test/adapter.js'
import { goldenFolder } from '../../../test/golden.js'
import { writeWideLlama } from '../../../test/tiny.js'
import { opened } from '../../../test/opened.js'
import { type Checkpoint, type JsonObject, open } from '../../checkpoint/index.js'
import { largestIndices } from '../../linalg/index.js'
import { architectureFor, type Model, openModel } from '../../models/index.js'
import { keyOf, normal, Stream } from '../../random/index.js'
import { sizeOf, toNumbers, value, type Value, valueOf } from '../../tensor/index.js'
import { maxOf, minOf } from '../../tensor/numbers.js'
import { type Batch, fit, type FitOptions } from '../../train/index.js'
import { baseTensor } from '../../models/stored.js'
import { entryScores, masksOf, type Scored } from './pruning.js'
import { type AdaptedModel, dsee, type DseeOptions, loadAdapter, lora, prunedNow, toLora } from '../index.js'

let base: Checkpoint
let scratch: string
beforeAll(async () => {
  base = await opened(goldenFolder('llama'))
  scratch = await mkdtemp(join(tmpdir(), 'weft-dsee-'))
})
afterAll(() => rm(scratch, { recursive: true }))

const noise = (length: number, seed: string): Float32Array => {
  const data = new Float32Array(length)
  normal(data, keyOf(seed))
  return data
}

const ids = (seed: string): Value => {
  const stream = new Stream(seed)
  return valueOf(
    Array.from({ length: 14 }, () => stream.int(90)),
    [2, 7],
    'int32',
  )
}
const data = function* (startAt: number): Generator<Batch> {
  for (let i = startAt; ; i++) yield { ids: ids(`ids ${i}`), labels: ids(`ids ${i}`) }
}
const train = (model: AdaptedModel, options: FitOptions = {}) =>
  fit(model, data, { steps: 5, learningRate: 1e-2, ...options })
const bytesOf = ({ data: { buffer, byteOffset, byteLength } }: Value): Buffer =>
  Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength)
const numbers = (v: Value): number[] => [...toNumbers(v)]
const parametersLike = (model: Model, ending: string): Map<string, number[]> =>
  new Map(
    Object.entries(model.parameters).flatMap(([name, v]) =>
      name.endsWith(ending) ? [[name, numbers(v)] as const] : [],
    ),
  )
const quiet = { onWarning: () => undefined }

/** The model folded and opened again. */
const foldedOf = async (model: AdaptedModel, name: string): Promise<Model> => {
  const folder = join(scratch, name)
  await model.fold(folder, quiet)
  return openModel(await opened(folder))
}

const size = ({ architecture, config }: Model): number =>
  architecture
    .table(config)
    .filter(({ tied }) => tied === undefined)
    .reduce((n, { shape }) => n + sizeOf(shape), 0)

describe('the update', () => {
  it('without free entries and pruning is LoRA, bit for bit', async () => {
    const ours = await dsee(base, { rank: 4, alpha: 8, entries: 0 })
    const theirs = await lora(base, { rank: 4, alpha: 8 })
    expect(Object.keys(ours.parameters)).toEqual(expect.arrayContaining(Object.keys(theirs.parameters)))
    const [a, b] = await Promise.all([train(ours), train(theirs.with(ours.parameters))])
    for (const [name, v] of Object.entries(b.model.parameters))
      expect(numbers(a.model.parameters[name])).toEqual(numbers(v))
  })

  it('of rank 0 changes the chosen entries and no other', async () => {
    const start = await dsee(base, { rank: 0, entries: 9, omega: 'random' })
    expect(countOf(start)).toBe(6 * 9)
    const { model } = await train(start)
    const folded = await foldedOf(model, 'sparse')
    for (const { site } of model.plan.sites) {
      const chosen = new Set(numbers(model.parameters[`${site.name}.dsee_indices`]))
      const [before, after] = await Promise.all(
        [model.plan.base, folded].map((m) => baseTensor(m, `${site.name}.weight`)),
      )
      after.data.forEach((x, i) => {
        if (chosen.has(i)) expect(x).not.toBe(before.data[i])
        else expect(x).toBe(before.data[i])
      })
    }
  })

  it('trains r (m + n) + N numbers a matrix: 591,360 of BERT-base', async () => {
    expect(countOf(await dsee(base, { rank: 3, entries: 7 }))).toBe(3 * (3 * 64 + 7 + 3 * 48 + 7))
    const json = { model_type: 'bert', architectures: ['BertForMaskedLM'] }
    const architecture = architectureFor(json)
    const bert = { architecture, config: architecture.readConfig(json), checkpoint: { config: json } }
    expect(await dsee.count(bert as unknown as Model, { rank: 16, entries: 64 })).toBe(591_360)
  })

  it('is a LoRA of rank r + N with one-hot rows where that is no more than the full rank', async () => {
    const { model } = await train(await dsee(base, { rank: 2, entries: 5 }))
    const exported = await toLora(model)
    expect(exported.parameters['model.layers.0.self_attn.q_proj.lora_A.weight'].shape).toEqual([7, 32])
    expect(gap(await logitsOf(exported), await logitsOf(model))).toBeLessThan(1e-5)
  })
})

it('with 200,000 free entries of a matrix is pruned, saved and loaded', async () => {
  const folder = join(scratch, 'wide')
  await writeWideLlama(folder)
  const large = { targets: ['down_proj'], entries: 200_000, omega: 'magnitude', sparsity: 0.2 } as const
  const model = await prunedNow(await dsee(await opened(folder), large))
  const saved = join(scratch, 'wide-saved')
  await model.save(saved)
  const loaded = await loadAdapter(await opened(folder), saved)
  for (const [name, v] of Object.entries(model.parameters))
    expect(Buffer.compare(bytesOf(loaded.parameters[name]), bytesOf(v))).toBe(0)
})

const matrices = (updated: boolean): Scored[] =>
  ['a', 'b', 'c'].map((name, i) => {
    const site = { name, kind: 'linear', in: 7, out: 5 + i, transposed: false, bias: false } as const
    const W = noise(site.in * site.out, `W ${name}`).map((x) => (1 + i) * x)
    const whole = Float64Array.from(noise(W.length, `update ${name}`))
    return { site, W, ...(updated && i < 2 && { update: { lowRank: whole.map((x) => x / 2), whole } }) }
  })
const bit = (bytes: Uint8Array, i: number): number => (bytes[i >> 3] >> (i & 7)) & 1
const bitsOf = (bytes: Uint8Array, count: number): number[] =>
  Array.from({ length: count }, (_, i) => bit(bytes, i))

describe('masks of entries', () => {
  it.each(['pool', 'matrix'] as const)('keep the highest scores by one threshold a %s', (threshold) => {
    for (const score of ['weight', 'update', 'final', 'low-rank', 'random'] as const) {
      const all = matrices(true)
      const found = masksOf(all, { score, sparsity: 0.3, threshold })
      const pools = threshold === 'pool' ? [all.slice(0, 2), all.slice(2)] : all.map((m) => [m])
      for (const pool of pools) {
        const scored = pool.flatMap((m) => {
          const bits = bitsOf(found.get(m.site.name)!, m.W.length)
          return [...entryScores(m, { score })].map((x, i) => ({ x, kept: bits[i] }))
        })
        const gone = scored.filter(({ kept }) => !kept).map(({ x }) => x)
        expect(gone).toHaveLength(Math.floor(0.3 * scored.length))
        const least = minOf(scored.filter(({ kept }) => kept).map(({ x }) => x))
        expect(maxOf(gone)).toBeLessThan(least)
      }
    }
  })

  it('refuse to look at an update that is zero', () => {
    const zero = matrices(true).map(({ site, W }) => {
      const whole = new Float64Array(W.length)
      return { site, W, update: { lowRank: whole, whole } }
    })
    for (const score of ['update', 'low-rank'] as const)
      expect(() => masksOf(zero, { score, sparsity: 0.3, threshold: 'pool' })).toThrow(/update of all 3/)
    expect(masksOf(zero, { score: 'final', sparsity: 0.3, threshold: 'pool' }).size).toBe(3)
  })
})

const sparse = { rank: 2, entries: 5, sparsity: 0.3, pruneAt: 0.6, score: 'update' } as const

describe('pruning of entries', () => {
  it('removes its share at its step, and tuning on leaves masks and free entries where they are', async () => {
    const start = await dsee(base, sparse)
    const seen: Map<string, number[]>[] = []
    const { model } = await train(start, {
      hook: ({ parameters }) =>
        void seen.push(parametersLike({ parameters } as unknown as Model, 'dsee_mask')),
    })
    const ones = parametersLike(start, 'dsee_mask')
    expect(ones.size).toBe(3 * 7)
    expect(seen[1]).toEqual(ones)
    expect(seen[2]).not.toEqual(ones)
    expect(seen[4]).toEqual(seen[2])
    expect(parametersLike(model, 'dsee_indices')).toEqual(parametersLike(start, 'dsee_indices'))
    const counts = { updated: [0, 0], others: [0, 0] }
    for (const { site, parameters } of model.plan.sites) {
      const bits = bitsOf(Uint8Array.from(seen[4].get(`${site.name}.dsee_mask`)!), site.in * site.out)
      const pool = parameters.U ? counts.updated : counts.others
      pool[0] += bits.filter((b) => !b).length
      pool[1] += bits.length
    }
    for (const [zeros, all] of Object.values(counts)) expect(zeros).toBe(Math.floor(0.3 * all))
  })

  it('is saved and loaded, and resumed to the same bits', async () => {
    const { model } = await train(await dsee(base, sparse))
    const folder = join(scratch, 'saved')
    await model.save(folder)
    const loaded = await loadAdapter(base, folder)
    expect(gap(await logitsOf(loaded), await logitsOf(model))).toBe(0)
    const out = join(scratch, 'run')
    const stop = new AbortController()
    const hook = ({ step }: { step: number }): void => void (step === 4 && stop.abort())
    await train(await dsee(base, sparse), { out, signal: stop.signal, hook })
    const resumed = await train(await dsee(base, sparse), { out, resume: true })
    expect(Object.values(resumed.model.parameters).map(numbers)).toEqual(
      Object.values(model.parameters).map(numbers),
    )
    // Trained on, it is not pruned again.
    const again = await train(loaded)
    expect(parametersLike(again.model, 'dsee_mask')).toEqual(parametersLike(model, 'dsee_mask'))
  })

  it('folded gives the same logits; zeros stay where there is no update, and are lost with a warning elsewhere', async () => {
    const { model } = await train(await dsee(base, sparse))
    const folder = join(scratch, 'pruned')
    const warnings: string[] = []
    await model.fold(folder, { onWarning: (text) => warnings.push(text) })
    expect(warnings).toEqual([expect.stringMatching(/6 of 21 pruned modules have an update.*zeros/s)])
    const folded = await openModel(await opened(folder))
    expect(gap(await logitsOf(folded), await logitsOf(model))).toBeLessThan(1e-5)
    for (const { site, parameters } of model.plan.sites) {
      const { data } = await baseTensor(folded, `${site.name}.weight`)
      const bits = bitsOf(model.parameters[`${site.name}.dsee_mask`].data as Uint8Array, data.length)
      const zeros = bits.filter((b, i) => !b && Number(data[i]) === 0).length
      if (parameters.U) expect(zeros).toBe(0)
      else expect(zeros).toBe(bits.filter((b) => !b).length)
    }
    const refused = join(scratch, 'refused')
    await expect(model.fold(refused, { keepZeros: true })).rejects.toMatchObject({ code: 'ZerosLost' })
    await expect(open(refused)).rejects.toThrow()
    await expect(toLora(model)).rejects.toMatchObject({ code: 'NoLora' })
  })

  it('can be done at once, by what needs no update', async () => {
    const start = await dsee(base, sparse)
    await expect(prunedNow(start)).rejects.toMatchObject({ code: 'NothingToScore' })
    const now = await prunedNow(await dsee(base, { ...sparse, score: 'weight' }))
    expect(parametersLike(now, 'dsee_mask')).not.toEqual(parametersLike(start, 'dsee_mask'))
    expect(await prunedNow(now)).toBe(now)
    await expect(prunedNow(await lora(base))).rejects.toMatchObject({ code: 'NothingToPrune' })
    await expect(prunedNow(await dsee(base))).rejects.toMatchObject({ code: 'NothingToPrune' })
  })
})

/** Random pixels of the size that a config.json asks for. */
const imageFor = ({ num_channels: channels, image_size: side }: JsonObject): Record<string, Value> => {
  const shape = [2, Number(channels ?? 3), Number(side), Number(side)]
  return { pixels: value(noise(sizeOf(shape), 'pixels'), shape, 'float32') }
}

describe('pruning of heads and channels', () => {
  const half = { rank: 2, entries: 5, pruneAt: 0.6 } satisfies Partial<DseeOptions>

  it.each([
    ['llama', { heads: 2, hidden: 0.25 }, { num_attention_heads: 2, num_key_value_heads: 1, head_dim: 8 }],
    ['qwen3', { heads: 2, hidden: 0.25, score: 'update' }, { num_attention_heads: 2 }],
    ['llama', { heads: 2, hidden: 0.25, sparsity: 0.2, score: 'final' }, { intermediate_size: 54 }],
    ['mixtral', { hidden: 0.25, score: 'random' }, {}],
    ['gpt2', { hidden: 0.25 }, { n_inner: 96 }],
    ['gpt2', { heads: 2, score: 'update' }, { n_head: 2, head_dim: 8 }],
    [
      'gpt2',
      { heads: 1, hidden: 0.25, layers: [0] },
      { weft: { n_head: [3, 4, 4], n_inner: [96, 128, 128] } },
    ],
    ['llama', { heads: 2, layers: [1] }, { weft: { num_attention_heads: [4, 2, 4] } }],
  ] as const)('of %s makes a smaller checkpoint with the same logits: %j', async (name, options, said) => {
    const whole = await opened(goldenFolder(name))
    const start = await dsee(whole, { ...half, ...options })
    const { model } = await train(start)
    const small = await foldedOf(model, `small-${name}-${JSON.stringify(options).length}`)
    expect(small.checkpoint.config).toMatchObject(said)
    expect(gap(await logitsOf(small), await logitsOf(model))).toBeLessThan(1e-5)
    // Without exclude and layers every axis of a group is shorter by the same share: three quarters, or half.
    const { architecture, config } = model.plan.base
    const expected = architecture
      .table(config)
      .filter(({ tied }) => tied === undefined)
      .map(({ shape, axes }) =>
        axes.reduce((n, axis) => {
          if (axis?.group.endsWith('hidden') && 'hidden' in options) return n * 0.75
          return axis?.group.endsWith('heads') && 'heads' in options ? n / 2 : n
        }, sizeOf(shape)),
      )
    if (!('layers' in options)) expect(size(small)).toBe(expected.reduce((a, b) => a + b))
    expect(size(small)).toBeLessThan(size(model.plan.base))
  })

  it.each([
    ['t5', { heads: 1, hidden: 0.25 }, { num_heads: 3, d_kv: 8, d_ff: 54 }],
    ['bert-classify', { hidden: 0.25 }, { intermediate_size: 54 }],
    ['bert-classify', { heads: 1 }, { num_attention_heads: 3, head_dim: 8 }],
    ['bert-mlm', { heads: 2, hidden: 0.25 }, { num_attention_heads: 2, head_dim: 8 }],
    ['vit', { heads: 1, hidden: 0.25 }, { num_attention_heads: 3, head_dim: 8 }],
  ] as const)(
    'of %s, where stacks share heads or config.json has no head size: %j',
    async (name, options, said) => {
      const model = await prunedNow(await dsee(await opened(goldenFolder(name)), { ...half, ...options }))
      const small = await foldedOf(model, `small-${name}-${JSON.stringify(options).length}`)
      expect(small.checkpoint.config).toMatchObject(said)
      const decoderIds = valueOf([0, 3, 1, 4], [2, 2], 'int32')
      const image = name === 'vit' ? imageFor(model.checkpoint.config) : {}
      const logits = (m: Model) => logitsOf(m, name === 't5' ? { decoderIds } : image)
      expect(gap(await logits(small), await logits(model))).toBeLessThan(1e-5)
      expect(size(small)).toBeLessThan(size(model.plan.base))
    },
  )

  it('learns a coefficient of each unit, whose sum is penalised, and removes those of the least', async () => {
    const learned = { ...half, heads: 2, hidden: 0.25, coefficients: true }
    const sumOf = (model: Model): number =>
      [...parametersLike(model, 'dsee_coefficients').values()].flat().reduce((sum, c) => sum + Math.abs(c), 0)
    const [light, heavy] = await Promise.all(
      [0, 10].map(async (penalty) => (await train(await dsee(base, { ...learned, penalty }))).model),
    )
    expect(sumOf(heavy)).toBeLessThan(sumOf(light))
    const seen: ReadonlyMap<string, number[]>[] = []
    const { model } = await train(await dsee(base, learned), {
      hook: ({ parameters }) =>
        void seen.push(parametersLike({ parameters } as unknown as Model, 'dsee_coefficients')),
    })
    for (const [name, coefficients] of seen[2]) {
      const gates = numbers(model.parameters[name.replace('coefficients', 'units')])
      const least = (kept: boolean) => coefficients.filter((_, u) => Boolean(gates[u]) === kept).map(Math.abs)
      expect(maxOf(least(false))).toBeLessThanOrEqual(minOf(least(true)))
    }
    const small = await foldedOf(model, 'learned')
    expect(gap(await logitsOf(small), await logitsOf(model))).toBeLessThan(1e-5)
    const folder = join(scratch, 'learned-saved')
    await model.save(folder)
    expect(gap(await logitsOf(await loadAdapter(base, folder)), await logitsOf(model))).toBe(0)
    await expect(prunedNow(await dsee(base, learned))).rejects.toMatchObject({ code: 'NothingToScore' })
  })

  it('leaves the units that score highest', async () => {
    const start = await dsee(base, { ...half, hidden: 0.5 })
    const model = await prunedNow(start)
    for (const { site } of model.plan.sites) {
      const gates = model.parameters[`${site.name}.dsee_units`] as Value | undefined
      if (!gates) continue
      const sums = new Float64Array(gates.data.length)
      for (const part of ['gate_proj', 'up_proj']) {
        const name = site.name.replace('down_proj', part)
        const { data, shape } = await baseTensor(model.plan.base, `${name}.weight`)
        data.forEach((x, i) => (sums[Math.floor(i / shape[1])] += Math.abs(Number(x))))
      }
      expect(numbers(gates).flatMap((gate, i) => (gate ? [i] : []))).toEqual([
        ...largestIndices(sums, sums.length / 2),
      ])
    }
  })
})

describe('refuses', () => {
  it.each([
    ['llama', { entries: 32 * 32 + 1 }, 'TooManyEntries', /1025 entries at .*q_proj.*32 x 32/],
    ['llama', { entries: -1 }, 'BadOption', /entries/],
    ['llama', { rank: 0, entries: 0 }, 'BadOption', /nothing to train/],
    ['llama', { rank: 33 }, 'RankTooHigh', /33/],
    ['llama', { sparsity: 1 }, 'BadOption', /sparsity/],
    ['llama', { sparsity: -0.1 }, 'BadOption', /sparsity/],
    ['llama', { sparsity: 0.2, pruneAt: 0 }, 'BadOption', /pruneAt/],
    ['llama', { sparsity: 0.2, prune: ['gate_prj'] }, 'NoSuchModule', /Nearest: gate_proj/],
    ['llama', { sparsity: 0.2, rank: 0, score: 'low-rank' }, 'BadOption', /no low-rank part/],
    ['llama', { coefficients: true }, 'BadOption', /none of which/],
    ['llama', { heads: 4 }, 'BadHeads', /4 heads to prune of the 4 .* none stays/],
    ['llama', { heads: 1 }, 'BadHeads', /2 query heads share each key head.*multiple of 2/s],
    ['llama', { hidden: 0.001 }, 'BadHidden', /smallest share/],
    [
      't5',
      { hidden: 0.25, exclude: ['encoder.block.1.layer.1.DenseReluDense.wo'] },
      'CannotExpress',
      /t5: encoder\.block\.1.*as many out of every layer/s,
    ],
  ] as const)('%s %j', async (name, options, code, message) => {
    const attempt = dsee(await opened(goldenFolder(name)), options as never)
    await expect(attempt).rejects.toMatchObject({ code })
    await expect(attempt).rejects.toThrow(message)
  })

  it('weights that are not numbers', async () => {
    const model = await openModel(base, { trainable: true })
    const name = 'model.layers.1.self_attn.q_proj.weight'
    const { data, shape } = model.parameters[name]
    const broken = value(Float32Array.from(data as Float32Array).fill(NaN, 0, 3), shape, 'float32')
    await expect(dsee(model.with({ ...model.parameters, [name]: broken }))).rejects.toThrow(/NaN|finite/i)
  })
})
