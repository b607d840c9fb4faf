import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { goldenFolder } from '../../../test/golden.js'
import { scratch } from '../../../test/lab.js'
import { writeTinyLlama } from '../../../test/tiny.js'
import { lora } from '../../adapt/index.js'
import { open } from '../../checkpoint/index.js'
import type { JsonObject } from '../../checkpoint/index.js'
import { svd, matrix } from '../../linalg/index.js'
import { createModel, openModel } from '../../models/index.js'
import { openEmbedder } from '../../catalogue/index.js'
import { openTokenizer } from '../../text/index.js'
import { generateTokens } from '../../train/index.js'
import type { GenerateEvents } from '../api.js'
import type { Generation } from '../requests.js'
import { EmbedderProcess } from './embedder.js'
import { Playground } from './playground.js'
import { maxOf, minOf } from '../../tensor/numbers.js'

type Told = { [K in keyof GenerateEvents]: [K, GenerateEvents[K]] }[keyof GenerateEvents]

const { folder, remove } = scratch('playground')
const models = join(folder, 'models')
const base = join(models, 'tiny')
const playground = new Playground([models])

beforeAll(async () => {
  await writeTinyLlama(base)
  await using checkpoint = await open(base)
  const adapted = await lora(await openModel(checkpoint), { rank: 2, targets: ['q_proj', 'v_proj'] })
  await adapted.save(join(models, 'adapters', 'first'))
  await writeTinyLlama(join(folder, 'elsewhere'))
  symlinkSync(join(folder, 'elsewhere'), join(models, 'linked'))
  cpSync(base, join(models, 'borrowed'), { recursive: true })
  mkdirSync(join(models, 'empty'))
  writeFileSync(join(folder, 'secret.json'), '{}')
  symlinkSync(join(folder, 'secret.json'), join(models, 'borrowed', 'generation_config.json.link'))
})
afterAll(() => {
  playground.close()
  remove()
})

const request: Generation = {
  checkpoint: 'models/tiny',
  prompt: 'the cat',
  maxTokens: 6,
  temperature: 0.8,
  topP: 0.95,
  seed: 3,
}

const told = async (asked: Generation, signal = new AbortController().signal): Promise<Told[]> => {
  const events: Told[] = []
  const place = await playground.place(asked)
  await playground.generate(place, asked, (event, data) => events.push([event, data] as Told), signal)
  return events
}

describe('checkpoints', () => {
  test('are found under the roots with what they are, and links to elsewhere are not followed', async () => {
    const { checkpoints } = await playground.list()
    const found = Object.fromEntries(checkpoints.map((entry) => [entry.id, entry]))
    expect(Object.keys(found).sort()).toEqual(['models/adapters/first', 'models/borrowed', 'models/tiny'])
    expect(found['models/tiny']).toMatchObject({ kind: 'model', type: 'llama', generates: true, base: null })
    expect(found['models/adapters/first']).toMatchObject({ kind: 'adapter', type: 'LORA', generates: false })
    expect(found['models/adapters/first'].base?.id).toBe('models/tiny')
  })

  test.each([
    'models/../elsewhere',
    'models/linked',
    'models/borrowed',
    'models//etc',
    'models/nothing',
    'other/tiny',
    '/etc',
    '',
    'models/tiny\0',
    'models/tiny/../../elsewhere',
  ])('that do not lie wholly under the roots are not opened: %j', async (id) => {
    await expect(playground.tensors(id)).rejects.toMatchObject({ status: 404 })
    await expect(playground.place({ ...request, checkpoint: id })).rejects.toMatchObject({ status: 404 })
    await expect(playground.place({ ...request, adapter: id })).rejects.toMatchObject({ status: 404 })
  })

  test('show their tensors, and of each its histogram, moments and singular values', async () => {
    const { tensors } = await playground.tensors('models/tiny')
    await using checkpoint = await open(base)
    expect(tensors.map(({ name }) => name).sort()).toEqual(checkpoint.names())
    const { name } = tensors.find(({ shape }) => shape.length === 2)!
    const { data, shape } = await checkpoint.read(name, 'float32')
    const numbers = [...(data as Float32Array)]
    const statistics = await playground.statistics('models/tiny', name)
    const mean = numbers.reduce((sum, x) => sum + x, 0) / numbers.length
    const square = numbers.reduce((sum, x) => sum + (x - mean) ** 2, 0) / numbers.length
    expect(statistics.mean).toBeCloseTo(mean, 9)
    expect(statistics.deviation).toBeCloseTo(Math.sqrt(square), 9)
    expect([statistics.least, statistics.greatest]).toEqual([minOf(numbers), maxOf(numbers)])
    expect(statistics.histogram.counts.reduce((sum, n) => sum + n, 0)).toBe(numbers.length)
    const exact = svd(matrix(shape[0], shape[1], numbers)).s
    statistics.singularValues!.forEach((value, i) => expect(value).toBeCloseTo(exact[i], 9))
    await expect(playground.statistics('models/tiny', 'nothing')).rejects.toMatchObject({
      code: 'NoSuchTensor',
    })
  })
})

