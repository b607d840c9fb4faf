import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scratchFolder, sentences, writeTinyLlama } from '../../test/tiny.js'
import { opened } from '../../test/opened.js'
import { type Model, openModel } from '../models/index.js'
import { rehearse } from '../train/index.js'
import { fitting } from './needs.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
let model: Model
beforeAll(async () => {
  scratch = await scratchFolder()
  await writeTinyLlama(join(scratch.path, 'base'))
  model = await openModel(await opened(join(scratch.path, 'base')), { trainable: true })
})
afterAll(() => scratch.remove())

describe('what a run will take', () => {
  it('names the flags with which a run would fit', async () => {
    const records = Array.from({ length: 128 }, (_, i) => ({
      text: sentences[i % sentences.length].repeat(8),
    }))
    const options = { batch: 128, length: 64 }
    const { memory } = await rehearse(model, records, options)
    expect(await fitting(model, records, options, memory - 1)).toBe('--recompute')
    expect(await fitting(model, records, options, memory / 2)).toMatch(
      /^--recompute --batch \d+ --accumulate \d+$/,
    )
    expect(await fitting(model, records, options, 0)).toBeUndefined()
  })
})
