/** @file What a recipe means: values over depth and by filter, precedence, what is refused. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { goldenFolder } from '../../../../test/golden.js'
import { scratchFolder, tinyConfig, writeRandom } from '../../../../test/tiny.js'
import { explainMerge, type Explanation, mergeRecipe, type Recipe, recipeSchema } from '../../index.js'
import { evaluate } from './recipe.js'

const folder = goldenFolder('merge')
let scratch: Awaited<ReturnType<typeof scratchFolder>>
beforeAll(async () => {
  scratch = await scratchFolder()
})
afterAll(() => scratch.remove())

describe('the value of a parameter', () => {
  it('is interpolated over depth', () => {
    const values = [0, 0.25, 0.5, 0.75, 1].map((t) => evaluate([0, 1, 0.5], 'x', t))
    expect(values).toEqual([0, 0.5, 1, 0.75, 0.5])
  })

  it('steps over depth where it is no number', () => {
    expect([0, 0.5, 1].map((t) => evaluate([true, false], 'x', t))).toEqual([true, true, false])
  })

  it('is that of the first filter that fits', () => {
    const setting = [{ filter: 'attn', value: [0, 1] }, { filter: 'mlp', value: 3 }, { value: 4 }]
    const at = (name: string): unknown => evaluate(setting, name, 0.5)
    expect(['self_attn.q', 'mlp.up', 'norm'].map(at)).toEqual([0.5, 3, 4])
    expect(evaluate([{ filter: 'mlp', value: 3 }], 'norm', 0)).toBeUndefined()
    expect(evaluate([{ filter: '*', value: 2 }], 'norm', 0)).toBe(2)
  })
})

const planned = async (recipe: Recipe): Promise<Explanation> => (await explainMerge(recipe, { folder }))[0]
const parametersOf = ({ tensors }: Explanation, name: string): Record<string, unknown> =>
  tensors.find((t) => t.name === name)!.parameters

const query = (layer: number): string => `model.layers.${layer}.self_attn.q_proj.weight`

describe('a plan', () => {
  it('takes a value from source, then slice, then recipe, the first that says something', async () => {
    const sources = (weight?: number) => [
      { model: 'a', layer_range: [0, 2] as const, ...(weight ? { parameters: { weight } } : {}) },
      { model: 'b', layer_range: [0, 2] as const },
    ]
    const plan = await planned({
      merge_method: 'linear',
      slices: [
        { sources: sources(0.9), parameters: { weight: [{ filter: 'self_attn', value: 0.5 }] } },
        { sources: sources() },
      ],
      parameters: { weight: 0.1 },
    })
    expect(parametersOf(plan, query(0)).weight).toEqual([0.9, 0.5])
    expect(parametersOf(plan, 'model.layers.0.mlp.up_proj.weight').weight).toEqual([0.9, 0.1])
    expect(parametersOf(plan, query(2)).weight).toEqual([0.1, 0.1])
    expect(plan.tensors.find(({ name }) => name === query(3))!.models[0].tensor).toBe(query(1))
  })

  it('fills in defaults, and interpolates from the first layer to the last', async () => {
    const recipe = {
      merge_method: 'ties',
      base_model: 'base',
      models: [{ model: 'a', parameters: { weight: [0, 1] } }],
    }
    const plan = await planned(recipe)
    expect(parametersOf(plan, query(0))).toEqual({
      weight: [0],
      density: [1],
      normalize: true,
      rescale: false,
      lambda: 1,
      int8_mask: false,
    })
    expect(parametersOf(plan, query(3)).weight).toEqual([1])
    expect(parametersOf(plan, 'model.norm.weight').weight).toEqual([0])
  })

  it('names the parameters that have no effect', async () => {
    const plan = await planned({
      merge_method: 'linear',
      models: [{ model: 'a', parameters: { weight: 1, density: 0.5 } }],
      dtype: 'bfloat16',
    })
    expect(plan.notes).toEqual([
      'linear has no parameter density: it has no effect',
      'computed in float32 and rounded once to bfloat16; mergekit rounds its inputs first',
    ])
  })

  it('says where breadcrumbs, as in mergekit, leave a small tensor as the base has it', async () => {
    const parameters = { weight: 1, density: 0.9, gamma: 0.01 }
    const plan = await planned({
      merge_method: 'breadcrumbs',
      base_model: 'base',
      models: [{ model: 'a', parameters }],
    })
    expect(plan.notes.join()).toMatch(/^9 of 39 tensors \(.*layernorm.*whole task vector is left out/)
  })

  it('shows later steps of several on what earlier ones will write', async () => {
    const first: Recipe = {
      name: 'half',
      merge_method: 'passthrough',
      slices: [{ sources: [{ model: 'a', layer_range: [0, 2] }] }],
    }
    const second: Recipe = { merge_method: 'linear', models: [{ model: 'half', parameters: { weight: 1 } }] }
    const [, plan] = await explainMerge([first, second], { folder })
    expect(plan.tensors.map(({ name }) => name)).not.toContain(query(2))
    expect(plan.tensors).toHaveLength(3 + 2 * 9)
  })
})

describe('what is refused', () => {
  const models = [{ model: 'a' }, { model: 'b' }]
  it.each<[string, Recipe, RegExp]>([
    [
      'a required parameter that is nowhere given',
      { merge_method: 'linear', models },
      /MissingParameter|weight of a for .*is required/,
    ],
    [
      'a method without its base',
      { merge_method: 'slerp', models, parameters: { t: 0.5 } },
      /slerp needs a base model/,
    ],
    [
      'too many models',
      { merge_method: 'slerp', base_model: 'base', models, parameters: { t: 0.5 } },
      /slerp takes exactly 1 model beside the base; the recipe gives 2/,
    ],
    [
      'a value outside its range',
      { merge_method: 'ties', base_model: 'base', models, parameters: { weight: 1, density: 2 } },
      /density of a for .*found 2/,
    ],
    [
      'layers that a model lacks',
      { merge_method: 'passthrough', slices: [{ sources: [{ model: 'a', layer_range: [2, 9] }] }] },
      /layer_range \[2,9\] leaves its 4 layers/,
    ],
    [
      'a model that is nowhere',
      { merge_method: 'linear', models: [{ model: 'zzz', parameters: { weight: 1 } }] },
      /zzz: no such/,
    ],
    [
      'an epsilon that leads out of (0, 1)',
      {
        merge_method: 'della',
        base_model: 'base',
        models,
        parameters: { weight: 1, density: 0.9, epsilon: 0.2 },
      },
      /density 0.9 with epsilon 0.2/,
    ],
  ])('%s', async (_, recipe, message) => {
    const out = join(scratch.path, 'refused')
    await expect(mergeRecipe(recipe, out, { folder })).rejects.toThrow(message)
    await expect(readFile(join(out, 'model.safetensors'))).rejects.toThrow('ENOENT')
  })

  it('both models and slices, or neither', () => {
    expect(() => recipeSchema.parse({ merge_method: 'linear' })).toThrow(
      'exactly one of models, slices and modules',
    )
  })

  const odd = async (
    name: string,
    changes: Record<string, unknown>,
    edit?: (folder: string) => Promise<void>,
  ) => {
    const at = join(scratch.path, name)
    await mkdir(at, { recursive: true })
    await writeRandom(at, tinyConfig(64, { num_hidden_layers: 4, ...changes }))
    await edit?.(at)
    const pair = [join(folder, 'a'), at].map((model) => ({ model, parameters: { weight: 1 } }))
    return explainMerge({ merge_method: 'linear', models: pair })
  }

  it('another vocabulary, with file, tensor and both shapes', async () => {
    await expect(odd('vocabulary', { vocab_size: 65 })).rejects.toThrow(
      /merge\/a\/model.safetensors: model.embed_tokens.weight \[64, 32\] does not fit .*vocabulary\/model.safetensors: model.embed_tokens.weight \[65, 32\]/,
    )
  })

  it('another size', async () => {
    await expect(odd('size', { intermediate_size: 40 })).rejects.toThrow(
      /down_proj.weight \[32, 48\] does not fit .*\[32, 40\]/,
    )
  })

  it('a tied head beside an untied one, where no table says what it is tied to', async () => {
    const unknown = async (name: string, tied: boolean): Promise<string> => {
      const path = join(scratch.path, name)
      await writeRandom(path, tinyConfig(64, { tie_word_embeddings: tied }))
      const config = JSON.parse(await readFile(join(path, 'config.json'), 'utf8')) as object
      await writeFile(join(path, 'config.json'), JSON.stringify({ ...config, model_type: 'some_other' }))
      return path
    }
    const pair = [await unknown('untied', false), await unknown('tied', true)]
    const models = pair.map((model) => ({ model, parameters: { weight: 1 } }))
    await expect(explainMerge({ merge_method: 'linear', models })).rejects.toThrow(
      /tied: no tensor "lm_head.weight", which .*untied has: .*untied\/model.safetensors: lm_head.weight \[64, 32\]; its output head is .*tied\/model.safetensors: model.embed_tokens.weight \[64, 32\].\n.*untie it/,
    )
  })

  it('another number of layers', async () => {
    await expect(odd('layers', { num_hidden_layers: 3 })).rejects.toThrow(/no tensor "model.layers.3/)
  })

  it('another architecture, unless it is wanted', async () => {
    const rename = async (at: string): Promise<void> => {
      const config = JSON.parse(await readFile(join(at, 'config.json'), 'utf8')) as object
      await writeFile(join(at, 'config.json'), JSON.stringify({ ...config, model_type: 'mistral' }))
    }
    await expect(odd('type', {}, rename)).rejects.toThrow(/type llama, .* of type mistral/)
    const models = [join(folder, 'a'), join(scratch.path, 'type')].map((model) => ({
      model,
      parameters: { weight: 1 },
    }))
    const [plan] = await explainMerge({ merge_method: 'linear', models }, { allowCrimes: true })
    expect(plan.tensors).toHaveLength(3 + 4 * 9)
  })

  it.each([NaN, Infinity, -Infinity])('%d among the numbers, with file, tensor and place', async (value) => {
    const spoil = async (at: string): Promise<void> => {
      const file = join(at, 'model.safetensors')
      const bytes = await readFile(file)
      bytes.writeFloatLE(value, bytes.length - 4)
      await writeFile(file, bytes)
    }
    await expect(odd(`spoilt${value}`, {}, spoil)).rejects.toThrow(
      new RegExp(`spoilt${value}/model.safetensors: model.norm.weight \\[32\\] holds ${value} at element 31`),
    )
  })
})
