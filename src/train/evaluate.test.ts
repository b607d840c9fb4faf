import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scratchFolder, sentences, writeTinyLlama } from '../../test/tiny.js'
import { opened } from '../../test/opened.js'
import { type Model, openModel } from '../models/index.js'
import { valueOf } from '../tensor/index.js'
import { evaluate, fit } from './index.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
let model: Model
const records = sentences.map((text) => ({ text }))
beforeAll(async () => {
  scratch = await scratchFolder()
  await writeTinyLlama(join(scratch.path, 'base'))
  const base = await openModel(await opened(join(scratch.path, 'base')), { trainable: true })
  model = (await fit(base, records, { batch: 5, length: 24, steps: 60, learningRate: 1e-2 })).model
})
afterAll(() => scratch.remove())

const deeds = ['sleeps', 'runs', 'sings', 'hides']
const question = (animal: string, answer: number) => ({
  prompt: `The ${animal}`,
  choices: deeds.map((deed) => `${deed} today.`),
  answer,
})

describe('evaluation', () => {
  it('gives the same loss whatever the batch: every label weighs the same', async () => {
    const one = await evaluate(model, records, { batch: 1, length: 24 })
    const many = await evaluate(model, records, { batch: 7, length: 24 })
    expect(many.labels).toBe(one.labels)
    expect(many.loss).toBeCloseTo(one.loss, 5)
    expect(many.perplexity).toBeCloseTo(Math.exp(one.loss), 5)
    expect(many.accuracy).toBeUndefined()
    expect(many.tokensPerSecond).toBeGreaterThan(0)
  })

  it('scores multiple choice by the likelihood of the choices: a taught model knows, and is wrong when asked for others', async () => {
    const asked = ['cat', 'dog', 'owl', 'fox'].map((animal, i) => question(animal, i))
    expect(await evaluate(model, asked, { length: 32 })).toMatchObject({ accuracy: 1, accuracyPerToken: 1 })
    const wrong = asked.map((q) => ({ ...q, answer: (q.answer + 1) % 4 }))
    expect(await evaluate(model, wrong, { length: 32 })).toMatchObject({ accuracy: 0, accuracyPerToken: 0 })
  })

  it('reads as many batches as asked for, of any kind of data', async () => {
    const ids = valueOf([3, 4, 5, 6], [1, 4], 'int32')
    const data = function* () {
      for (;;) yield { ids, labels: ids }
    }
    expect((await evaluate(model, data, { batches: 2 })).labels).toBe(6)
  })
})
