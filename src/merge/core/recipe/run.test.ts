/** @file Writing: what the folder holds, shards, several documents, resuming after any interruption. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { goldenFolder } from '../../../../test/golden.js'
import { scratchFolder, writeTinyLlama } from '../../../../test/tiny.js'
import { open } from '../../../checkpoint/index.js'
import { openModel } from '../../../models/index.js'
import { keyOf, uniform } from '../../../random/index.js'
import { generate } from '../../../train/index.js'
import { explainMerge, isInterrupted, type MergeOptions, mergeRecipe, type Recipe } from '../../index.js'

const folder = goldenFolder('merge')
let scratch: Awaited<ReturnType<typeof scratchFolder>>
const at = (name: string): string => join(scratch.path, name)
beforeAll(async () => {
  scratch = await scratchFolder()
})
afterAll(() => scratch.remove())

const models = ['a', 'b'].map((model) => ({ model, parameters: { weight: 0.5, density: 0.5 } }))
const dare: Recipe = { merge_method: 'dare_ties', base_model: 'base', models, dtype: 'bfloat16' }
const small: MergeOptions = { folder, maxShardBytes: 12_000, seed: 5 }

/** Every file of a folder with its content. */
const contents = async (path: string): Promise<Record<string, string>> =>
  Object.fromEntries(
    await Promise.all(
      (await readdir(path)).sort().map(async (f) => [f, await readFile(join(path, f), 'latin1')]),
    ),
  ) as Record<string, string>

describe('a merged folder', () => {
  it('holds the same tensors in one shard as in many', async () => {
    await mergeRecipe(dare, at('many'), small)
    await mergeRecipe(dare, at('one'), { folder, seed: 5 })
    expect((await readdir(at('many'))).filter((f) => f.endsWith('.safetensors')).length).toBeGreaterThan(4)
    await using many = await open(at('many'))
    await using one = await open(at('one'))
    expect(many.names()).toEqual(one.names())
    for (const name of one.names()) expect(await many.readRaw(name)).toEqual(await one.readRaw(name))
  })

  it('refuses to replace weights, unless it is told to', async () => {
    await expect(mergeRecipe(dare, at('one'), small)).rejects.toThrow(/already holds model.safetensors/)
    await mergeRecipe(dare, at('one'), { ...small, overwrite: true })
    const names = async (name: string): Promise<string[]> => Object.keys(await contents(at(name)))
    expect(await names('one')).toEqual(await names('many'))
  })

  it('generates, with tokenizer, card and recipe beside it', async () => {
    await writeTinyLlama(at('x'))
    await writeTinyLlama(at('y'))
    const pair = [at('x'), at('y')].map((model) => ({ model }))
    const recipe: Recipe = {
      merge_method: 'slerp',
      base_model: at('x'),
      models: pair,
      parameters: { t: 0.5 },
    }
    await mergeRecipe(recipe, at('xy'), { source: '# as it was\n' })
    const files = await contents(at('xy'))
    expect(files['mergekit_config.yml']).toBe('# as it was\n')
    expect(files['README.md']).toMatch(/^---\nbase_model:\n[^]*A merge by `slerp`/)
    await using checkpoint = await open(at('xy'))
    let text = ''
    for await (const piece of generate(await openModel(checkpoint), 'The cat', { maxTokens: 3 }))
      text += piece
    expect(text).not.toBe('')
  })
})

describe('vocabularies', () => {
  const pair = (): Recipe => ({
    merge_method: 'linear',
    models: [at('x'), at('z')].map((model) => ({ model, parameters: { weight: 1 } })),
  })
  const renamed = async (from: RegExp, to: string): Promise<void> => {
    await writeTinyLlama(at('z'))
    const file = join(at('z'), 'tokenizer.json')
    await writeFile(file, (await readFile(file, 'utf8')).replaceAll(from, to))
  }

  it('that number tokens differently are refused, unless it is wanted', async () => {
    await renamed(/"cat":/g, '"kat":')
    await expect(explainMerge(pair())).rejects.toThrow(/same number for the token "cat"/)
    const [{ notes }] = await explainMerge(pair(), { allowCrimes: true })
    expect(notes.join()).toMatch(/"cat"/)
  })

  it('that differ in added tokens are noted', async () => {
    await renamed(/<\/s>/g, '<end>')
    const [{ notes }] = await explainMerge(pair())
    expect(notes.join()).toMatch(/"<\/s>"/)
  })
})

