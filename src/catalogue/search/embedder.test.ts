import { copyFileSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { goldenFolder } from '../../../test/golden.js'
import { diskFiles, openFile, writeSafetensors } from '../../checkpoint/index.js'
import { createModel } from '../../models/index.js'
import { catalogue, openEmbedder, PaperIndex } from '../../catalogue/index.js'

const base = mkdtempSync(join(tmpdir(), 'weft-embedder-'))
const headed = join(base, 'headed')
const bare = join(base, 'bare')

/** A BERT whose words are those of the reference tokenizer. */
beforeAll(async () => {
  const config = JSON.parse(readFileSync(goldenFolder('bert-mlm', 'config.json'), 'utf8')) as Record<
    string,
    never
  >
  const model = await createModel({ ...config, vocab_size: 188, initializer_range: 0.3 } as never, {
    seed: 1,
  })
  await model.save(headed)
  copyFileSync(goldenFolder('tokenizers', 'wordpiece', 'tokenizer.json'), join(headed, 'tokenizer.json'))
  cpSync(headed, bare, { recursive: true })
  // As sentence-transformers stores it: no head, no prefix.
  const kept = await openFile(diskFiles(headed), 'model.safetensors')
  const names = kept.names().filter((name) => name.startsWith('bert.'))
  const tensors = await Promise.all(
    names.map(async (name) => {
      const { shape, data } = await kept.read(name)
      return {
        name: name.slice(5),
        dtype: 'F32' as const,
        shape,
        data: new Uint8Array((data as Float32Array).buffer),
      }
    }),
  )
  await kept.close()
  await writeSafetensors(join(bare, 'model.safetensors'), tensors)
  const json = JSON.parse(readFileSync(join(bare, 'config.json'), 'utf8')) as object
  writeFileSync(join(bare, 'config.json'), JSON.stringify({ ...json, architectures: ['BertModel'] }))
})
afterAll(() => rmSync(base, { recursive: true, force: true }))

const cosine = (a: Float32Array, b: Float32Array): number => {
  const dot = (x: Float32Array, y: Float32Array): number => x.reduce((sum, v, i) => sum + v * y[i], 0)
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b))
}

test('a text has the same vector alone, among others, and from a checkpoint without a head', async () => {
  await using one = await openEmbedder(headed)
  await using other = await openEmbedder(bare)
  const texts = ['the cat sees two apples', 'apples', `the ${'cat '.repeat(400)}`, '']
  const together = await one.embed(texts)
  expect(together.map(({ length }) => length)).toEqual([32, 32, 32, 32])
  for (const [i, text] of texts.entries()) {
    const [alone] = await one.embed([text])
    const [headless] = await other.embed([text])
    expect(cosine(alone, together[i])).toBeCloseTo(1, 5)
    expect(cosine(alone, headless)).toBeCloseTo(1, 5)
  }
  expect(cosine(together[0], together[1])).toBeLessThan(0.999)
})

test('searching with it puts the paper whose text was asked for first', async () => {
  await using embedder = await openEmbedder(headed)
  const some = (await catalogue()).slice(0, 12)
  const index = new PaperIndex(some, embedder.embed)
  const { id, title, summary } = some[7]
  expect((await index.searchEmbedded(`${title}. ${summary}`))[0].paper.id).toBe(id)
})

test('a model that is no BERT is refused', async () => {
  await expect(openEmbedder(goldenFolder('gpt2'))).rejects.toMatchObject({ code: 'NoEmbedder', exitCode: 3 })
})
