/** @file Extracted adapters: what they give back, what they leave, what is refused. */
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { goldenFolder } from '../../../test/golden.js'
import { scratchFolder, tinyConfig, writeRandom, writeTinyLlama } from '../../../test/tiny.js'
import { fold, loadAdapter, lora } from '../../adapt/index.js'
import { CheckpointWriter, encode, open, readAdapter } from '../../checkpoint/index.js'
import { type Matrix, matrix, svd } from '../../linalg/index.js'
import { keyOf, normal } from '../../random/index.js'
import { sizeOf, value, type Value, valueOf } from '../../tensor/index.js'
import { extract, type ExtractOptions, type Extraction, planExtraction } from './extract.js'
import { nearestLowRank } from './low-rank.js'
import { normOf } from '../../tensor/numbers.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
const at = (name: string): string => join(scratch.path, name)

const noise = (shape: readonly number[], seed: string, scale = 0.05): Value => {
  const data = new Float32Array(sizeOf(shape))
  normal(data, keyOf(seed))
  return valueOf(
    data.map((x) => scale * x),
    shape,
  )
}

/** Writes `from` with other numbers in the tensors that `change` gives some for. */
const writeChanged = async (
  from: string,
  to: string,
  change: (name: string, shape: readonly number[]) => Value | undefined,
): Promise<void> => {
  await using checkpoint = await open(from)
  const plans = checkpoint
    .names()
    .map((name) => ({ name, shape: checkpoint.info(name).shape, dtype: 'F32' as const }))
  await using writer = await CheckpointWriter.create(to, plans, { overwrite: true })
  for (const { name, shape } of plans) {
    const [old, added] = [await checkpoint.read(name, 'float32'), change(name, shape)]
    const data = Float32Array.from(old.data as Float32Array, (x, i) => x + Number(added?.data[i] ?? 0))
    await writer.write(name, encode(value(data, shape, 'float32')).data)
  }
  await writer.finish({ 'config.json': checkpoint.config })
}

const extracted = async (base: string, tuned: string, options: ExtractOptions): Promise<Extraction> => {
  await using a = await open(base)
  await using b = await open(tuned)
  return await extract(a, b, options)
}

/** What a model, a saved adapter and folding give, from files alone. */
const refolded = async (
  base: string,
  tuned: string,
  name: string,
  options: ExtractOptions,
): Promise<Extraction> => {
  await using a = await open(base)
  await using b = await open(tuned)
  const extraction = await extract(a, b, options)
  await extraction.model.save(at(`${name}-adapter`))
  await using again = await open(base)
  await fold(await loadAdapter(again, at(`${name}-adapter`)), at(name), { overwrite: true })
  return extraction
}

/** The largest distance between two checkpoints, over the tensors whose names `wanted` takes. */
const distance = async (
  a: string,
  b: string,
  wanted: (name: string) => boolean = () => true,
): Promise<number> => {
  await using x = await open(a)
  await using y = await open(b)
  let worst = 0
  for (const name of x.names().filter(wanted)) {
    const [p, q] = [await x.read(name, 'float32'), await y.read(name, 'float32')]
    p.data.forEach((v, i) => (worst = Math.max(worst, Math.abs(Number(v) - Number(q.data[i])))))
  }
  return worst
}

beforeAll(async () => {
  scratch = await scratchFolder()
  await writeTinyLlama(at('base'))
  await writeChanged(at('base'), at('tuned'), (name, shape) => noise(shape, name))
})
afterAll(() => scratch.remove())

