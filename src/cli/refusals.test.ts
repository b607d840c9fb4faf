/** @file The order of refusals: what is cheap to see is refused before a model is opened or data are read, and leaves nothing. */
import { existsSync } from 'node:fs'
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { goldenFolder } from '../../test/golden.js'
import { scratchFolder, sentences, writeTinyLlama } from '../../test/tiny.js'
import { type Outcome, weftWith } from '../../test/weft.js'
import { shapeOf, styleOf } from './schema.js'
import type { Action } from './verb.js'
import { verbs } from './verbs.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
const at = (...names: string[]): string => join(scratch.path, ...names)
const weft = (...argv: string[]): Promise<Outcome> => weftWith({ WEFT_HOME: at('home') }, argv)

beforeAll(async () => {
  scratch = await scratchFolder()
  await writeTinyLlama(at('model'))
  // Whoever opens it, or reads this file, is refused for that, and not for what comes before.
  await mkdir(at('poisoned'))
  await writeFile(at('poisoned', 'config.json'), '{ not json')
  await writeFile(at('poisoned.jsonl'), 'no record\n')
  await writeFile(at('data.jsonl'), sentences.map((text) => JSON.stringify({ text })).join('\n'))
  await mkdir(at('used'))
  await writeFile(at('used', 'file'), 'mine')
})
afterAll(() => scratch.remove())

interface Named {
  readonly words: readonly string[]
  readonly action: Action
}

const actions: Named[] = (
  await Promise.all(
    verbs.map(async (verb): Promise<Named[]> => {
      if (!('members' in verb)) return [{ words: [verb.name], action: verb }]
      return (await verb.members()).map((action) => ({ words: [verb.name, action.name], action }))
    }),
  )
).flat()

/** Flags that name files, by what is done with them. */
const filesOf = async ({ action }: Named, kind: 'input' | 'output'): Promise<string[]> => {
  const schema = await action.options?.()
  const options = schema ? Object.entries(shapeOf(schema)) : []
  const isOfKind = (names?: string): boolean => names === kind || (kind === 'input' && names === 'data')
  return options.flatMap(([key, option]) => (isOfKind(styleOf(option).names) ? [key] : []))
}

const onModels = actions.filter(({ action }) => action.arguments.some(({ names }) => names === 'model'))

const poisonedCall = async (named: Named, flags: Readonly<Record<string, string>>): Promise<Outcome> => {
  const inputs = await filesOf(named, 'input')
  const outputs = await filesOf(named, 'output')
  const given = {
    ...Object.fromEntries(inputs.slice(0, 1).map((key) => [key, at('poisoned.jsonl')])),
    ...Object.fromEntries(outputs.map((key) => [key, at('fresh')])),
    ...('prompt' in shapeOf((await named.action.options?.())!) ? { prompt: 'x' } : {}),
    ...flags,
  }
  const argv = Object.entries(given).flatMap(([key, value]) => [
    `--${key.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`,
    value,
  ])
  return weft(...named.words, ...named.action.arguments.map(() => at('poisoned')), ...argv)
}

describe.each(onModels.map((named) => [named.words.join(' '), named] as const))('weft %s', (_, named) => {
  it('refuses a folder in use and missing files before it opens the model', async () => {
    for (const key of await filesOf(named, 'output'))
      expect((await poisonedCall(named, { [key]: at('used') })).err).toMatch(/^FolderInUse: /)
    for (const key of await filesOf(named, 'input'))
      expect((await poisonedCall(named, { [key]: at('absent.jsonl') })).err).toMatch(/^NoSuchFile: /)
    expect(existsSync(at('fresh'))).toBe(false)
    expect(existsSync(at('home'))).toBe(false)
  })

  it('refuses a model that is not there', async () => {
    const { code, err } = await weft(
      ...named.words,
      ...named.action.arguments.map(() => at('nowhere')),
      ...(await filesOf(named, 'input')).slice(0, 1).flatMap((key) => [`--${key}`, at('data.jsonl')]),
      ...(await filesOf(named, 'output')).flatMap((key) => [`--${key}`, at('fresh')]),
      ...(named.words[0] === 'generate' ? ['--prompt', 'x'] : []),
    )
    expect(err).toMatch(/^NoSuchModel: /)
    expect(code).toBe(3)
  })
})

it('a model of another task is refused before data are read', async () => {
  const bert = goldenFolder('bert-mlm')
  for (const argv of [
    ['adapt', 'lora', bert],
    ['train', '--model', bert],
    ['eval', bert],
  ]) {
    const { err } = await weft(...argv, '--task', 'causal', '--data', at('poisoned.jsonl'))
    expect(err).toMatch(/^WrongTask: /)
  }
  expect(existsSync(at('home'))).toBe(false)
})

it('a device that is not there is refused first of all', async () => {
  const before = process.env.WEFT_DEVICE
  const argv = ['adapt', 'lora', at('poisoned'), '--data', at('absent.jsonl'), '--out', at('used')]
  const { code, err } = await weft(...argv, '--device', 'cuda')
  if (before === undefined) delete process.env.WEFT_DEVICE
  else process.env.WEFT_DEVICE = before
  expect(err).toMatch(/^EngineError: device cuda is not available here/)
  expect(code).toBe(1)
})

it('a run that is refused while it works leaves nothing; one that was there stands as it was', async () => {
  const argv = ['adapt', 'lora', at('model'), '--data', at('data.jsonl'), '--batch', '4', '--steps', '1']
  const refused = await weft(...argv, '--length', '1000')
  expect(refused.err).toMatch(/^TooLong: /)
  expect(existsSync(at('home'))).toBe(false)
  await weft(...argv, '--out', at('kept'))
  const files = (await readdir(at('kept'))).sort()
  const again = await weft(...argv, '--out', at('kept'), '--length', '1000', '--force')
  expect(again.err).toMatch(/^TooLong: /)
  expect((await readdir(at('kept'))).sort()).toEqual(files)
})
