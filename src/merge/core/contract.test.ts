/**
 * @file What every merge promises, asked of each method that recipes can name and of each procedure. What one needs (models,
 * a base, data, options that make it small) stands in its declaration; there is no list here.
 */
import { execFile } from 'node:child_process'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { dataOf, kindOf, members, membersFor, saveMerged, writeZoo } from '../../../test/merge-zoo.js'
import { scratchFolder } from '../../../test/tiny.js'
import { open } from '../../checkpoint/index.js'
import { openModel } from '../../models/index.js'
import {
  mergeRecipe,
  type MergeOptions,
  methods,
  type Procedure,
  procedures,
  type Recipe,
  recipeSchema,
} from '../index.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
const at = (...names: string[]): string => join(scratch.path, ...names)

/** Everything in this process computes on one thread; in the child on two. */
const engineThreads = process.env.WEFT_THREADS
let child: Promise<unknown>
beforeAll(async () => {
  process.env.WEFT_THREADS = '1'
  scratch = await scratchFolder()
  await writeZoo(at('zoo'))
  const script = fileURLToPath(new URL('../../../test/merge-zoo-child.ts', import.meta.url))
  const env = { ...process.env, WEFT_THREADS: '2' }
  child = promisify(execFile)(process.execPath, ['--import', 'tsx', script, at('zoo'), at('two')], { env })
  child.catch(() => undefined)
})
afterAll(async () => {
  if (engineThreads === undefined) delete process.env.WEFT_THREADS
  else process.env.WEFT_THREADS = engineThreads
  await child.catch(() => undefined)
  await scratch.remove()
})

type Contents = Record<string, { dtype: string; shape: readonly number[]; bytes: Uint8Array }>

const contentsOf = async (folder: string): Promise<Contents> => {
  await using checkpoint = await open(folder)
  await openModel(checkpoint)
  const contents: Contents = {}
  for (const name of checkpoint.names()) {
    const { dtype, shape } = checkpoint.info(name)
    contents[name] = { dtype, shape, bytes: await checkpoint.readRaw(name) }
  }
  return contents
}

const layoutOf = (contents: Contents): object =>
  Object.fromEntries(Object.entries(contents).map(([name, { shape }]) => [name, shape]))

const numbersIn = ({ bytes }: Contents[string]): Float32Array =>
  new Float32Array(Uint32Array.from(new Uint16Array(bytes.slice().buffer), (word) => word << 16).buffer)

/** What is in a folder, if there is one. */
const filesIn = (folder: string): Promise<string[]> => readdir(folder).catch(() => [])

let made = 0
const fresh = (): string => at(`out-${made++}`)

describe.each(methods.map((method) => [method.name, method] as const))('%s', (name, method) => {
  const inputs = membersFor(method)
  /** A recipe of the models; parameters that have no default are 0.3, unless the method says what makes it work. */
  const recipeFor = (models: readonly string[] = inputs): Recipe => {
    const required = Object.entries({ ...method.perModel, ...method.global }).filter(
      ([, schema]) => !schema.safeParse(undefined).success,
    )
    return {
      merge_method: name,
      ...(method.base === 'none' ? {} : { base_model: 'base' }),
      models: models.map((model) => ({ model })),
      parameters: { ...Object.fromEntries(required.map(([key]) => [key, 0.3])), ...method.example },
    }
  }
  const merged = async (recipe: Recipe, options: MergeOptions = {}): Promise<Contents> => {
    const out = fresh()
    await mergeRecipe(recipe, out, { folder: at('zoo', 'classifiers'), threads: 1, ...options })
    return contentsOf(out)
  }
  const refused = async (recipe: Recipe, error: object, options: MergeOptions = {}): Promise<void> => {
    const out = fresh()
    const attempt = mergeRecipe(recipe, out, { folder: at('zoo', 'classifiers'), threads: 1, ...options })
    await expect(attempt).rejects.toMatchObject(error)
    expect(await filesIn(out)).toEqual([])
  }
  let plain: Promise<Contents> | undefined
  const once = (): Promise<Contents> => (plain ??= merged(recipeFor()))

  it('writes a model with the tensors of its inputs, in one shard what it writes in many', async () => {
    const one = await once()
    expect(layoutOf(one)).toEqual(layoutOf(await contentsOf(at('zoo', 'classifiers', 'a'))))
    expect(await merged(recipeFor(), { maxShardBytes: 600 })).toEqual(one)
  })

  it('writes the same on two threads as on one', async () => {
    expect(await merged(recipeFor(), { threads: 2 })).toEqual(await once())
  })

  it('writes the same from one seed, and from another what does not depend on it', async () => {
    expect(await merged(recipeFor(), { seed: 0 })).toEqual(await once())
    const other = await merged(recipeFor(), { seed: 4 })
    if (method.random) expect(other).not.toEqual(await once())
    else expect(other).toEqual(await once())
  })

  it.runIf(inputs.length > 1 && !method.random)('gives its models the same say, in any order', async () => {
    const one = await once()
    const other = await merged(recipeFor([...inputs].reverse()))
    for (const [tensor, content] of Object.entries(one)) {
      const numbers = numbersIn(other[tensor])
      // Sums in another order may round to the other neighbour in bfloat16.
      numbersIn(content).forEach((x, i) =>
        expect(Math.abs(x - numbers[i])).toBeLessThanOrEqual(2 ** -7 * Math.abs(x) + 1e-6),
      )
    }
  })

  it('leaves nothing when it is aborted', async () => {
    await refused(recipeFor(), { name: 'AbortError' }, { signal: AbortSignal.abort() })
  })

  it('refuses a number that is none, and leaves nothing', async () => {
    await refused(recipeFor(['broken', ...inputs.slice(1)]), { code: 'NotFinite' })
  })

  it('refuses a parameter that there is not, and values that are none of its own', async () => {
    expect(() => recipeSchema.parse({ ...recipeFor(), parameters: { nosuch: 1 } })).toThrow(/nosuch/)
    for (const key of Object.keys({ ...method.perModel, ...method.global })) {
      const parameters = { ...recipeFor().parameters, [key]: 'text' as never }
      await refused({ ...recipeFor(), parameters }, { code: 'BadValue' })
    }
  })

  it('refuses too few and too many models, and no base where it needs one', async () => {
    const { counts, base } = method
    if (counts[1] < 3) await refused(recipeFor(['a', 'b', 'c']), { code: 'WrongModelCount' })
    if (counts[0] > 1) await refused(recipeFor(['a']), { code: 'WrongModelCount' })
    const { base_model: _, ...without } = recipeFor(['a', 'b'])
    if (base === 'required') await refused(without, { code: 'NoBase' })
  })
})

