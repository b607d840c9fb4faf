/** @file Slices of models whose config.json says something of each layer: those lists go with their layers, nothing else. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scratchFolder, tinyConfig, writeRandom } from '../../../../test/tiny.js'
import { type JsonObject, open } from '../../../checkpoint/index.js'
import { openModel } from '../../../models/index.js'
import { explainMerge, mergeRecipe, type Recipe } from '../../index.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
const at = (name: string): string => join(scratch.path, name)

const sliding = 'sliding_attention'
const full = 'full_attention'
const wide = {
  intermediate_size: [48, 32, 16],
  num_attention_heads: [4, 2, 4],
  num_key_value_heads: [2, 1, 2],
}

beforeAll(async () => {
  scratch = await scratchFolder()
  const qwen = { model_type: 'qwen2', num_hidden_layers: 3, use_sliding_window: true, sliding_window: 8 }
  const types = { layer_types: [sliding, full, sliding], max_window_layers: 1 }
  await writeRandom(at('typed'), tinyConfig(60, { ...qwen, ...types, eos_token_id: [1, 2, 3] }))
  await writeRandom(at('other'), tinyConfig(60, { ...qwen, ...types, layer_types: [full, full, sliding] }))
  await writeRandom(
    at('untyped'),
    tinyConfig(60, { ...qwen, use_sliding_window: false, sliding_window: null }),
  )
  await writeRandom(at('sized'), tinyConfig(60, { num_hidden_layers: 3, weft: { ...wide, note: 'kept' } }))
  await writeRandom(at('even'), tinyConfig(60, { num_hidden_layers: 2 }))
})
afterAll(() => scratch.remove())

type Part = readonly [model: string, start: number, end: number]

const stacked = (...parts: Part[]): Recipe => ({
  merge_method: 'passthrough',
  slices: parts.map(([model, start, end]) => ({ sources: [{ model, layer_range: [start, end] }] })),
})

/** config.json of what the recipe gives, which opens. */
const merged = async (recipe: Recipe): Promise<JsonObject> => {
  await mergeRecipe(recipe, at('out'), { folder: scratch.path, overwrite: true })
  await using checkpoint = await open(at('out'))
  await openModel(checkpoint)
  return checkpoint.config
}

const configOf = async (name: string): Promise<JsonObject> =>
  JSON.parse(await readFile(join(at(name), 'config.json'), 'utf8')) as JsonObject

describe('a list of the layers', () => {
  it('is cut, repeated and put in order with them, and nothing else is changed', async () => {
    const before = await configOf('typed')
    expect(await merged(stacked(['typed', 1, 3], ['typed', 0, 2]))).toEqual({
      ...before,
      num_hidden_layers: 4,
      layer_types: [full, sliding, sliding, full],
    })
  })

  it('is joined of several models', async () => {
    const config = await merged(stacked(['typed', 0, 1], ['other', 0, 3]))
    expect(config.layer_types).toEqual([sliding, full, full, sliding])
    expect(config.eos_token_id).toEqual([1, 2, 3])
  })

  it("is the base's where a slice has several sources", async () => {
    const sources = ['typed', 'other'].map((model) => ({ model, layer_range: [0, 2] as const }))
    const recipe: Recipe = {
      merge_method: 'slerp',
      base_model: 'other',
      slices: [{ sources }],
      parameters: { t: 0.5 },
    }
    expect((await merged(recipe)).layer_types).toEqual([full, full])
  })

  it('is what the architecture means by leaving it out, where one model has it and another has not', async () => {
    expect((await merged(stacked(['typed', 0, 1], ['untyped', 0, 1]))).layer_types).toEqual([sliding, full])
  })

  it('is refused where one model has it, another has not, and Weft knows no rule', async () => {
    for (const name of ['typed', 'untyped']) {
      await writeRandom(at(`odd-${name}`), { ...(await configOf(name)) })
      const config = { ...(await configOf(name)), model_type: 'some_other' }
      await writeFile(join(at(`odd-${name}`), 'config.json'), JSON.stringify(config))
    }
    const attempt = explainMerge(stacked(['odd-typed', 0, 1], ['odd-untyped', 0, 1]), {
      folder: scratch.path,
    })
    await expect(attempt).rejects.toMatchObject({ code: 'NoLayerList' })
    await expect(attempt).rejects.toThrow(/untyped\/config.json: layer_types/)
  })

  it('of sizes that differ goes with them, one number for all layers standing for each', async () => {
    const config = await merged(stacked(['sized', 1, 3], ['even', 0, 1]))
    expect(config).toEqual({
      ...(await configOf('sized')),
      num_hidden_layers: 3,
      weft: {
        intermediate_size: [32, 16, 48],
        num_attention_heads: [2, 4, 4],
        num_key_value_heads: [1, 2, 2],
        note: 'kept',
      },
    })
  })

  it('of their numbers names the same layers', async () => {
    const config = { ...(await configOf('even')), mlp_only_layers: [1], model_type: 'some_other' }
    await writeRandom(at('numbered'), tinyConfig(60, { num_hidden_layers: 2 }))
    await writeFile(join(at('numbered'), 'config.json'), JSON.stringify(config))
    const recipe = stacked(['numbered', 0, 2], ['numbered', 1, 2])
    await mergeRecipe(recipe, at('out'), { folder: scratch.path, overwrite: true })
    expect(await configOf('out')).toEqual({ ...config, num_hidden_layers: 3, mlp_only_layers: [1, 2] })
  })

  it('keeps how its numbers were written', async () => {
    await writeRandom(at('written'), tinyConfig(60, { num_hidden_layers: 2 }))
    const file = join(at('written'), 'config.json')
    const text = JSON.stringify({ ...(await configOf('even')), model_type: 'some_other' })
    await writeFile(file, text.replace('}', ', "ffn_multipliers": [4.0, 0.50]}'))
    const recipe = stacked(['written', 1, 2], ['written', 0, 2])
    await mergeRecipe(recipe, at('out'), { folder: scratch.path, overwrite: true })
    expect((await readFile(join(at('out'), 'config.json'), 'utf8')).replace(/\s+/g, ' ')).toMatch(
      /"ffn_multipliers": \[ 0.50, 4.0, 0.50 \]/,
    )
  })
})
