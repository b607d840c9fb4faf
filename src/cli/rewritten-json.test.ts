/** @file Numbers in Hugging Face's JSON keep their text through every verb that writes such a file again. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scratchFolder, sentences, writeTinyLlama } from '../../test/tiny.js'
import { weftWith } from '../../test/weft.js'
import { open } from '../checkpoint/index.js'
import { openModel } from '../models/index.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
const at = (...name: string[]): string => join(scratch.path, ...name)
const weft = async (...argv: string[]): Promise<void> => {
  const { code, err } = await weftWith({ WEFT_HOME: at('home') }, argv)
  expect(code, err).toBe(0)
}

/** Lines that Python may write and JavaScript would not. */
const lines = [
  '"attention_dropout": 0.0',
  '"initializer_range": 2e-02',
  '"pretraining_tp": 1',
  '"rms_norm_eps": 1e-05',
]
const big = '"model_max_length": 1000000000000000019884624838656'

const withLines = async (file: string, more: readonly string[]): Promise<void> => {
  const keys = more.map((line) => line.slice(0, line.indexOf(':')))
  const kept = (await readFile(file, 'utf8'))
    .split('\n')
    .filter((line) => !keys.some((key) => line.startsWith(`  ${key}`)))
  const [open, ...rest] = kept
  await writeFile(file, [open, ...more.map((line) => `  ${line},`), ...rest].join('\n'))
}

const expectLines = async (file: string, wanted: readonly string[]): Promise<void> => {
  const there = (await readFile(file, 'utf8')).split('\n').map((line) => line.trim().replace(/,$/, ''))
  for (const line of wanted) expect(there, file).toContain(line)
}

beforeAll(async () => {
  scratch = await scratchFolder()
  await writeTinyLlama(at('base'))
  await withLines(at('base', 'config.json'), lines)
  await withLines(at('base', 'tokenizer_config.json'), [big])
  await writeFile(at('data.jsonl'), sentences.map((text) => JSON.stringify({ text })).join('\n'))
  const training = ['--data', at('data.jsonl'), '--steps', '2', '--batch', '2', '--lr', '0.1']
  await weft('adapt', 'lora', at('base'), ...training, '--out', at('adapter'))
  await weft('fold', at('base'), at('adapter'), '--out', at('folded'))
})
afterAll(() => scratch.remove())

describe('config.json', () => {
  it('of a merge, whatever its recipe changes', async () => {
    const models = `models: [{ model: ${at('base')} }, { model: ${at('folded')} }]`
    await writeFile(
      at('recipe.yaml'),
      `merge_method: linear\n${models}\nparameters: { weight: 1 }\ndtype: float32\n`,
    )
    await weft('merge', at('recipe.yaml'), '--out', at('merged'))
    await expectLines(at('merged', 'config.json'), lines)
  })

  it('of a procedure', async () => {
    await weft('merge', at('base'), at('folded'), '--method', 'uniform-soup', '--out', at('souped'))
    await expectLines(at('souped', 'config.json'), lines)
  })

  it('of a folded adapter', () => expectLines(at('folded', 'config.json'), lines))

  it('of a model that is trained and saved', async () => {
    await using checkpoint = await open(at('base'))
    const model = await openModel(checkpoint, { trainable: true })
    await model.save(at('saved'))
    await expectLines(at('saved', 'config.json'), lines)
  })
})

describe('adapter_config.json', () => {
  it('has floats where PEFT declares floats', () =>
    expectLines(at('adapter', 'adapter_config.json'), ['"lora_dropout": 0.0']))
})

describe("a tokenizer's files", () => {
  it('that a union of vocabularies writes', async () => {
    const models = `models: [{ model: ${at('base')} }, { model: ${at('folded')} }]`
    const recipe = `merge_method: linear\n${models}\nparameters: { weight: 1 }\ntokenizer: { source: union }\nchat_template: chatml\n`
    await writeFile(at('union.yaml'), recipe)
    await weft('merge', at('union.yaml'), '--out', at('union'))
    await expectLines(at('union', 'tokenizer_config.json'), [big])
    await expectLines(at('union', 'config.json'), lines)
  })
})
