/** @file Two tiny bases, and adapters as PEFT writes them for these: what the tests of PEFT's folders stand on. */
import { join } from 'node:path'
import { afterAll, beforeAll, expect } from 'vitest'
import { type AdaptedModel, loadAdapter } from '../src/adapt/index.js'
import { type Checkpoint, type JsonObject, open } from '../src/checkpoint/index.js'
import { openModel } from '../src/models/index.js'
import type { Value } from '../src/tensor/index.js'
import { gap, logitsOf } from './adapter.js'
import { changedCheckpoint, factors, loraConfig, type Tensors, updated, writePeft } from './peft-folder.js'
import { scratchFolder, tinyConfig, writeRandom } from './tiny.js'

export let scratch: Awaited<ReturnType<typeof scratchFolder>>
export let base: Checkpoint
export let tied: Checkpoint
/** Opens both bases for the tests of a file, and closes them behind these. */
export const openPeftBases = (): void => {
  beforeAll(async () => {
    scratch = await scratchFolder()
    const [plain, one] = ['plain', 'tied'].map((name) => join(scratch.path, name))
    await writeRandom(plain, tinyConfig(64))
    await writeRandom(one, tinyConfig(64, { tie_word_embeddings: true }))
    base = await open(plain)
    tied = await open(one)
  })
  afterAll(async () => {
    await base.close()
    await tied.close()
    await scratch.remove()
  })
}

export const layers = [0, 1]
export const attention = (part: string): string[] => layers.map((i) => `model.layers.${i}.self_attn.${part}`)
export const shapes: Readonly<Record<string, [number, number]>> = { q_proj: [32, 32], v_proj: [16, 32] }
export const at = (...parts: string[]): Tensors =>
  Object.assign({}, ...parts.flatMap((part) => attention(part).map((name) => factors(name, shapes[part]))))

/** The base's weights with LoRA's updates at these modules added. */
export const added = async (
  modules: readonly string[],
  tensors: Tensors,
  scale = 2,
  on = base,
): Promise<Record<string, Value>> => {
  const changes: Record<string, Value> = {}
  for (const module of modules) {
    const W = tensors[`${module}.base_layer.weight`] ?? (await on.read(`${module}.weight`, 'float32'))
    changes[`${module}.weight`] = updated(W, module, tensors, scale)
  }
  return changes
}

let count = 0
export const load = async (
  config: JsonObject,
  tensors: Tensors,
  on = base,
): Promise<{ model: AdaptedModel; warnings: string[] }> => {
  const folder = join(scratch.path, `adapter-${count++}`)
  await writePeft(folder, loraConfig(config), tensors)
  const warnings: string[] = []
  const model = await loadAdapter(on, folder, { onWarning: (text) => warnings.push(text) })
  return { model, warnings: warnings.filter((text) => !text.includes('does not say which weights')) }
}

/** The adapted model, its fold and itself saved and loaded again give the logits of the base with these tensors. */
export const gives = async (
  model: AdaptedModel,
  tensors: Readonly<Record<string, Value | null>>,
  { on = base, config = {} }: { on?: Checkpoint; config?: JsonObject } = {},
): Promise<void> => {
  await using expected = await changedCheckpoint(on, tensors, config)
  const logits = await logitsOf(await openModel(expected))
  expect(gap(await logitsOf(model), logits)).toBeLessThan(2e-5)
  const folder = join(scratch.path, `out-${count++}`)
  await model.save(folder)
  const again = await loadAdapter(on, folder, { onWarning: () => undefined })
  expect(gap(await logitsOf(again), logits)).toBeLessThan(2e-5)
  await model.fold(`${folder}-folded`)
  await using folded = await open(`${folder}-folded`)
  expect(gap(await logitsOf(await openModel(folded)), logits)).toBeLessThan(2e-5)
}
