import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { changed, countOf, gap, logitsOf, noisy } from '../../../test/adapter.js'
import { goldenFolder } from '../../../test/golden.js'
import { type Checkpoint, open } from '../../checkpoint/index.js'
import { answering, type Model, openModel } from '../../models/index.js'
import { compile, constant, relu, type Tensor, toNumbers, type Value, valueOf } from '../../tensor/index.js'
import { forward } from '../../train/index.js'
import { houlsby, mam, parallel, pfeiffer } from '../index.js'
import { sizeOf } from '../../tensor/shape.js'

const opened: Checkpoint[] = []
const golden = async (name: string): Promise<Checkpoint> => {
  const checkpoint = await open(goldenFolder(name))
  opened.push(checkpoint)
  return checkpoint
}
afterAll(() => Promise.all(opened.map((checkpoint) => checkpoint.close())))

/** What the model needs beside tokens. */
const inputsFor = (name: string, { config }: Checkpoint): Record<string, Value> => {
  if (name === 't5') return { decoderIds: valueOf([0, 4, 5, 6, 0, 9], [2, 3], 'int32') }
  if (name !== 'vit') return {}
  const shape = [1, Number(config.num_channels), Number(config.image_size), Number(config.image_size)]
  const count = sizeOf(shape)
  return {
    pixels: valueOf(
      Array.from({ length: count }, (_, i) => Math.sin(i)),
      shape,
    ),
  }
}

const d = 32
const b = 5
/** 2 d b + b + d. */
const one = 2 * d * b + b + d

describe('bottleneck adapters', () => {
  it.each([
    ['llama', 3],
    ['gpt2', 3],
    ['bert-mlm', 3],
    ['vit', 2],
  ])('on %s train 2 d b + b + d numbers at each place', async (name, layers) => {
    const base = await golden(name)
    const options = { bottleneck: b, modulesToSave: [] }
    expect(countOf(await houlsby(base, options))).toBe(layers * 2 * one)
    expect(countOf(await houlsby(base, { ...options, placement: 'attention' }))).toBe(layers * one)
    expect(countOf(await pfeiffer(base, options))).toBe(layers * one)
    expect(countOf(await parallel(base, options))).toBe(layers * one)
  })

  it('stand after cross-attention too', async () => {
    // Two blocks a side: an encoder's has two parts, a decoder's three.
    expect(countOf(await houlsby(await golden('t5'), { bottleneck: b }))).toBe((2 * 2 + 2 * 3) * one)
    expect(countOf(await pfeiffer(await golden('t5'), { bottleneck: b }))).toBe(4 * one)
  })

  it('are as wide as the reduction says, and leave out the layers that are not asked for', async () => {
    const model = await parallel(await golden('llama'), { reduction: 4, layers: [1, 2] })
    const widths = Object.entries(model.parameters).filter(([name]) => name.endsWith('adapter_down.bias'))
    expect(widths.map(([name, { shape }]) => [name.split('.')[2], ...shape])).toEqual([
      ['1', d / 4],
      ['2', d / 4],
    ])
  })

  it.each(['bert-classify', 't5', 'vit', 'mixtral', 'gemma2'])('run on %s, everywhere', async (name) => {
    const base = await golden(name)
    const more = inputsFor(name, base)
    const plain = await logitsOf(await openModel(base), more)
    for (const method of [houlsby, pfeiffer, parallel]) {
      const fresh = await method(base, { bottleneck: 3 })
      expect(gap(await logitsOf(fresh, more), plain)).toBeLessThan(1e-5)
      expect(gap(await logitsOf(noisy(fresh), more), plain)).toBeGreaterThan(1e-5)
    }
  })

  it('the wider than the model is refused', async () => {
    const base = await golden('llama')
    for (const method of [houlsby, pfeiffer, parallel, mam])
      await expect(method(base, { bottleneck: d + 1 })).rejects.toMatchObject({ code: 'RankTooHigh' })
  })
})

describe('where bottlenecks stand', () => {
  let base: Model
  beforeAll(async () => (base = await openModel(await golden('llama'))))
  const ids = valueOf([3, 1, 4, 1, 5, 9], [1, 6], 'int32')

  /** Logits of the base with its feed-forward parts run through `around`. */
  const withFeedForward = async (
    around: (x: Tensor, run: (x: Tensor) => Tensor, name: string) => Tensor,
  ): Promise<Float64Array> => {
    const program = await compile(
      ({ ids }: { ids: Tensor }) => {
        const below = base.weights({}, {})
        const w = answering(below, {
          module: (name, x, at, body) =>
            name.endsWith('.mlp')
              ? around(x, (x) => below.module(name, x, at, body), name)
              : below.module(name, x, at, body),
        })
        return base.architecture.forward(w, { ids }, base.config).logits
      },
      { ids },
    )
    return toNumbers((await program.run({ ids })) as unknown as Value)
  }

  it.each([
    ['serial', houlsby],
    ['parallel', parallel],
  ] as const)('%s: by hand', async (kind, method) => {
    const options = { bottleneck: 4, placement: 'feed-forward', activation: 'relu', scale: 0.7 } as const
    const model = noisy(await method(base, options))
    const at = (name: string, key: string): Tensor => {
      const v = model.parameters[`${name}.down_proj.adapter_${key}`]
      return constant(v)
    }
    const expected = await withFeedForward((x, run, name) => {
      const y = run(x)
      const h = relu(
        (kind === 'serial' ? y : x).matmul(at(name, 'down.weight').t()).add(at(name, 'down.bias')),
      )
      return y.add(h.matmul(at(name, 'up.weight').t()).add(at(name, 'up.bias')).mul(0.7))
    })
    const program = await compile(
      ({ p, ids }: { p: Record<string, Tensor>; ids: Tensor }) => forward(model, p, { ids }).logits,
      { p: { ...model.parameters }, ids },
    )
    const own = toNumbers(
      (await program.run({ p: { ...model.parameters }, ids } as never)) as unknown as Value,
    )
    expect(gap(own, expected)).toBeLessThan(1e-5)
  })
})

describe('mam', () => {
  it('is a prefix and parallel adapters: 2 p k and 2 d b + b + d numbers a block', async () => {
    const model = await mam(await golden('llama'), { tokens: 4, bottleneck: b })
    expect(countOf(model)).toBe(3 * (2 * 4 * 16 + one))
  })

  it('without its adapters is prefix tuning', async () => {
    const { prefix } = await import('../index.js')
    const base = await golden('gpt2')
    const own = noisy(await mam(base, { tokens: 4 }))
    const alone = changed(await prefix(base, { tokens: 4 }), () =>
      toNumbers(own.parameters.prompt_embeddings),
    )
    const silent = changed(own, (old, name) => (name.includes('adapter_up') ? old.fill(0) : old))
    expect(gap(await logitsOf(silent), await logitsOf(alone))).toBeLessThan(1e-6)
  })
})
