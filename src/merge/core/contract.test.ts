/** @file What every merge promises on files, whatever its method: what it writes, in what order, from which seed. */
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scratchFolder, writeRandom } from '../../../test/tiny.js'
import { type Checkpoint, CheckpointWriter, open } from '../../checkpoint/index.js'
import { keyOf, normal } from '../../random/index.js'
import { gaussianMixture } from '../../synth/index.js'
import type { MergeMethod } from './method.js'
import { methods } from '../tensor-methods/index.js'
import { mwa } from '../mwa/mwa.js'
import type { Merged } from './procedure.js'
import type { Recipe } from './recipe/recipe.js'
import { mergeRecipe, type MergeOptions } from '../tensor-methods/recipes.js'
import { greedySoup } from '../model-soups/model-soups.js'
import { uniformSoup } from '../model-soups/uniform.js'
import { whole } from '../../experiment/batches.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
const at = (...names: string[]): string => join(scratch.path, ...names)
const config = { model_type: 'weft_mlp', sizes: [8, 16, 16, 4], hidden_act: 'relu' }
const names = ['a', 'b', 'c'] as const

/** The model in `from`, each number moved by noise and rounded to bfloat16, in `to`. */
const writeNear = async (from: string, to: string, seed: string): Promise<void> => {
  await using start = await open(from)
  const infos = start.names().map((name) => start.info(name))
  const plans = infos.map(({ name, shape }) => ({ name, shape, dtype: 'BF16' as const }))
  await using writer = await CheckpointWriter.create(to, plans)
  for (const { name } of infos) {
    const numbers = (await start.read(name, 'float32')).data as Float32Array
    const noise = new Float32Array(numbers.length)
    normal(noise, keyOf(`${seed} ${name}`))
    const words = Uint16Array.from(numbers, (x, i) => {
      const [moved] = new Uint32Array(Float32Array.of(x + (seed ? 0.05 : 0) * noise[i]).buffer)
      return moved >>> 16
    })
    await writer.write(name, new Uint8Array(words.buffer))
  }
  await writer.finish({ 'config.json': config })
}

beforeAll(async () => {
  scratch = await scratchFolder()
  await writeRandom(at('random'), config, 'contract')
  await writeNear(at('random'), at('base'), '')
  for (const name of names) await writeNear(at('base'), at(name), name)
})
afterAll(() => scratch.remove())

type Contents = Record<string, { dtype: string; shape: readonly number[]; bytes: Uint8Array }>

const contentsOf = async (folder: string): Promise<Contents> => {
  await using checkpoint = await open(folder)
  const entries = checkpoint.names().map(async (name) => {
    const { dtype, shape } = checkpoint.info(name)
    return [name, { dtype, shape, bytes: await checkpoint.readRaw(name) }] as const
  })
  return Object.fromEntries(await Promise.all(entries))
}

const layoutOf = (contents: Contents): object =>
  Object.fromEntries(Object.entries(contents).map(([name, { dtype, shape }]) => [name, { dtype, shape }]))

const numbersIn = ({ bytes }: Contents[string]): number[] =>
  Array.from(
    new Uint16Array(bytes.slice().buffer),
    (word) => new Float32Array(Uint32Array.of(word << 16).buffer)[0],
  )

let made = 0
const merged = async (recipe: Recipe, options: MergeOptions = {}): Promise<Contents> => {
  const out = at(`merged-${made++}`)
  await mergeRecipe(recipe, out, { folder: scratch.path, ...options })
  return contentsOf(out)
}

/** A recipe for the method, of as many models as it takes, with what it asks for. */
const recipeFor = (m: MergeMethod, order: readonly string[] = names): Recipe => {
  const models = order.slice(0, Math.min(m.counts[1], order.length))
  const own = { weight: 0.5, ...('density' in m.perModel ? { density: 0.5 } : {}) }
  const given = 'weight' in m.perModel ? { parameters: own } : {}
  return {
    merge_method: m.name,
    ...(m.base === 'none' ? {} : { base_model: 'base' }),
    models: models.map((model) => ({ model, ...given })),
    parameters: {
      ...('t' in m.global ? { t: 0.3 } : {}),
      ...('select_topk' in m.global ? { select_topk: 0.5 } : {}),
    },
  }
}

/** Methods to which every model is like every other. Those that draw at random draw for a model by its place. */
const symmetric = [
  'linear',
  'multislerp',
  'karcher',
  'task_arithmetic',
  'ties',
  'breadcrumbs',
  'breadcrumbs_ties',
  'model_stock',
  'sce',
]

const random = ['dare_linear', 'dare_ties', 'della', 'della_linear']

describe.each(methods.map((m) => [m.name, m] as const))('%s', (name, m) => {
  let plain: Promise<Contents> | undefined
  const once = (): Promise<Contents> => (plain ??= merged(recipeFor(m)))

  it('writes the names, shapes and dtypes of its inputs, in one shard what it writes in many', async () => {
    const one = await once()
    expect(layoutOf(one)).toEqual(layoutOf(await contentsOf(at('a'))))
    expect(await merged(recipeFor(m), { maxShardBytes: 600 })).toEqual(one)
  })

  it.runIf(symmetric.includes(name))('gives the same for its models in another order', async () => {
    const [one, other] = [await once(), await merged(recipeFor(m, ['c', 'a', 'b']))]
    for (const [tensor, content] of Object.entries(one)) {
      const numbers = numbersIn(other[tensor])
      // Sums in another order may round to the other neighbour in bfloat16.
      numbersIn(content).forEach((x, i) =>
        expect(Math.abs(x - numbers[i])).toBeLessThanOrEqual(2 ** -7 * Math.abs(x) + 1e-6),
      )
    }
  })

  it.runIf(random.includes(name))('gives the same for the same seed, and not for another', async () => {
    expect(await merged(recipeFor(m), { seed: 0 })).toEqual(await once())
    expect(await merged(recipeFor(m), { seed: 4 })).not.toEqual(await once())
  })
})

const held = whole(gaussianMixture({ classes: 4, width: 8, seed: 'contract' }).sample(64, { seed: 'held' }))

const averages: [string, (models: readonly Checkpoint[]) => Promise<Merged>][] = [
  ['uniform-soup', (models) => uniformSoup(models)],
  ['greedy-soup', (models) => greedySoup(models, { data: held, ties: 'accept' })],
  ['mwa', (models) => mwa(models, { values: models.map((_, i) => 1 + i) })],
]

describe.each(averages)('%s', (_, average) => {
  const opened = async (folders: readonly string[]): Promise<Contents> => {
    const models = await Promise.all(folders.map((folder) => open(at(folder))))
    try {
      const out = at(`average-${made++}`)
      await (await average(models)).save(out)
      return await contentsOf(out)
    } finally {
      await Promise.all(models.map((model) => model.close()))
    }
  }

  it('writes the names, shapes and dtypes of its inputs, the same each time', async () => {
    const one = await opened(names)
    expect(layoutOf(one)).toEqual(layoutOf(await contentsOf(at('a'))))
    expect(await opened(names)).toEqual(one)
  })

  it('gives a model back, bit for bit, that all its models are', async () => {
    expect(await opened(['a', 'a', 'a'])).toEqual(await contentsOf(at('a')))
  })
})
