/** @file The verbs that use a model: generate, eval, fold. */
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scratchFolder, sentences, tinyConfig, writeRandom, writeTinyLlama } from '../../test/tiny.js'
import { weft } from '../../test/weft.js'
import { open } from '../checkpoint/index.js'
import { openModel } from '../models/index.js'
import { simpleChatTemplate } from '../text/index.js'
import { generate } from '../train/index.js'
import type { EvaluationReport } from './eval.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
let [base, data, adapter]: string[] = []
const at = (name: string): string => join(scratch.path, name)
const prompt = 'The cat'

beforeAll(async () => {
  scratch = await scratchFolder()
  ;[base, data, adapter] = ['base', 'data.jsonl', 'adapter'].map(at)
  await writeTinyLlama(base)
  await writeFile(data, sentences.map((text) => JSON.stringify({ text })).join('\n'))
  const argv = ['--targets', 'all-linear', '--steps', '8', '--lr', '2e-2', '--batch', '4']
  await weft('adapt', 'lora', base, '--data', data, '--out', adapter, ...argv)
})
afterAll(() => scratch.remove())

const fromLibrary = async (options: object): Promise<string> => {
  await using checkpoint = await open(base)
  let text = ''
  for await (const piece of generate(await openModel(checkpoint), prompt, options)) text += piece
  return text
}

const generated = async (...argv: string[]): Promise<string> => {
  const { code, out, err } = await weft('generate', ...argv, '--prompt', prompt, '--max-tokens', '12')
  expect(err).toBe('')
  expect(code).toBe(0)
  return out
}

describe('weft generate', () => {
  it('prints what the library gives, greedy and drawn', async () => {
    expect(await generated(base)).toBe(`${await fromLibrary({ maxTokens: 12 })}\n`)
    const drawn = { maxTokens: 12, temperature: 1, topK: 50, topP: 0.9, seed: 7 }
    const flags = ['--top-k', '50', '--top-p', '0.9', '--seed', '7']
    expect(await generated(base, ...flags)).toBe(`${await fromLibrary(drawn)}\n`)
    expect(await generated(base, ...flags, '--seed', '8')).not.toBe(await generated(base, ...flags))
  })

  it('ends before a stop', async () => {
    const whole = await fromLibrary({ maxTokens: 12 })
    const stop = whole.slice(4, 6)
    expect(await generated(base, `--stop=${stop}`)).toBe(`${whole.slice(0, whole.indexOf(stop))}\n`)
    expect(await generated(base, '--stop=never', `--stop=${stop}`)).toBe(
      `${whole.slice(0, whole.indexOf(stop))}\n`,
    )
    // With a comma it is one text: neither side of it ends the answer.
    expect(await generated(base, `--stop=${stop.trim()},${stop.trim()}`)).toBe(`${whole}\n`)
  })

  it("puts an adapter on the model; the adapter's folder alone finds its base", async () => {
    const text = await generated(base, '--adapter', adapter)
    expect(text).not.toBe(await generated(base))
    expect(await generated(adapter)).toBe(text)
  })

  it("takes an adapter's own tokenizer and chat template, which fold keeps", async () => {
    const own = at('own')
    cpSync(adapter, own, { recursive: true })
    writeFileSync(join(own, 'chat_template.jinja'), '{{ messages[0].content }}!')
    const promptOf = async (...argv: string[]): Promise<unknown> => {
      const { out } = await weft('generate', ...argv, '-p', 'Hi', '-n', '1', '--json')
      return (JSON.parse(out) as { prompt: unknown }).prompt
    }
    expect(await promptOf(base, '--adapter', adapter)).toBe('Hi')
    expect(await promptOf(base, '--adapter', own)).toEqual([{ role: 'user', content: 'Hi' }])
    expect(await promptOf(own)).toEqual([{ role: 'user', content: 'Hi' }])
    const folded = at('folded-own')
    await weft('fold', base, own, '--out', folded)
    expect(readFileSync(join(folded, 'chat_template.jinja'), 'utf8')).toBe('{{ messages[0].content }}!')
    expect(readFileSync(join(folded, 'tokenizer.json'))).toEqual(readFileSync(join(base, 'tokenizer.json')))

    const changed = JSON.parse(readFileSync(join(base, 'tokenizer.json'), 'utf8')) as Record<string, unknown>
    writeFileSync(
      join(own, 'tokenizer.json'),
      JSON.stringify({ ...changed, normalizer: { type: 'Lowercase' } }),
    )
    writeFileSync(join(own, 'tokenizer_config.json'), '{"eos_token": "</s>"}')
    const replaced = at('folded-replaced')
    await weft('fold', base, own, '--out', replaced)
    const names = (await readdir(replaced)).filter((name) => /token|template/.test(name))
    expect(names.sort()).toEqual(['chat_template.jinja', 'tokenizer.json', 'tokenizer_config.json'])
    expect(readFileSync(join(replaced, 'tokenizer.json'), 'utf8')).toContain('Lowercase')
    const said = await weft('generate', base, '--adapter', own, '--no-chat', '-p', 'THE CAT', '-n', '4')
    expect(said.out).toBe((await weft('generate', replaced, '--no-chat', '-p', 'the cat', '-n', '4')).out)
  })

  it('answers by the chat template where there is one, unless told not to', async () => {
    const chatty = at('chatty')
    await writeTinyLlama(chatty)
    await writeFile(join(chatty, 'chat_template.jinja'), simpleChatTemplate)
    const promptOf = async (...more: string[]): Promise<unknown> => {
      const { out } = await weft('generate', chatty, '-p', 'Hi', '-n', '1', '--json', ...more)
      return (JSON.parse(out) as { prompt: unknown }).prompt
    }
    expect(await promptOf('--system', 'Be kind.')).toEqual([
      { role: 'system', content: 'Be kind.' },
      { role: 'user', content: 'Hi' },
    ])
    expect(await promptOf('--no-chat')).toBe('Hi')
  })

  it('takes a hub id that is in the cache, and the prompt from standard input', async () => {
    const snapshots = join(scratch.path, 'hub', 'models--tiny--llama', 'snapshots')
    const refs = join(scratch.path, 'hub', 'models--tiny--llama', 'refs')
    mkdirSync(snapshots, { recursive: true })
    mkdirSync(refs)
    writeFileSync(join(refs, 'main'), 'a'.repeat(40))
    symlinkSync(base, join(snapshots, 'a'.repeat(40)))
    const main = fileURLToPath(new URL('main.ts', import.meta.url))
    const argv = ['--import', 'tsx', main, 'generate', 'tiny/llama', '--prompt', '-', '-n', '12']
    const env = { ...process.env, HF_HUB_CACHE: join(scratch.path, 'hub') }
    const { stdout, stderr, status } = spawnSync(process.execPath, argv, { input: `${prompt}\n`, env })
    expect([String(stderr), status]).toEqual(['', 0])
    expect(String(stdout)).toBe(`${await fromLibrary({ maxTokens: 12 })}\n`)
  })

  it.each([
    [['--temperature', '-1'], 2, /^BadValue: --temperature/],
    [['--top-p', '0'], 2, /^BadValue: --top-p/],
    [['--system', 'Be kind.'], 2, /^NoChat: /],
    [['--adapter', 'nowhere'], 3, /^NoSuch\w+: nowhere/],
  ])('refuses %j', async (flags, exitCode, message) => {
    const { code, err } = await weft('generate', base, '--prompt', 'x', ...flags)
    expect(err).toMatch(message)
    expect(code).toBe(exitCode)
  })
})

