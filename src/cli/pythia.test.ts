import { cp, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { scratchFolder } from '../../test/tiny.js'
import { reviews, writeTokenizer } from '../../test/tiny-tasks.js'
import { weft } from '../../test/weft.js'
import { open } from '../checkpoint/index.js'
import { toNumbers } from '../tensor/index.js'
import type { EvaluationReport } from './eval.js'

/** A GPT-NeoX in float16, as PyTorch writes it. */
const pytorch = fileURLToPath(new URL('../../test/pytorch/gpt-neox', import.meta.url))

let scratch: Awaited<ReturnType<typeof scratchFolder>>
const at = (...names: string[]): string => join(scratch.path, ...names)
const succeeded = async (...argv: string[]): Promise<string> => {
  const { code, out, err } = await weft(...argv)
  expect(code, err).toBe(0)
  return out
}

beforeAll(async () => {
  scratch = await scratchFolder()
  await cp(pytorch, at('pythia'), { recursive: true })
  await writeTokenizer(at('pythia'), false)
  await writeFile(at('texts.jsonl'), reviews.map(({ text }) => JSON.stringify({ text })).join('\n'))
})
afterAll(() => scratch.remove())

const lossOf = async (...argv: string[]): Promise<number> =>
  (JSON.parse(await succeeded('eval', ...argv, '--data', at('texts.jsonl'), '--json')) as EvaluationReport)
    .loss

it('Pythia in a .bin file is adapted with LoRA, evaluated, folded and continued', async () => {
  const argv = [at('pythia'), '--data', at('texts.jsonl'), '--targets', 'all-linear', '--steps', '30']
  await succeeded('adapt', 'lora', ...argv, '--lr', '3e-2', '--out', at('lora'))
  const before = await lossOf(at('pythia'))
  const adapted = await lossOf(at('pythia'), '--adapter', at('lora'))
  // The frozen head is small: its logits cannot be far apart.
  expect(adapted).toBeLessThan(before - 0.1)
  await succeeded('fold', at('pythia'), at('lora'), '--out', at('folded'))
  expect(await lossOf(at('folded'))).toBeCloseTo(adapted, 2)
  expect(await succeeded('generate', at('folded'), '--prompt', 'a fine', '--max-tokens', '3')).not.toBe('')
})

it('a .bin file is merged with a safetensors file, tensor by tensor', async () => {
  await succeeded('convert', at('pythia'), '--out', at('converted'), '--dtype', 'float32')
  await succeeded(
    'train',
    '--model',
    at('converted'),
    '--data',
    at('texts.jsonl'),
    '--steps',
    '3',
    '--out',
    at('tuned'),
  )
  await succeeded(
    'merge',
    '--method',
    'linear',
    at('pythia'),
    at('tuned'),
    '--dtype',
    'float32',
    '--out',
    at('merged'),
  )
  expect(await readdir(at('merged'))).toContain('model.safetensors')
  await using first = await open(at('pythia'))
  await using second = await open(at('tuned'))
  await using merged = await open(at('merged'))
  expect(merged.names()).toEqual(second.names())
  for (const name of merged.names()) {
    // PyTorch's file calls the head as Transformers does today.
    const a = toNumbers(await first.read(first.has(name) ? name : 'lm_head.weight'))
    const b = toNumbers(await second.read(name))
    const mean = a.map((x, i) => (x + b[i]) / 2)
    toNumbers(await merged.read(name)).forEach((x, i) => expect(x).toBeCloseTo(mean[i], 6))
  }
})
