/** @file Agreement with mergekit on its own recipes. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { goldenFolder } from '../../../test/golden.js'
import { scratchFolder } from '../../../test/tiny.js'
import { open } from '../../checkpoint/index.js'
import { mergeRecipe, type Recipe, recipeSchema } from '../index.js'
import { maxOf } from '../../tensor/numbers.js'

const folder = goldenFolder('merge')
const recipes = readdirSync(join(folder, 'recipes')).map((file) => file.replace('.yaml', ''))
const iterative = ['karcher']

let scratch: Awaited<ReturnType<typeof scratchFolder>>
beforeAll(async () => {
  scratch = await scratchFolder()
})
afterAll(() => scratch.remove())

const recipeOf = (name: string): Recipe =>
  recipeSchema.parse(parse(readFileSync(join(folder, 'recipes', `${name}.yaml`), 'utf8')))

const merged = async (name: string): Promise<string> => {
  const out = join(scratch.path, name)
  await mergeRecipe(recipeOf(name), out, { folder })
  return out
}

describe('merge: the output of mergekit', () => {
  it.each(recipes.filter((name) => name !== 'linear-bf16'))('%s', async (name) => {
    await using ours = await open(await merged(name))
    await using theirs = await open(join(folder, 'out', name))
    expect(ours.names()).toEqual(theirs.names())
    expect(ours.config).toEqual(theirs.config)
    const limit = iterative.includes(name) ? 1e-5 : 1e-6
    for (const tensor of theirs.names()) {
      const [a, b] = await Promise.all([ours.read(tensor), theirs.read(tensor)])
      expect([a.dtype, a.shape]).toEqual([b.dtype, b.shape])
      const worst = maxOf(Array.from(a.data as Float32Array, (x, i) => Math.abs(x - Number(b.data[i]))))
      expect(worst, tensor).toBeLessThanOrEqual(limit)
    }
  })

  it('linear-bf16: bit by bit, but for one in 10,000 that differ by one unit in the last place', async () => {
    await using ours = await open(await merged('linear-bf16'))
    await using theirs = await open(join(folder, 'out', 'linear-bf16'))
    let [equal, count] = [0, 0]
    for (const tensor of theirs.names()) {
      const [a, b] = await Promise.all([ours.read(tensor), theirs.read(tensor)])
      expect([a.dtype, a.shape]).toEqual([b.dtype, b.shape])
      a.data.forEach((x, i) => {
        if (x === b.data[i]) equal++
        else expect(Math.abs(Number(x) - Number(b.data[i]))).toBe(1)
      })
      count += a.data.length
    }
    expect(equal / count).toBeGreaterThanOrEqual(0.9999)
  })
})