const report = async (...argv: string[]): Promise<EvaluationReport> => {
  const { code, out } = await weft('eval', ...argv, '--json')
  expect(code).toBe(0)
  return JSON.parse(out) as EvaluationReport
}

describe('weft eval', () => {
  it('measures loss, speed and memory; an adapter trained on the data lowers the loss', async () => {
    const plain = await report(base, '--data', data)
    const adapted = await report(base, '--adapter', adapter, '--data', data)
    expect(plain.perplexity).toBeCloseTo(Math.exp(plain.loss))
    expect(adapted.loss).toBeLessThan(plain.loss)
    expect(plain.tokensPerSecond).toBeGreaterThan(0)
    expect(plain.peakMemory).toBeGreaterThan(2 ** 20)
    expect((await weft('eval', base, '--data', data)).out).toMatch(/^loss +[\d.]+ over [\d,]+ tokens\n/)
  })

  it('measures accuracy on multiple choice', async () => {
    const choices = at('choices.jsonl')
    const record = { question: 'The cat', choices: ['sleeps today.', 'sings.'], answer: 'A' }
    await writeFile(choices, JSON.stringify(record))
    expect([0, 1]).toContain((await report(base, '--data', choices)).accuracy)
  })
})

describe('weft fold', () => {
  it('writes a plain checkpoint that evaluates as base and adapter do', async () => {
    const merged = at('merged')
    expect((await weft('fold', base, adapter, '--out', merged, '--max-shard-size', '20kB')).code).toBe(0)
    const shards = (await readdir(merged)).filter((file) => file.endsWith('.safetensors'))
    expect(shards.length).toBeGreaterThan(1)
    const together = await report(base, '--adapter', adapter, '--data', data)
    expect((await report(merged, '--data', data)).loss).toBeCloseTo(together.loss, 4)
  })

  it('--dry-run writes nothing; a folder that holds something is refused unless forced', async () => {
    const dry = await weft('fold', base, adapter, '--out', at('dry'), '--dry-run')
    expect(dry.out).toMatch(/^Would fold 14 modules/)
    expect(existsSync(at('dry'))).toBe(false)
    const out = at('folded')
    mkdirSync(out)
    writeFileSync(join(out, 'notes.txt'), 'mine')
    expect(await weft('fold', base, adapter, '--out', out)).toMatchObject({ code: 2 })
    expect((await weft('fold', base, adapter, '--out', out, '--force')).code).toBe(0)
    expect(readFileSync(join(out, 'notes.txt'), 'utf8')).toBe('mine')
  })

  it('refuses a base that the adapter was not trained on, unless told to', async () => {
    const other = at('other')
    await writeTinyLlama(other)
    await writeRandom(other, tinyConfig(320), 'another seed')
    const argv = ['fold', other, adapter, '--out', at('wrong')]
    const { code, err } = await weft(...argv)
    expect(err).toMatch(/^WrongBase: /)
    expect(code).toBe(3)
    expect(existsSync(at('wrong'))).toBe(false)
    expect((await weft(...argv, '--any-base')).code).toBe(0)
  })
})