test('sentence vectors from a process of their own are those of the library', async () => {
  const bert = join(folder, 'bert')
  const config = JSON.parse(readFileSync(goldenFolder('bert-mlm', 'config.json'), 'utf8')) as JsonObject
  const model = await createModel({ ...config, vocab_size: 188, initializer_range: 0.3 }, { seed: 1 })
  await model.save(bert)
  cpSync(goldenFolder('tokenizers', 'wordpiece', 'tokenizer.json'), join(bert, 'tokenizer.json'))
  const texts = Array.from({ length: 20 }, (_, i) => `the cat sees ${i} apples`)
  const engine = new EmbedderProcess(bert)
  await using library = await openEmbedder(bert)
  const [there, here] = [await engine.embed(texts), await library.embed(texts)]
  engine.close()
  expect(there).toHaveLength(20)
  there.forEach((vector, i) => expect(vector).toEqual(here[i]))
  const none = new EmbedderProcess(base)
  await expect(none.embed(texts)).rejects.toMatchObject({ code: 'NoEmbedder' })
  none.close()
})

describe('generation', () => {
  test('gives the tokens, texts and probabilities that the library gives', async () => {
    const events = await told(request)
    const tokens = events.flatMap(([event, data]) => (event === 'token' ? [data] : []))
    expect(events.at(-1)).toMatchObject(['done', { tokens: tokens.length }])
    await using checkpoint = await open(base)
    const tokenizer = await openTokenizer(base)
    const expected = []
    const { maxTokens, temperature, topP, seed } = request
    const ids = tokenizer.encode(request.prompt)
    const options = { maxTokens, temperature, topP, seed }
    for await (const token of generateTokens(await openModel(checkpoint), ids, options)) expected.push(token)
    expect(tokens.map(({ id }) => id)).toEqual(expected.map(({ id }) => id))
    expect(tokens.map(({ probability }) => probability)).toEqual(
      expected.map(({ logProbability }) => Math.exp(logProbability)),
    )
    for (const { alternatives } of tokens) {
      expect(alternatives).toHaveLength(5)
      expect(alternatives.map((a) => a.probability)).toEqual(
        alternatives.map((a) => a.probability).sort((a, b) => b - a),
      )
    }
  })

  test('works with an adapter on the model, and says what is wrong with one that does not fit', async () => {
    const events = await told({ ...request, adapter: 'models/adapters/first' })
    expect(events.at(-1)?.[0]).toBe('done')
    const wrong = await told({ ...request, adapter: 'models/tiny' })
    expect(wrong).toMatchObject([['error', { code: 'NoSuchAdapter' }]])
    const long = await told({ ...request, prompt: 'cat '.repeat(5000) })
    expect(long).toMatchObject([['error', { code: 'TooLong' }]])
  })

  test('stops when its reader leaves, and the engine goes on with the next', async () => {
    const stop = new AbortController()
    const place = await playground.place(request)
    let tokens = 0
    const endless = { ...request, maxTokens: 1024 }
    await playground.generate(
      place,
      endless,
      () => {
        tokens++
        stop.abort()
      },
      stop.signal,
    )
    expect(tokens).toBeLessThan(20)
    expect((await told(request)).at(-1)?.[0]).toBe('done')
  })

  test('an engine that dies is an error, and the next request starts another', async () => {
    const running = told({ ...request, maxTokens: 1024 })
    await new Promise((done) => setTimeout(done, 50))
    playground.close()
    expect((await told(request)).at(-1)?.[0]).toBe('done')
    expect(['error', 'done']).toContain((await running).at(-1)![0])
  })
})
