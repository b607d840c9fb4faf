/** @file Exact properties of unconstrained merging: genomes, recipes, the search, alignment and fusion. */
import fc from 'fast-check'
import { join } from 'node:path'
import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scratchFolder, tinyConfig, writeRandom, writeTinyLlama } from '../../../test/tiny.js'
import { type Checkpoint, open } from '../../checkpoint/index.js'
import { createModel } from '../../models/index.js'
import { adamW, causalLoss, fit, forward, makeStep, initialState } from '../../train/index.js'
import { alignTokens, onlyPartners } from '../../distil/align.js'
import {
  fusionLoss,
  taughtBatch,
  taughtBatches,
  teachings,
  translatedTeachings,
  winners,
} from '../../distil/index.js'
import { modelInMemory } from '../core/recipe/in-memory.js'
import { unconstrainedMerging } from './unconstrained-merging.js'
import { fuse } from './fusion.js'
import {
  decodeGenome,
  encodeGenome,
  type GenomeLayout,
  genomeLength,
  layerGroups,
  type Operator,
  operators,
  recipeOf,
} from './genome.js'
import { searchMerge } from './search.js'
import { mergedInMemory, mergeRecipe } from '../tensor-methods/recipes.js'
import { maxOf } from '../../tensor/numbers.js'

const gpt2 = (width: number, layers = 2): Parameters<typeof createModel>[0] => ({
  ...{ model_type: 'gpt2', vocab_size: 12, n_embd: width, n_layer: layers, n_head: 2, n_positions: 8 },
  ...{ embd_pdrop: 0, attn_pdrop: 0, resid_pdrop: 0, initializer_range: 0.2 },
})

const made = async (seed: number): Promise<Checkpoint> => modelInMemory(await createModel(gpt2(8), { seed }))

let opened: Map<string, Checkpoint>
beforeAll(async () => {
  opened = new Map([
    ['base', await made(0)],
    ['a', await made(1)],
    ['b', await made(2)],
  ])
})

const layoutFor = (operator: Operator, granularity = 1, models = ['a', 'b']): GenomeLayout => {
  const groups = layerGroups(opened.get('base')!.names(), granularity)
  return { operator, groups, models, base: 'base', negative: false, lambda: 1 }
}

const numbers = async (checkpoint: Checkpoint, name: string): Promise<Float32Array> =>
  (await checkpoint.read(name)).data as Float32Array

const merged = (layout: GenomeLayout, genome: readonly number[]): Promise<Checkpoint> =>
  mergedInMemory(recipeOf(layout, genome), opened)

/** Asserts that every tensor of `x` is `of` the same tensors of the named models. */
const expectEach = async (
  x: Checkpoint,
  of: (values: Record<'base' | 'a' | 'b', number>) => number,
  only: (name: string) => boolean = () => true,
): Promise<void> => {
  for (const name of x.names().filter(only)) {
    const got = await numbers(x, name)
    const [base, a, b] = await Promise.all(['base', 'a', 'b'].map((m) => numbers(opened.get(m)!, name)))
    const worst = got.reduce(
      (w, g, i) => Math.max(w, Math.abs(g - of({ base: base[i], a: a[i], b: b[i] }))),
      0,
    )
    expect(worst).toBeLessThan(1e-6)
  }
}

describe('a genome', () => {
  it.each(operators)('of %s is decoded to what was encoded, and has G n q numbers', (operator) => {
    const layout = layoutFor(operator)
    const q = operator === 'ties' || operator === 'dare_linear' ? 2 : 1
    expect(genomeLength(layout)).toBe(3 * 2 * q)
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 12, maxLength: 12 }),
        (xs) => {
          const of = (g: number, m: number) => ({
            weight: xs[2 * g + m],
            density: q > 1 ? xs[6 + 2 * g + m] : 1,
          })
          const found = decodeGenome(layout, encodeGenome(layout, of))
          found.forEach((group, g) => group.forEach((c, m) => expect(c).toEqual(of(g, m))))
        },
      ),
    )
  })

  it('holds weights and densities in their ranges', () => {
    const genome = Array.from({ length: 12 }, (_, i) => (i % 2 ? 3 : -0.5))
    for (const { weight, density } of decodeGenome(layoutFor('ties'), genome).flat())
      expect([weight, density]).toEqual([0.5, 1])
    expect(() => decodeGenome(layoutFor('ties'), [1])).toThrow(/12/)
  })

  it('puts every tensor into exactly one group, also where names contain each other', () => {
    const names = [1, 2, 10, 11].flatMap((i) => [`layers.${i}.w`, `vision.layers.${i}.w`]).concat('embed.w')
    for (const granularity of [1, 2, 3]) {
      const groups = layerGroups(names, granularity)
      const layout: GenomeLayout = { ...layoutFor('task_arithmetic'), groups, models: ['a'] }
      const recipe = recipeOf(
        layout,
        groups.map((_, g) => g + 1),
      )
      const conditions = recipe.models![0].parameters!.weight as { filter?: string; value: number }[]
      for (const name of names) {
        const first = conditions.find(({ filter }) => filter === undefined || name.includes(filter))!
        const own = groups.findIndex(({ filters }) => filters.some((filter) => name.startsWith(filter)))
        expect(first.value).toBe((own < 0 ? groups.length - 1 : own) + 1)
      }
    }
  })
})

