/** @file Models by the names that recipes have for them. */
import { realpath, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scratchFolder, writeTinyLlama } from '../../../../test/tiny.js'
import { lora } from '../../../adapt/index.js'
import { open } from '../../../checkpoint/index.js'
import { namedModels, openSource, originsOf } from './sources.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
const at = (name: string): string => join(scratch.path, name)
beforeAll(async () => {
  scratch = await scratchFolder()
  await writeTinyLlama(at('base'))
  await using base = await open(at('base'))
  await (await lora(base, { rank: 1 })).save(at('adapter'))
})
afterAll(() => scratch.remove())

describe('a model of a recipe', () => {
  it('with an adapter is made of the files of both', async () => {
    await using folded = await openSource('base+adapter', { folder: scratch.path, work: at('work') })
    const files = ['base/model.safetensors', 'adapter/adapter_model.safetensors'].map((f) => realpath(at(f)))
    expect(originsOf(folded)).toEqual(await Promise.all(files))
    await using plain = await openSource('base', { folder: scratch.path, work: at('work') })
    expect(originsOf(plain)).toEqual([])
  })

  it('is an error that names it where it is nowhere, and where its adapter is none', async () => {
    const opened = (name: string) => openSource(name, { folder: scratch.path, work: at('work') })
    await expect(opened('zzz')).rejects.toThrow(/zzz: no such/)
    await expect(opened('base+zzz')).rejects.toThrow(/zzz: no such/)
    await expect(opened('base+base')).rejects.toThrow(/base: no adapter/)
    await writeFile(at('adapter/adapter_config.json'), '{')
    await expect(opened('base+adapter')).rejects.toThrow(/adapter_config.json: invalid JSON/)
  })

  it('is named once, wherever the recipe names it, the base first', () => {
    const sources = [
      { model: 'b', layer_range: [0, 1] as const },
      { model: 'a', layer_range: [0, 1] as const },
    ]
    const modules = {
      default: { slices: [{ sources, base_model: 'c' }] },
      other: { models: [{ model: 'd' }] },
    }
    expect(namedModels({ merge_method: 'linear', base_model: 'a', modules })).toEqual(['a', 'b', 'c', 'd'])
  })
})