describe('the nearest matrix of a low rank', () => {
  const random = (rows: number, cols: number, seed: string): Matrix =>
    matrix(rows, cols, noise([rows, cols], seed).data as Float32Array)
  const dense = ({ rows, cols, data }: Matrix) => ({ rows, cols, data: Float32Array.from(data) })

  it('leaves the singular values that it drops', async () => {
    const D = random(24, 40, 'D')
    const { s } = svd(D)
    const norm = (values: Float64Array): number => normOf(values)
    for (const rank of [1, 7, 23]) {
      const { error } = await nearestLowRank(dense(D), { rank })
      expect(error).toBeCloseTo(norm(s.slice(rank)) / norm(s), 6)
    }
    expect((await nearestLowRank(dense(D), { rank: 99 })).rank).toBe(24)
  })

  it('has the lowest rank that holds the energy, and no more than is allowed', async () => {
    const D = random(30, 30, 'E')
    const { s } = svd(D)
    const total = s.reduce((sum, x) => sum + x * x, 0)
    for (const energy of [0.5, 0.9, 0.99, 1]) {
      const { rank } = await nearestLowRank(dense(D), { energy })
      const held = (k: number): number => s.slice(0, k).reduce((sum, x) => sum + x * x, 0) / total
      expect(held(rank)).toBeGreaterThanOrEqual(energy - 1e-6)
      expect(held(rank - 1)).toBeLessThan(energy)
    }
    expect((await nearestLowRank(dense(D), { energy: 0.99, rank: 4 })).rank).toBe(4)
  })

  it('is found in a large matrix too', async () => {
    const [b, a] = [random(300, 5, 'b'), random(5, 260, 'a')]
    const data = new Float32Array(300 * 260)
    for (let i = 0; i < 300; i++)
      for (let j = 0; j < 260; j++)
        for (let k = 0; k < 5; k++) data[i * 260 + j] += b.data[i * 5 + k] * a.data[k * 260 + j]
    const D = { rows: 300, cols: 260, data }
    expect((await nearestLowRank(D, { rank: 5 })).error).toBeLessThan(1e-5)
    expect((await nearestLowRank(D, { energy: 1 - 1e-6 })).rank).toBe(5)
  })
})

