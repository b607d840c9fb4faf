import { cp, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { goldenFolder } from '../../../test/golden.js'
import { scratchFolder } from '../../../test/tiny.js'
import { hold } from '../../../test/held.js'
import { opened } from '../../../test/opened.js'
import { type Checkpoint, diskFiles, openFile } from '../../checkpoint/index.js'
import { type Model, openModel } from '../../models/index.js'
import { keyOf, normal } from '../../random/index.js'
import {
  compile,
  type RunOptions,
  RandomStreams,
  type Tensor,
  toNumbers,
  type Value,
  value,
  valueAndGrad,
  valueOf,
} from '../../tensor/index.js'
import { forward, modelLoss } from '../../train/index.js'
import { type AdaptedModel, loadAdapter, lora, type LoraOptions } from '../index.js'
import { normOf } from '../../tensor/numbers.js'

const batch = { ids: valueOf([3, 1, 4, 1, 5, 9, 2, 6], [2, 4], 'int32') }

const logitsOf = async (
  model: Model,
  training?: RunOptions,
  inputs: Record<string, Value> = batch,
): Promise<Float64Array> => {
  const program = await compile(
    ({ parameters, batch }: { parameters: Record<string, Tensor>; batch: Record<string, Tensor> }) =>
      forward(model, parameters, batch, training ? { random: new RandomStreams() } : {}).logits,
    { parameters: { ...model.parameters }, batch: inputs },
  )
  return toNumbers(
    await program.run({ parameters: { ...model.parameters }, batch: inputs } as never, training),
  )
}
const gap = (a: Float64Array, b: Float64Array): number =>
  a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i])), 0)

const noisy = (model: AdaptedModel): AdaptedModel =>
  model.with(
    Object.fromEntries(
      Object.entries(model.parameters).map(([name, v]) => {
        const noise = new Float32Array(v.data.length)
        normal(noise, keyOf(name))
        return [
          name,
          value(
            noise.map((n, i) => Number(v.data[i]) + 0.1 * n),
            v.shape,
            v.dtype,
          ),
        ]
      }),
    ),
  )

let scratch: Awaited<ReturnType<typeof scratchFolder>>
let llama: Checkpoint
let gpt2: Checkpoint
beforeAll(async () => {
  scratch = await scratchFolder()
  llama = await opened(goldenFolder('llama'))
  gpt2 = await opened(goldenFolder('gpt2'))
})
afterAll(() => scratch.remove())

const foldedLogits = async (
  model: AdaptedModel,
  name: string,
): Promise<{ logits: Float64Array; folder: string }> => {
  const folder = join(scratch.path, name)
  await mkdir(folder)
  await model.fold(folder)
  return { logits: await logitsOf(await openModel(await opened(folder))), folder }
}