describe('the recipe of a genome', () => {
  const uniform = (layout: GenomeLayout, weights: readonly number[]): number[] =>
    encodeGenome(layout, (_, m) => ({ weight: weights[m], density: 1 }))

  it('gives the base for weights of 0, an expert for weight 1 alone, and task arithmetic for equal groups', async () => {
    const layout = layoutFor('task_arithmetic')
    await expectEach(await merged(layout, uniform(layout, [0, 0])), ({ base }) => base)
    await expectEach(await merged(layout, uniform(layout, [0, 1])), ({ b }) => b)
    const both = await merged(layout, uniform(layout, [0.3, 0.6]))
    await expectEach(both, ({ base, a, b }) => base + 0.3 * (a - base) + 0.6 * (b - base))
  })

  it('gives base + lambda tau for ties of one whole model', async () => {
    const layout = { ...layoutFor('ties', 1, ['a']), lambda: 0.4 }
    await expectEach(await merged(layout, uniform(layout, [0.7])), ({ base, a }) => base + 0.4 * (a - base))
  })

  it('keeps floor(density n) entries of each tensor', async () => {
    const layout = layoutFor('ties', 0, ['a'])
    const x = await merged(layout, [1, 0.3])
    for (const name of x.names()) {
      const [got, base, a] = await Promise.all(
        [x, opened.get('base')!, opened.get('a')!].map((c) => numbers(c, name)),
      )
      const changed = got.filter((g, i) => g !== base[i]).length
      // A model's biases are all 0 when it is new.
      if (a.some((v, i) => v !== base[i])) expect(changed).toBe(Math.floor(0.3 * got.length))
    }
  })

  it('gives the same for models in another order', async () => {
    const forth = layoutFor('ties', 0)
    const back = layoutFor('ties', 0, ['b', 'a'])
    const [x, y] = [await merged(forth, [0.4, 0.5, 0.8, 0.7]), await merged(back, [0.8, 0.7, 0.4, 0.5])]
    for (const name of x.names()) {
      const [s, t] = await Promise.all([numbers(x, name), numbers(y, name)])
      s.forEach((v, i) => expect(v).toBeCloseTo(t[i], 6))
    }
  })

  it('changes tensors of a group alone when its coefficients change', async () => {
    const layout = layoutFor('task_arithmetic')
    const genome = uniform(layout, [0.5, 0.5])
    const x = await merged(layout, genome)
    for (const [g, { filters }] of layout.groups.entries()) {
      const y = await merged(
        layout,
        genome.map((v, i) => (i === 2 * g ? 0.9 : v)),
      )
      for (const name of x.names()) {
        const others = layout.groups.flatMap((group) => group.filters)
        const inside = filters.length
          ? filters.some((f) => name.includes(f))
          : !others.some((f) => name.includes(f))
        if (!inside) expect(await numbers(y, name)).toEqual(await numbers(x, name))
      }
      const own = x.names().filter((n) => filters.some((f) => n.includes(f)) && n.endsWith('c_fc.weight'))
      for (const name of own) expect(await numbers(y, name)).not.toEqual(await numbers(x, name))
    }
  })
})

