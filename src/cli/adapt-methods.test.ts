import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { scratchFolder, sentences, writeTinyLlama } from '../../test/tiny.js'
import { weft } from '../../test/weft.js'
import { methods } from '../adapt/index.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
const at = (name: string): string => join(scratch.path, name)
beforeAll(async () => {
  scratch = await scratchFolder()
  await writeTinyLlama(at('base'))
  await writeFile(at('data.jsonl'), sentences.map((text) => JSON.stringify({ text })).join('\n'))
})
afterAll(() => scratch.remove())

it.each(methods.map(({ paper, peftType, folds }) => [paper.id, peftType, folds] as const))(
  'weft adapt %s trains with its defaults, and what it saves folds where the method does',
  async (id, peftType, folds) => {
    const [base, out] = [at('base'), at(id)]
    const training = ['--data', at('data.jsonl'), '--out', out, '--steps', '2']
    const { code, err } = await weft('adapt', id, base, ...training)
    expect(err).not.toMatch(/Error/)
    expect(code).toBe(0)
    const config = JSON.parse(readFileSync(join(out, 'adapter_config.json'), 'utf8')) as object
    expect(config).toMatchObject({ peft_type: peftType })
    const folding = await weft('fold', base, out, '--out', at(`${id}-folded`))
    expect(folding.code, folding.err).toBe(folds ? 0 : 2)
  },
)
