import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scratchFolder, sentences, writeTinyLlama } from '../../test/tiny.js'
import { open } from '../checkpoint/index.js'
import { type Model, openModel } from '../models/index.js'
import { forecast } from './needs.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
let model: Model
beforeAll(async () => {
  scratch = await scratchFolder()
  await writeTinyLlama(join(scratch.path, 'base'))
  model = await openModel(await open(join(scratch.path, 'base')), { trainable: true })
})
afterAll(() => scratch.remove())

describe('what a run will take', () => {
  it('names the flags with which a run would fit', async () => {
    const records = Array.from({ length: 128 }, (_, i) => ({
      text: sentences[i % sentences.length].repeat(8),
    }))
    const options = { batch: 128, length: 64 }
    const free = await forecast(model, records, options, Infinity)
    expect(free.fits).toBeUndefined()
    const room = await forecast(model, records, options, free.memory - free.memory * 0.02)
    expect(room.fits).toMatch(/^--recompute/)
  })
})