describe('the search', () => {
  /** Higher the nearer one weight of each group is to a target. */
  const target = async (x: Checkpoint): Promise<number> => {
    let worst = 0
    for (const name of ['transformer.h.0.mlp.c_fc.weight', 'transformer.h.1.mlp.c_fc.weight']) {
      const [base, a, b] = await Promise.all(['base', 'a', 'b'].map((m) => numbers(opened.get(m)!, name)))
      const w = name.includes('h.0') ? [0.9, 0.1] : [0.2, 0.7]
      const got = await numbers(x, name)
      got.forEach((v, i) => (worst += (v - base[i] - w[0] * (a[i] - base[i]) - w[1] * (b[i] - base[i])) ** 2))
    }
    return -worst
  }

  it('finds coefficients of layers, keeps to its budget, and returns the best that it has scored', async () => {
    let asked = 0
    const options = { evaluations: 200, seed: 1 }
    const { best, log, layout } = await searchMerge(opened, 'base', (x) => (asked++, target(x)), options)
    expect([asked, log.length]).toEqual([200, 200])
    expect(best.score).toBe(maxOf(log.map(({ score }) => score)))
    const [first, second] = decodeGenome(layout, best.genome)
    expect(first[0].weight).toBeCloseTo(0.9, 1)
    expect(second[1].weight).toBeCloseTo(0.7, 1)
    expect(best.score).toBeGreaterThan(log[0].score / 20)
  })

  it.each(['uniform', 'coarse'] as const)(
    'from %s it is the same for a seed, and never worse than its start',
    async (start) => {
      const options = { evaluations: 45, seed: 3, start }
      const one = await searchMerge(opened, 'base', target, options)
      expect((await searchMerge(opened, 'base', target, options)).log).toEqual(one.log)
      expect(one.log.length).toBe(45)
      expect(one.best.score).toBeGreaterThanOrEqual(one.log[0].score)
    },
  )

  it('counts what is no number as the worst', async () => {
    const { best, log } = await searchMerge(opened, 'base', async () => NaN, { evaluations: 20 })
    expect(log.every(({ score }) => score === -Infinity)).toBe(true)
    expect(best).toBe(log[0])
  })

  it('refuses a budget below a generation, and task vectors without a base', async () => {
    await expect(searchMerge(opened, 'base', target, { evaluations: 8 })).rejects.toThrow(/a generation/)
    await expect(searchMerge(opened, undefined, target)).rejects.toThrow(/need the model that all started/)
  })
})

describe('alignment', () => {
  const texts = fc.array(fc.constantFrom('a', 'b', 'ab', 'Ġa', '▁b', 'abc'), { minLength: 1, maxLength: 8 })

  it('is monotone and covers both ends; of a sequence with itself it is the identity', () => {
    fc.assert(
      fc.property(texts, texts, (s, t) => {
        const path = alignTokens(s, t)
        expect(path[0]).toEqual([0, 0])
        expect(path.at(-1)).toEqual([s.length - 1, t.length - 1])
        path.slice(1).forEach(([i, j], n) => {
          const [di, dj] = [i - path[n][0], j - path[n][1]]
          expect([di, dj].every((d) => d === 0 || d === 1) && di + dj > 0).toBe(true)
        })
        expect(alignTokens(s, s)).toEqual(s.map((_, i) => [i, i]))
      }),
    )
  })

  it('pairs tokens that are alone on each other, whatever their mark of a space', () => {
    expect(onlyPartners(['▁The', '▁ca', 't', '▁runs'], ['The', 'Ġcat', 'Ġruns'])).toEqual([0, undefined, 3])
  })
})

const row = (ids: readonly number[]) => ({ ids: [...ids], labels: [...ids] })
const rows = [row([1, 2, 3, 4, 5]), row([5, 4, 3, 2]), row([7, 8, 9, 10, 11])]

describe('fusion', () => {
  it('keeps distributions that sum to 1, and the likelihood of what came', async () => {
    const model = await createModel(gpt2(8), { seed: 1 })
    const said = await teachings(model, rows, { top: 4 })
    said.forEach(({ probabilities, gold, ids, loss }, r) => {
      expect(gold.length).toBe(rows[r].ids.length - 1)
      for (let t = 0; t < gold.length; t++) {
        const own = probabilities.subarray(4 * t, 4 * t + 4)
        expect(own.reduce((a, b) => a + b)).toBeCloseTo(1, 5)
        expect(new Set(ids.subarray(4 * t, 4 * t + 4)).size).toBe(4)
      }
      expect(loss).toBeCloseTo(gold.reduce((sum, p) => sum - Math.log(p), 0) / gold.length, 5)
    })
  })

  it('of a model with itself leaves it nothing to learn from the fused part', async () => {
    const model = await createModel(gpt2(8), { seed: 1 })
    const said = await teachings(model, rows, { top: 12 })
    const batch = taughtBatch(
      rows.map((r, i) => ({ ...r, sources: [said[i], said[i]] })),
      5,
    )
    const objectives = [{ loss: fusionLoss(model, 0, winners), optimizer: adamW() }]
    const step = makeStep(objectives, { clip: 1 })
    const { metrics } = await step(initialState(objectives, model.parameters), batch, { learningRate: 1e-3 })
    expect(metrics.gradientNorm).toBeLessThan(1e-5)
  })

  it('with labels alone is ordinary training, bit for bit', async () => {
    const [pivot, source] = [
      await createModel(gpt2(8), { seed: 1 }),
      await createModel(gpt2(16), { seed: 2 }),
    ]
    const options = { labels: 1, steps: 3, batch: 3, learningRate: 1e-3 }
    const fused = await fuse(pivot, source, rows, options)
    const said = await teachings(pivot, rows, {})
    const taught = rows.map((r, i) => ({ ...r, sources: [said[i]] }))
    const plain = await fit(pivot, taughtBatches(taught, { batch: 3 }), {
      objectives: [{ loss: (p, b, t) => causalLoss(forward(pivot, p, b, t), b), optimizer: adamW() }],
      ...{ steps: 3, learningRate: 1e-3, schedule: 'warmup-cosine', clip: 1 },
    })
    for (const [name, v] of Object.entries(plain.model.parameters))
      expect(await fused.model.parameters[name].read()).toEqual(await v.read())
  })

  it('refuses vocabularies that nothing brings together', async () => {
    const pivot = await createModel(gpt2(8), { seed: 1 })
    const source = await createModel({ ...gpt2(8), vocab_size: 9 }, { seed: 1 })
    await expect(fuse(pivot, source, rows)).rejects.toThrow(/no tokenizers to bring them together/)
  })
})