describe('an extracted adapter', () => {
  it('of a folded LoRA, at its rank, gives the same model', async () => {
    await using base = await open(at('base'))
    const adapted = await lora(base, { rank: 3, targets: 'all-linear' })
    const values = Object.entries(adapted.parameters).map(
      ([name, v]) => [name, noise(v.shape, name, 0.2)] as const,
    )
    await fold(adapted.with(Object.fromEntries(values)), at('folded'))
    const { tensors, notes, unchanged } = await refolded(at('base'), at('folded'), 'again', { rank: 3 })
    expect(await distance(at('folded'), at('again'))).toBeLessThan(1e-5)
    expect(tensors).toHaveLength(14)
    for (const { kept, rank, error } of tensors) {
      expect([kept, rank]).toEqual(['low-rank', 3])
      expect(error).toBeLessThan(1e-5)
    }
    expect(notes).toEqual([])
    expect(unchanged).toBe(7)
  })

  it('has the ranks that the energy needs, and is read with them', async () => {
    const { tensors } = await refolded(at('base'), at('tuned'), 'energetic', { energy: 0.8 })
    const low = tensors.filter(({ kept }) => kept === 'low-rank')
    expect(new Set(low.map(({ rank }) => rank)).size).toBeGreaterThan(1)
    for (const { error } of low) expect(error).toBeLessThanOrEqual(Math.sqrt(0.2) + 1e-6)
    for (const { name, rank, shape } of low) {
      await using tuned = await open(at('tuned'))
      await using base = await open(at('base'))
      const [x, y] = [await tuned.read(name, 'float32'), await base.read(name, 'float32')]
      const D = matrix(
        shape[0],
        shape[1],
        Float32Array.from(x.data as Float32Array, (v, i) => v - Number(y.data[i])),
      )
      const { s } = svd(D)
      const left = normOf(s.slice(rank)) / normOf(s)
      await using again = await open(at('energetic'))
      const z = await again.read(name, 'float32')
      const rest = normOf(Array.from(x.data as Float32Array, (v, i) => v - Number(z.data[i])))
      expect(rest / normOf(s)).toBeCloseTo(left, 4)
    }
  })

  it('reports what has no low rank, and holds it where that is wanted', async () => {
    const { tensors, notes } = await extracted(at('base'), at('tuned'), { rank: 48 })
    const left = tensors.filter(({ kept }) => kept === 'left').map(({ name }) => name)
    expect(left).toContain('model.embed_tokens.weight')
    expect(left).toContain('model.layers.1.input_layernorm.weight')
    expect(left).toContain('lm_head.weight')
    expect(notes.join()).toMatch(/^7 tensors differ that the adapter does not hold \(lm_head.weight/)
    const all = await refolded(at('base'), at('tuned'), 'whole', { rank: 48, modulesToSave: 'changed' })
    expect(await distance(at('tuned'), at('whole'))).toBeLessThan(1e-5)
    expect(all.notes).toEqual([])
    expect(all.tensors.filter(({ kept }) => kept === 'saved')).toHaveLength(7)
    const listed = await extracted(at('base'), at('tuned'), {
      rank: 48,
      modulesToSave: ['changed', 'q_proj'],
    })
    const saved = listed.tensors.filter(({ kept }) => kept === 'saved').map(({ name }) => name)
    expect(saved).toHaveLength(7 + 2)
    expect(saved).toContain('model.layers.0.self_attn.q_proj.weight')
    const some = await refolded(at('base'), at('tuned'), 'some', {
      rank: 48,
      modulesToSave: ['lm_head', 'q_proj'],
    })
    expect(await distance(at('tuned'), at('some'), (name) => /lm_head|_proj/.test(name))).toBeLessThan(1e-5)
    expect(some.tensors.find(({ name }) => name.endsWith('0.self_attn.q_proj.weight'))!.kept).toBe('saved')
  })

  it('holds modules whole whose names end so, and what lies within them', async () => {
    for (const [name, end] of [
      ['ends', '_proj'],
      ['parent', 'self_attn'],
    ]) {
      const options = { rank: 2, targets: ['q_proj', 'down_proj', 'lm_head'], modulesToSave: [end] }
      const { tensors } = await refolded(at('base'), at('tuned'), name, options)
      const kept = new Map(tensors.map((tensor) => [tensor.name, tensor.kept]))
      expect(kept.get('model.layers.0.self_attn.q_proj.weight')).toBe('saved')
      expect(kept.get('model.layers.0.mlp.down_proj.weight')).toBe(end === '_proj' ? 'saved' : 'low-rank')
      expect(kept.get('lm_head.weight')).toBe('low-rank')
      expect(await distance(at('tuned'), at(name), (tensor) => /q_proj/.test(tensor))).toBeLessThan(1e-5)
    }
  })

  it('holds biases, and weights that are stored transposed, embeddings among them', async () => {
    const gpt2 = goldenFolder('gpt2')
    const wanted = (name: string): boolean => /c_attn|c_fc|wte|ln_1/.test(name)
    await writeChanged(gpt2, at('gpt2-tuned'), (name, shape) =>
      wanted(name) ? noise(shape, name) : undefined,
    )
    const options = { rank: 999, targets: ['c_attn', 'c_fc', 'wte'], modulesToSave: 'changed' } as const
    const { tensors } = await refolded(gpt2, at('gpt2-tuned'), 'gpt2-again', options)
    expect(
      await distance(at('gpt2-tuned'), at('gpt2-again'), (name) => name !== 'lm_head.weight'),
    ).toBeLessThan(1e-5)
    const kept = (end: string): string => tensors.find(({ name }) => name.endsWith(end))!.kept
    expect([kept('wte.weight'), kept('c_attn.weight')]).toEqual(['low-rank', 'low-rank'])
    expect([kept('c_attn.bias'), kept('ln_1.weight')]).toEqual(['saved', 'saved'])
  })

  it('says in its config what it adapts', async () => {
    await writeChanged(at('base'), at('single'), (name, shape) =>
      name.endsWith('1.mlp.up_proj.weight') ? noise(shape, name) : undefined,
    )
    await refolded(at('base'), at('single'), 'one', { rank: 4 })
    const { config, tensors } = await readAdapter(at('one-adapter'))
    await tensors.close()
    expect(config).toMatchObject({
      peft_type: 'LORA',
      r: 4,
      lora_alpha: 4,
      base_model_name_or_path: at('base'),
    })
    expect(config.target_modules).toEqual(['model.layers.1.mlp.up_proj'])
  })
})

describe('what is refused', () => {
  const refused = (tuned: string, options: ExtractOptions = { rank: 2 }) =>
    expect(extracted(at('base'), tuned, options)).rejects

  it('two that are the same, or differ elsewhere only', async () => {
    await refused(at('base')).toThrow(/does not differ.*\n.*The two are the same/)
    await writeChanged(at('base'), at('norms'), (name, shape) =>
      name.includes('norm') ? noise(shape, name) : undefined,
    )
    await refused(at('norms')).toThrow(/in any module that the targets name\n.*It does in: .*norm/)
  })

  it('other shapes, with files, tensor and both shapes', async () => {
    await writeRandom(at('other'), tinyConfig(320, { intermediate_size: 40 }))
    await refused(at('other')).toThrow(
      /base\/model.safetensors: model.layers.0.mlp.gate_proj.weight \[48, 32\] does not fit .*other\/model.safetensors: model.layers.0.mlp.gate_proj.weight \[40, 32\]/,
    )
    await writeRandom(at('fewer'), tinyConfig(320, { num_hidden_layers: 1 }))
    await refused(at('fewer')).toThrow(/layers.1.*does not fit .*fewer, which has no model.layers.1/)
  })

  it('a tied head beside an untied one, and other architectures', async () => {
    await writeRandom(at('tied'), tinyConfig(320, { tie_word_embeddings: true }))
    await refused(at('tied')).toThrow(
      /lm_head.weight \[320, 32\] does not fit .*tied\/config.json: lm_head.weight .*\(tied to model.embed/,
    )
    await refused(goldenFolder('gpt2')).toThrow(/base is of type llama, .*gpt2 of type gpt2/)
  })

  it('numbers that are not finite', async () => {
    await writeChanged(at('base'), at('nan'), (name, shape) => {
      const zeros = new Float32Array(sizeOf(shape))
      if (name === 'model.norm.weight') zeros[3] = NaN
      return valueOf(zeros, shape)
    })
    await refused(at('nan')).toThrow(
      /nan\/model.safetensors: model.norm.weight \[32\] holds NaN or an infinity at element 3/,
    )
  })

  it('no rank, ranks and energies that are none, and targets that match nothing', async () => {
    await refused(at('tuned'), {}).toThrow(/neither a rank nor an energy/)
    await refused(at('tuned'), { rank: 0 }).toThrow(/rank: expected an integer from 1 on, found 0/)
    await refused(at('tuned'), { energy: 2 }).toThrow(/energy: expected a share in \(0, 1\], found 2/)
    await refused(at('tuned'), { rank: 2, targets: ['q_porj'] }).toThrow(
      /no .* module matches target "q_porj"/,
    )
  })

  it.each([['q_porj'], ['changed', 'lm_haed'], ['self_attn.nosuch'], ['proj_of']])(
    'modules to save that there are not, before any matrix is read: %s',
    async (...modulesToSave) => {
      let read = 0
      const options = { rank: 2, modulesToSave, onProgress: () => void read++ }
      await refused(at('tuned'), options).toThrow(/no module/)
      await using base = await open(at('base'))
      await expect(planExtraction(base, base, options)).rejects.toThrow(/no module/)
      expect(read).toBe(0)
    },
  )

  it('to load it on another base, as for every adapter', async () => {
    await using checkpoint = await open(at('tuned'))
    await expect(loadAdapter(checkpoint, at('one-adapter'))).rejects.toThrow(/trained on other weights/)
  })
})