describe.each(procedures.map((procedure) => [procedure.name, procedure] as const))('%s', (name, given) => {
  const procedure = given as unknown as Procedure<Record<string, unknown>>
  const inputs = membersFor(procedure)
  const kind = kindOf(procedure)

  const saved = async (): Promise<Contents> => {
    const out = fresh()
    await saveMerged(procedure, at('zoo'), out)
    return contentsOf(out)
  }
  const refused = async (
    error: object,
    models: readonly string[] = inputs,
    more: Parameters<typeof saveMerged>[4] = {},
  ): Promise<void> => {
    const out = fresh()
    await expect(saveMerged(procedure, at('zoo'), out, models, more)).rejects.toMatchObject(error)
    expect(await filesIn(out)).toEqual([])
  }
  let plain: Promise<Contents> | undefined
  const once = (): Promise<Contents> => (plain ??= saved())

  it('writes a model that opens, with the tensors of its inputs', async () => {
    const first = await contentsOf(at('zoo', kind, inputs[0]))
    expect(Object.keys(await once()).sort()).toEqual(Object.keys(first).sort())
  })

  it('writes the same from one seed, on one thread and on two', async () => {
    expect(await saved()).toEqual(await once())
    await child.catch(() => undefined)
    expect(await contentsOf(at('two', name))).toEqual(await once())
  })

  it('leaves nothing when it is aborted, before it begins or on its way', async () => {
    await refused({ name: 'AbortError' }, inputs, { signal: AbortSignal.abort() })
    const stop = new AbortController()
    await refused({ name: 'AbortError' }, inputs, { signal: stop.signal, onProgress: () => stop.abort() })
  })

  it('refuses an option that there is not, and leaves nothing', async () => {
    await refused({ code: 'BadOption' }, inputs, { nosuch: 1 })
  })

  it('refuses too few and too many models, and what it has no use for', async () => {
    const { counts, base, data } = procedure
    await refused({ code: 'ModelCount' }, members.slice(0, counts[0] - 1))
    if (counts[1] < 3) await refused({ code: 'ModelCount' }, members)
    if (base === 'required') await refused({ code: 'NoBase' }, inputs, { base: undefined })
    if (data === 'required') await refused({ code: 'NoData' }, inputs, { data: undefined })
    if (data === 'none') await refused({ code: 'UnwantedData' }, inputs, { data: dataOf(kind) })
  })

  it('refuses a number that is none, and leaves nothing', async () => {
    const notFinite = { code: expect.stringMatching(/NotFinite$/) as string }
    await refused(notFinite, ['broken', ...inputs.slice(1)])
    if (inputs.length > 1) await refused(notFinite, [...inputs.slice(0, -1), 'broken'])
  })
})