describe('weft merge --method unconstrained-merging', () => {
  let scratch: Awaited<ReturnType<typeof scratchFolder>>
  const at = (name: string): string => join(scratch.path, name)
  const data = [{ text: 'The cat sleeps today.' }, { text: 'The dog runs at night.' }]
  beforeAll(async () => {
    scratch = await scratchFolder()
    for (const [seed, name] of ['base', 'a', 'b'].entries()) {
      await writeTinyLlama(at(name))
      await writeRandom(at(name), tinyConfig(320), seed)
    }
    await writeTinyLlama(at('small'), { hidden_size: 16 })
  })
  afterAll(() => scratch.remove())

  it('writes what its recipe gives again, and keeps the recipe', async () => {
    await using base = await open(at('base'))
    await using a = await open(at('a'))
    await using b = await open(at('b'))
    const result = await unconstrainedMerging([a, b], { base, data, evaluation: data, evaluations: 24 })
    const { searches, heldOut } = result.report as never as {
      searches: { recipe: never; evaluations: number; value: number }[]
      heldOut: { merged: number }
    }
    expect(searches[0].evaluations).toBe(24)
    expect(heldOut.merged).toBeCloseTo(searches[0].value, 4)
    await result.save(at('out'))
    await mergeRecipe(searches[0].recipe, at('again'))
    const bytes = (name: string): Promise<Buffer> => readFile(join(at(name), 'model.safetensors'))
    expect(await bytes('again')).toEqual(await bytes('out'))
  })

  it('fuses what has another shape into the first model', async () => {
    await using a = await open(at('a'))
    await using b = await open(at('b'))
    await using small = await open(at('small'))
    const options = { data, evaluations: 14, steps: 1, operator: 'linear' } as const
    const result = await unconstrainedMerging([small, a, b], options)
    expect(result.report).toMatchObject({ plan: [[at('small')], [at('a'), at('b')]], pivot: at('small') })
    await result.save(at('fused'))
    await using fused = await open(at('fused'))
    expect(fused.info('model.embed_tokens.weight').shape).toEqual([320, 16])
  })

  it('refuses one model alone, and a base of another shape', async () => {
    await using a = await open(at('a'))
    await using small = await open(at('small'))
    await expect(unconstrainedMerging([a], { data })).rejects.toThrow(/nothing to merge/)
    await expect(unconstrainedMerging([a], { base: small, data })).rejects.toThrow(
      /not what that started from/,
    )
  })
})

describe('a source with another tokenizer', () => {
  it('speaks where tokens correspond, and leaves the rest to the labels', async () => {
    const words = (list: readonly string[]) =>
      ({
        vocabularySize: list.length,
        token: (id: number) => list[id],
        encode: (text: string) =>
          text
            .split(' ')
            .flatMap((w) => (list.includes(w) ? [list.indexOf(w)] : [...w].map((c) => list.indexOf(c)))),
        decode: (ids: ArrayLike<number>) => Array.from(ids, (id) => list[id]).join(' '),
      }) as never
    const source = words(['owl', 'c', 'a', 't', 'sat', 'x', 'y', 'z', 'u', 'v', 'w', 's'])
    const target = words(['cat', 'sat', 'owl', 'on', 'in', 'at', 'to', 'it', 'up', 'by', 'we', 'go'])
    const model = await createModel(gpt2(8), { seed: 1 })
    const [said] = await translatedTeachings(model, source, target, [row([2, 0, 1])], { top: 3 })
    // 'cat' is three tokens of the source: its target is the label alone.
    expect([said.ids[0], said.probabilities[0], said.gold[0]]).toEqual([0, 1, 1])
    expect(said.probabilities.subarray(3, 6).reduce((a, b) => a + b)).toBeCloseTo(1, 5)
    expect(said.probabilities[3]).toBeLessThan(1)
  })
})
