/** A method around another: the wrapped method's options are flags, help and config keys from its own schema. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scratchFolder, sentences, writeTinyLlama } from '../../test/tiny.js'
import { weft } from '../../test/weft.js'
import { methods } from '../adapt/index.js'
import { isCodes, kebab } from './options.js'
import { shapeOf, styleOf } from './schema.js'
import { trainingOptions } from './training.js'
import { wrappable, wrappedOptions } from './wrapped-options.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
const at = (name: string): string => join(scratch.path, name)
beforeAll(async () => {
  scratch = await scratchFolder()
  await writeTinyLlama(at('model'))
  await writeFile(at('data.jsonl'), sentences.map((text) => JSON.stringify({ text })).join('\n'))
})
afterAll(() => scratch.remove())

const wrappers = methods.filter(({ around }) => around)
const few = ['--steps', '1', '--batch', '2', '--length', '8']
const adapt = (id: string, ...rest: string[]) =>
  weft('adapt', id, at('model'), '--data', at('data.jsonl'), ...few, ...rest)
const configOf = async (folder: string): Promise<Record<string, unknown>> =>
  JSON.parse(await readFile(join(folder, 'adapter_config.json'), 'utf8')) as Record<string, unknown>

describe.each(wrappers.map((method) => [method.paper.id, method] as const))(
  'weft adapt %s',
  (id, wrapper) => {
    const inner = wrappable(wrapper, methods)
    const schema = wrappedOptions(wrapper, methods)

    it('takes every option of every method that it may stand around, where that is chosen', () => {
      for (const { paper, options } of inner)
        for (const [key, option] of Object.entries(shapeOf(options))) {
          if (isCodes(option)) continue
          const when = styleOf(shapeOf(schema)[key]).when ?? []
          expect(
            when.some(({ adapter }) => Array.isArray(adapter) && adapter.includes(paper.id)),
            `${key} of ${paper.id}`,
          ).toBe(true)
        }
      expect(inner.length).toBeGreaterThan(10)
    })

    it('shows the options of the method chosen, with its own words and defaults, and no others', async () => {
      for (const { paper, options } of inner) {
        const { out } = await weft('adapt', id, '--adapter', paper.id, '--help')
        const shown = new Set([...out.matchAll(/--(?:no-)?([a-z][a-z0-9-]*)/g)].map(([, name]) => name))
        const taken = shapeOf(options)
        for (const { options: other } of inner)
          for (const key of Object.keys(shapeOf(other)))
            if (!(key in taken) && !isCodes(shapeOf(other)[key]))
              expect(shown.has(kebab(key)), `${key} with ${paper.id}`).toBe(false)
        for (const [key, option] of Object.entries(taken)) {
          if (isCodes(option) || key in trainingOptions(1)) continue
          const words = (styleOf(option).description ?? '').split(' ').slice(0, 3).join(' ')
          expect(out.replace(/\s+/g, ' '), `${key} with ${paper.id}`).toContain(words)
        }
      }
    })

    it('adapts by the method chosen, by flags and by the config that such a run leaves', async () => {
      const flags = ['--adapter', 'houlsby', '--bottleneck', '3', '--placement', 'attention']
      await adapt(id, ...flags, '--out', at('flags'))
      expect(await configOf(at('flags'))).toMatchObject({ bottleneck: 3, placement: 'attention' })
      await writeFile(at('run.yaml'), 'adapter: houlsby\nbottleneck: 3\nplacement: attention\n')
      await adapt(id, '--config', at('run.yaml'), '--out', at('yaml'))
      expect(await configOf(at('yaml'))).toEqual(await configOf(at('flags')))
      const plain = await adapt(id, '--out', at('plain'))
      expect({ ...plain, type: (await configOf(at('plain'))).peft_type }).toMatchObject({
        code: 0,
        type: wrapper.peftType,
      })
    })

    it('refuses what the method chosen does not take, and values that it has not, before any work', async () => {
      const unwanted = await adapt(id, '--adapter', 'houlsby', '--rank', '4')
      expect(unwanted.code).toBe(2)
      expect(unwanted.err).toMatch(
        /UnwantedOption: --rank: not taken with --adapter houlsby\s+Taken with --adapter lora\|/,
      )
      const value = await adapt(id, '--rank', 'full')
      expect(value).toMatchObject({ code: 2, err: expect.stringMatching(/BadValue: --rank: expected/) })
      const name = await adapt(id, '--adapter', 'hulsby')
      expect(name).toMatchObject({ code: 2, err: expect.stringContaining('houlsby') })
      const virtual = await adapt(id, '--adapter', 'prefix')
      expect(virtual).toMatchObject({ code: 2, err: expect.stringContaining('--adapter: expected one of') })
    })
  },
)