describe('lora', () => {
  it('at rank 1 is rsLoRA, and scales by alpha / sqrt(rank) at others', async () => {
    const scaleOf = async (options: Partial<LoraOptions>): Promise<unknown> => {
      const { plan } = await lora(llama, options)
      return (plan.sites[0].settings as { scale: number }).scale
    }
    expect(await scaleOf({ rank: 1, alpha: 3, rslora: true })).toBe(await scaleOf({ rank: 1, alpha: 3 }))
    expect(await scaleOf({ rank: 4, alpha: 6, rslora: true })).toBe(3)
    expect(await scaleOf({ rank: 4, alpha: 6 })).toBe(1.5)
  })

  it('with untrained A, B and magnitudes is the base under DoRA; rows folded have the magnitudes as norms', async () => {
    const fresh = await lora(llama, { dora: true, targets: ['q_proj'] })
    expect(gap(await logitsOf(fresh), await logitsOf(await openModel(llama)))).toBeLessThan(1e-5)
    const model = noisy(fresh)
    const { folder } = await foldedLogits(model, 'dora-norms')
    const name = 'model.layers.1.self_attn.q_proj'
    const W = await (await opened(folder)).read(`${name}.weight`)
    const m = model.parameters[`${name}.lora_magnitude_vector`]
    for (let row = 0; row < W.shape[0]; row++) {
      const values = [...W.data].slice(row * W.shape[1], (row + 1) * W.shape[1]).map(Number)
      expect(normOf(values)).toBeCloseTo(Math.abs(Number(m.data[row])), 5)
    }
  })

  it.each<[string, () => Checkpoint, Partial<LoraOptions>]>([
    ['fused, transposed weights', () => gpt2, { targets: ['c_attn', 'c_proj', 'c_fc'] }],
    ['fused, transposed weights with DoRA', () => gpt2, { targets: ['c_attn'], dora: true }],
    ['embeddings', () => llama, { targets: ['embed_tokens', 'q_proj'] }],
    ['embeddings with DoRA', () => llama, { targets: ['embed_tokens'], dora: true }],
    [
      'all linear modules, biases and norms',
      () => gpt2,
      { targets: 'all-linear', bias: 'all', modulesToSave: ['ln_f'] },
    ],
    ['a tied embedding, which unties the head', () => gpt2, { targets: ['wte'] }],
    ['a tied head, trained whole', () => gpt2, { modulesToSave: ['lm_head'] }],
  ])('folds and reloads on %s', async (name, base, options) => {
    const model = noisy(await lora(base(), { rank: 3, ...options }))
    const expected = await logitsOf(model)
    expect(gap(expected, await logitsOf(await openModel(base())))).toBeGreaterThan(1e-3)
    const { logits } = await foldedLogits(model, name)
    expect(gap(logits, expected)).toBeLessThan(5e-5)
    const folder = join(scratch.path, `${name} adapter`)
    await model.save(folder)
    expect(gap(await logitsOf(await loadAdapter(base(), folder)), expected)).toBe(0)
  })

  it.each([
    ['llama', () => llama, { targets: ['q_proj', 'down_proj', 'embed_tokens'] }],
    ['gpt2', () => gpt2, { targets: ['c_attn', 'c_fc'] }],
    ['dora', () => llama, { targets: ['q_proj', 'down_proj'], dora: true }],
  ] as const)(
    'folds in blocks of a few rows to the numbers of folding whole weights: %s',
    async (name, base, options) => {
      const model = noisy(await lora(base(), { rank: 2, alpha: 3, ...options }))
      const [whole, blocks] = ['whole', 'blocks'].map((kind) => join(scratch.path, `${name}-${kind}`))
      await model.fold(whole)
      await model.fold(blocks, { blockBytes: 700 })
      const [a, b] = [await opened(whole), await opened(blocks)]
      expect(b.names()).toEqual(a.names())
      for (const tensor of a.names())
        expect(gap(toNumbers(await b.read(tensor)), toNumbers(await a.read(tensor)))).toBeLessThan(1e-6)
    },
  )

  it('chooses modules as PEFT does: layers, patterns of rank and alpha, exclusions, regular expressions', async () => {
    const named = async (options: Partial<LoraOptions>): Promise<string[]> =>
      (await lora(llama, { rank: 2, ...options })).plan.sites.map(({ site }) => site.name)
    expect(await named({ targets: 'q_proj, v_proj' })).toEqual(await named({ targets: ['q_proj', 'v_proj'] }))
    expect(await named({ layers: [1], targets: ['q_proj'] })).toEqual(['model.layers.1.self_attn.q_proj'])
    expect(await named({ targets: '.*\\.[02]\\..*\\.k_proj' })).toEqual(
      [0, 2].map((i) => `model.layers.${i}.self_attn.k_proj`),
    )
    expect(
      await named({ targets: 'all-linear', exclude: ['mlp.up_proj', 'down_proj', 'o_proj', 'gate_proj'] }),
    ).toHaveLength(9)
    expect((await named({ targets: 'all-linear' })).includes('lm_head')).toBe(false)
    const { plan } = await lora(llama, {
      rank: 2,
      alpha: 4,
      targets: ['q_proj', 'v_proj'],
      rankPattern: { 'layers.0.self_attn.q_proj': 1 },
      alphaPattern: { v_proj: 8 },
    })
    expect(plan.sites.slice(0, 2).map(({ settings }) => settings)).toMatchObject([
      { rank: 1, scale: 4 },
      { rank: 2, scale: 4 },
    ])
  })

  it('drops only in training, differently each step, the same for the same step', async () => {
    const model = noisy(await lora(llama, { dropout: 0.5 }))
    const still = await logitsOf(model)
    const [a, b, again] = await Promise.all([1, 2, 1].map((step) => logitsOf(model, { seed: 1, step })))
    expect(gap(a, still)).toBeGreaterThan(1e-4)
    expect(gap(a, b)).toBeGreaterThan(1e-4)
    expect(gap(a, again)).toBe(0)
  })

  it('differentiates nothing that is frozen: adapting the last layer alone takes far fewer operations than the first', async () => {
    const backward = async (layers: number[]): Promise<number> => {
      const model = await lora(llama, { targets: ['q_proj'], layers })
      type Inputs = { parameters: Record<string, Tensor>; batch: Record<string, Tensor> }
      const loss = (p: Record<string, Tensor>, given: Record<string, Tensor>): Tensor =>
        modelLoss(model)(p, given, {}).loss
      const inputs = { parameters: { ...model.parameters }, batch: { ...batch, labels: batch.ids } }
      const nodesOf = async (f: (i: Inputs) => unknown): Promise<number> =>
        (await compile(f, inputs, { optimization: 'disabled' })).nodes
      const both = await nodesOf((i) => valueAndGrad(loss)(i.parameters, i.batch))
      return both - (await nodesOf((i) => loss(i.parameters, i.batch)))
    }
    const [first, last] = [await backward([0]), await backward([2])]
    expect(last).toBeLessThan(0.5 * first)
  })

  it.each(['bert-mlm', 'bert-classify', 't5', 'vit', 'gemma2', 'mixtral', 'qwen3'])(
    'adapts, folds and reloads every linear module of %s',
    async (name) => {
      const base = await opened(goldenFolder(name))
      const golden = hold(await openFile(diskFiles(goldenFolder(name)), 'golden.safetensors'))
      const inputs: Record<string, Value> = {}
      for (const [key, stored] of Object.entries({
        ids: 'input_ids',
        labels: 'labels',
        pixels: 'pixel_values',
      }))
        if (golden.has(stored))
          inputs[key] = await golden.read(stored, key === 'pixels' ? 'float32' : 'int32')
      const fresh = await lora(base, { rank: 2, targets: 'all-linear' })
      const plain = await logitsOf(await openModel(base), undefined, inputs)
      expect(gap(await logitsOf(fresh, undefined, inputs), plain)).toBeLessThan(2e-5)
      const model = noisy(fresh)
      const adapted = await logitsOf(model, undefined, inputs)
      expect(gap(adapted, plain)).toBeGreaterThan(1e-3)
      const folder = join(scratch.path, name)
      await model.fold(folder)
      const folded = await openModel(await opened(folder))
      expect(gap(await logitsOf(folded, undefined, inputs), adapted)).toBeLessThan(1e-4)
      await model.save(`${folder}-adapter`)
      expect(await logitsOf(await loadAdapter(base, `${folder}-adapter`), undefined, inputs)).toEqual(adapted)
    },
  )

  it('refuses a rank that a matrix cannot have, unknown options, and adapters that are broken or of another kind', async () => {
    await expect(lora(llama, { rank: 64, targets: ['q_proj'] })).rejects.toThrow(
      /rank 64 at model.layers.0.self_attn.q_proj, whose weight is 32 x 32/,
    )
    await expect(lora(llama, { rnak: 4 } as never)).rejects.toMatchObject({ code: 'BadOption' })
    await expect(lora(llama, { modulesToSave: ['lm_haed'] })).rejects.toThrow(/Nearest: lm_head/)
    await expect(lora(llama, { targets: '(' })).rejects.toThrow(/no regular expression/)
    await expect(lora(llama, { layers: [9] })).rejects.toThrow(/leave none/)
    const unknown = join(scratch.path, 'unknown')
    await cp(goldenFolder('peft', 'lora'), unknown, { recursive: true })
    await writeFile(join(unknown, 'adapter_config.json'), '{"peft_type": "XLORA"}')
    await expect(loadAdapter(llama, unknown)).rejects.toThrow(/XLORA/)
    await expect(loadAdapter(gpt2, goldenFolder('peft', 'lora'))).rejects.toThrow(
      /no .* matches target "v_proj"/,
    )
  })

  it('names what it looked for in a model that has nothing for it to stand at', async () => {
    const resnet = await opened(goldenFolder('resnet'))
    await expect(lora(resnet)).rejects.toThrow(/no linear .*module matches target "all-linear" in .*resnet/)
  })

  it('warns that an adapter of PEFT does not name its base, and of keys that nobody knows', async () => {
    const warnings: string[] = []
    await loadAdapter(llama, goldenFolder('peft', 'lora'), { onWarning: (text) => warnings.push(text) })
    expect(warnings).toEqual([expect.stringMatching(/does not say which weights/)])
  })
})