describe('several documents', () => {
  it('use what earlier ones made, and leave nothing of it behind', async () => {
    const half: Recipe = {
      name: 'half',
      merge_method: 'linear',
      models: ['a', 'b'].map((model) => ({ model, parameters: { weight: 1 } })),
    }
    const last: Recipe = {
      merge_method: 'linear',
      models: ['half', 'c'].map((model, i) => ({ model, parameters: { weight: 2 - i } })),
    }
    await mergeRecipe([half, last], at('steps'), { folder })
    expect((await readdir(at('steps'))).filter((f) => f.startsWith('.'))).toEqual([])
    await using merged = await open(at('steps'))
    const sources = await Promise.all(['a', 'b', 'c'].map((name) => open(join(folder, name))))
    const name = 'model.layers.1.mlp.up_proj.weight'
    const [a, b, c] = await Promise.all(sources.map(async (s) => (await s.read(name)).data as Float32Array))
    ;(await merged.read(name)).data.forEach((x, i) => expect(x).toBeCloseTo((a[i] + b[i] + c[i]) / 3, 6))
    await Promise.all(sources.map((s) => s.close()))
  })

  it('need names', async () => {
    await expect(mergeRecipe([dare, dare], at('nameless'), { folder })).rejects.toThrow(
      /document 1 .* no name/,
    )
  })
})

describe('an interrupted merge', () => {
  it('is not begun over by mistake, and goes on only with the same recipe and inputs', async () => {
    const stop = new AbortController()
    const onProgress = ({ done = 0, total = 0 }): void => void (done > total / 2 && stop.abort())
    const halted = mergeRecipe(dare, at('halted'), { ...small, signal: stop.signal, onProgress })
    await expect(halted).rejects.toThrow(/abort/)
    expect((await readdir(at('halted'))).filter((f) => !f.startsWith('.'))).toEqual([])
    await expect(mergeRecipe(dare, at('halted'), small)).rejects.toThrow(/--resume/)
    const other = { ...dare, parameters: { lambda: 2 } }
    await expect(mergeRecipe(other, at('halted'), { ...small, resume: true })).rejects.toThrow(
      /something else/,
    )
    await mergeRecipe(dare, at('halted'), { ...small, resume: true })
    expect(withoutTitle(await contents(at('halted')))).toEqual(withoutTitle(await contents(at('many'))))
  })

  it('killed at any moment: no partial file under a final name; resumed, it gives the same bytes', async () => {
    const wanted = withoutTitle(await contents(at('many')))
    const out = at('killed')
    /** Merges in a process that is killed `after` so many milliseconds; gives how long it lived. */
    const killed = async (after: number, options: MergeOptions): Promise<number> => {
      await rm(out, { recursive: true, force: true })
      await mkdir(out)
      const child = spawn(
        process.execPath,
        ['--import', 'tsx', fileURLToPath(new URL('../../../../test/merge-child.ts', import.meta.url))],
        {
          stdio: ['ignore', 'pipe', 'inherit'],
          env: { ...process.env, MERGE: JSON.stringify({ recipe: dare, out, options }) },
        },
      )
      const ended = once(child, 'exit')
      await once(child.stdout, 'data')
      const start = performance.now()
      await Promise.race([sleep(after), ended])
      child.kill('SIGKILL')
      await ended
      return performance.now() - start
    }
    const whole = await killed(60_000, small)
    expect(withoutTitle(await contents(out))).toEqual(wanted)
    const moments = new Float32Array(10)
    uniform(moments, keyOf('kill'))
    let interrupted = 0
    for (const [kill, moment] of moments.entries()) {
      await killed(moment * whole, { ...small, threads: 1 + (kill % 2) })
      if (await isInterrupted(out)) interrupted++
      for (const [file, content] of Object.entries(await visible(out)))
        expect(content === wanted[file] || file === 'README.md', file).toBe(true)
      await mergeRecipe(dare, out, { ...small, resume: true })
      expect(withoutTitle(await contents(out))).toEqual(wanted)
    }
    expect(interrupted).toBeGreaterThan(0)
  })
})

/** The model card is titled by its folder. */
const withoutTitle = (files: Record<string, string>): Record<string, string> => ({
  ...files,
  'README.md': files['README.md'].replace(/^# .*$/m, ''),
})

/** Files under final names. */
const visible = async (path: string): Promise<Record<string, string>> => {
  const names = (await readdir(path)).filter((f) => !f.startsWith('.'))
  return Object.fromEntries(
    await Promise.all(names.map(async (f) => [f, await readFile(join(path, f), 'latin1')])),
  ) as Record<string, string>
}
