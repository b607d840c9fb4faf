import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { goldenFolder } from '../../test/golden.js'
import { UsageError } from '../errors.js'
import { valueOf } from '../tensor/value.js'
import type { Checkpoint } from './checkpoint.js'
import { copyCompanions } from './companions.js'
import { open } from './open.js'
import { safetensorsDTypes, tensorBytes } from './safetensors.js'
import { CheckpointWriter, type TensorData, writeSafetensors } from './write.js'

let folder = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-write-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const tensorsOf = (checkpoint: Checkpoint): TensorData[] =>
  checkpoint.names().map((name) => ({ ...checkpoint.info(name), data: () => checkpoint.readRaw(name) }))

const dump = async (path: string): Promise<Map<string, unknown>> => {
  await using checkpoint = await open(path)
  const out = new Map<string, unknown>()
  for (const name of checkpoint.names()) {
    const { dtype, shape } = checkpoint.info(name)
    out.set(name, { dtype, shape, bytes: Buffer.from(await checkpoint.readRaw(name)).toString('base64') })
  }
  return out
}

describe('writeSafetensors', () => {
  it('then open is the identity for every dtype and shape, the data whole or in pieces', async () => {
    const path = join(folder, 'x.safetensors')
    const tensor = fc.record({
      name: fc.string({ minLength: 1 }).filter((name) => name !== '__metadata__'),
      dtype: fc.constantFrom(...safetensorsDTypes),
      shape: fc.array(fc.nat({ max: 5 }), { maxLength: 3 }),
      pieces: fc.integer({ min: 1, max: 4 }),
    })
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(tensor, { selector: ({ name }) => name, maxLength: 6 }),
        async (plans) => {
          const content = plans.map((plan, i) =>
            new Uint8Array(tensorBytes(plan.dtype, plan.shape)).map((_, j) => i * 31 + j),
          )
          const tensors = plans.map(({ pieces, ...plan }, i): TensorData => {
            const step = Math.ceil(content[i].length / pieces) || 1
            const parts = Array.from({ length: pieces }, (_, k) =>
              content[i].subarray(k * step, (k + 1) * step),
            )
            return { ...plan, data: pieces === 1 ? content[i] : () => parts }
          })
          await writeSafetensors(path, tensors)
          const found = await dump(path)
          expect(found.size).toBe(plans.length)
          plans.forEach(({ name, dtype, shape }, i) =>
            expect(found.get(name)).toEqual({
              dtype,
              shape,
              bytes: Buffer.from(content[i]).toString('base64'),
            }),
          )
        },
      ),
      { numRuns: 50 },
    )
  })

  it('copies a golden file to the same bytes', async () => {
    await using checkpoint = await open(goldenFolder('gpt2', 'model.safetensors'))
    await writeSafetensors(join(folder, 'x.safetensors'), tensorsOf(checkpoint))
    expect(
      Buffer.compare(
        readFileSync(join(folder, 'x.safetensors')),
        readFileSync(goldenFolder('gpt2', 'model.safetensors')),
      ),
    ).toBe(0)
  })

  it.each<[string, TensorData['data'], RegExp]>([
    ['too few bytes', new Uint8Array(7), /"a": only 7 of its 8 bytes/],
    ['too many bytes', new Uint8Array(9), /"a": more than its 8 bytes/],
    ['data that fail', () => Promise.reject(new Error('source failed')), /source failed/],
  ])('given %s, fails and leaves the old file and nothing else', async (_, data, words) => {
    const path = join(folder, 'x.safetensors')
    writeFileSync(path, 'old')
    await expect(writeSafetensors(path, [{ name: 'a', dtype: 'F32', shape: [2], data }])).rejects.toThrow(
      words,
    )
    expect(readdirSync(folder)).toEqual(['x.safetensors'])
    expect(readFileSync(path, 'utf8')).toBe('old')
  })
})

describe('CheckpointWriter', () => {
  const writeCopy = async (
    source: string,
    options: { maxShardBytes?: number; overwrite?: boolean } = {},
  ): Promise<void> => {
    await using checkpoint = await open(source)
    const tensors = tensorsOf(checkpoint)
    await using writer = await CheckpointWriter.create(folder, tensors, options)
    for (const { name, data } of [...tensors].reverse()) await writer.write(name, data)
    expect(readdirSync(folder).filter((file) => !file.startsWith('.') && !options.overwrite)).toEqual([])
    await writer.finish({ 'config.json': checkpoint.config })
  }

  it.each([1, 20_000, 5e9])(
    'shards at %d bytes, and the folder opens to the same tensors and config',
    async (maxShardBytes) => {
      await writeCopy(goldenFolder('llama'), { maxShardBytes })
      expect(await dump(folder)).toEqual(await dump(goldenFolder('llama')))
      await using checkpoint = await open(folder)
      await using golden = await open(goldenFolder('llama'))
      expect(checkpoint.config).toEqual(golden.config)
      const sizes = new Map<string, number[]>()
      for (const name of checkpoint.names()) {
        const { file, length } = checkpoint.info(name)
        sizes.set(file, [...(sizes.get(file) ?? []), length])
      }
      for (const lengths of sizes.values())
        if (lengths.length > 1) expect(lengths.reduce((a, b) => a + b)).toBeLessThanOrEqual(maxShardBytes)
      const indexPath = join(folder, 'model.safetensors.index.json')
      if (sizes.size > 1) {
        const index = JSON.parse(readFileSync(indexPath, 'utf8')) as { metadata: unknown }
        expect(index.metadata).toEqual({ total_size: [...sizes.values()].flat().reduce((a, b) => a + b) })
        expect([...sizes.keys()][0]).toMatch(/^model-00001-of-000\d\d\.safetensors$/)
      } else expect([existsSync(indexPath), [...sizes.keys()]]).toEqual([false, ['model.safetensors']])
      expect(readdirSync(folder).filter((file) => file.startsWith('.'))).toEqual([])
    },
  )

  it('refuses a folder that holds weights, and replaces them all on purpose', async () => {
    await writeCopy(goldenFolder('llama'), { maxShardBytes: 20_000 })
    await expect(writeCopy(goldenFolder('gpt2'))).rejects.toThrow(UsageError)
    await writeCopy(goldenFolder('gpt2'), { overwrite: true })
    expect(readdirSync(folder).sort()).toEqual(['config.json', 'model.safetensors'])
    expect(await dump(folder)).toEqual(await dump(goldenFolder('gpt2')))
    await writeCopy(goldenFolder('llama'), { maxShardBytes: 80_000, overwrite: true })
    expect(await dump(folder)).toEqual(await dump(goldenFolder('llama')))
  })

  const plan = [
    { name: 'a', dtype: 'F32', shape: [2] },
    { name: 'b', dtype: 'BF16', shape: [3] },
  ] as const

  it('leaves nothing when it is aborted, left by an error, or finished too early', async () => {
    const aborted = await CheckpointWriter.create(folder, plan)
    await aborted.write('a', new Uint8Array(8))
    await aborted.abort()
    expect(readdirSync(folder)).toEqual([])
    const failing = async (): Promise<void> => {
      await using writer = await CheckpointWriter.create(folder, plan, { maxShardBytes: 1 })
      await writer.write('a', new Uint8Array(8))
      throw new Error('merge failed')
    }
    await expect(failing()).rejects.toThrow('merge failed')
    expect(readdirSync(folder)).toEqual([])
    const early = await CheckpointWriter.create(folder, plan)
    await early.write('a', new Uint8Array(8))
    await expect(early.finish()).rejects.toThrow(/"b": only 0 of its 6 bytes/)
    expect(readdirSync(folder)).toEqual([])
  })

  it('checks the names, dtypes and shapes of what is written', async () => {
    await using writer = await CheckpointWriter.create(folder, plan)
    await expect(writer.write('aa', new Uint8Array(8))).rejects.toThrow(/"aa" was not planned.\s+Nearest: a/)
    await expect(writer.writeValue('a', valueOf([1, 2, 3], [3]))).rejects.toThrow(
      /"a" is F32 \[3\], planned as F32 \[2\]/,
    )
    await expect(writer.writeValue('b', valueOf([1, 2, 3], [3]))).rejects.toThrow(/planned as BF16/)
    await expect(
      CheckpointWriter.create(join(folder, 'other'), [...plan, plan[0]], { maxShardBytes: 1 }),
    ).rejects.toThrow(/"a" appears twice/)
  })
})

describe('a process killed in the middle of writing', () => {
  /** Runs a script that writes forever after printing a line, kills it there, and waits for its end. */
  const killInside = async (body: string): Promise<void> => {
    const script = `import { writeSafetensors, CheckpointWriter } from ${JSON.stringify(new URL('./write.ts', import.meta.url).href)}
      const folder = ${JSON.stringify(folder)}
      const plan = { name: 'a', dtype: 'U8', shape: [1e12] }
      async function* endless() { for (let i = 0; ; i++) { if (i === 20) console.log('writing'); yield new Uint8Array(65536) } }
      ${body}`
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    await new Promise((resolve) => child.stdout.once('data', resolve))
    child.kill('SIGKILL')
    await new Promise((resolve) => child.once('close', resolve))
  }

  it('leaves the old file as it was', async () => {
    const path = join(folder, 'model.safetensors')
    writeFileSync(path, 'old')
    await killInside(`await writeSafetensors(folder + '/model.safetensors', [{ ...plan, data: endless() }])`)
    expect(readFileSync(path, 'utf8')).toBe('old')
  })

  it('leaves nothing under a final name in a folder, and the next run goes through', async () => {
    await killInside(`const writer = await CheckpointWriter.create(folder, [plan, { ...plan, name: 'b' }])
      await writer.write('a', endless())`)
    expect(readdirSync(folder).filter((file) => !file.startsWith('.'))).toEqual([])
    await using writer = await CheckpointWriter.create(folder, [{ name: 'a', dtype: 'U8', shape: [2] }])
    await writer.write('a', Uint8Array.of(1, 2))
    await writer.finish({ 'config.json': {} })
    await using checkpoint = await open(folder)
    expect([...(await checkpoint.read('a')).data]).toEqual([1, 2])
  })
})

it('copyCompanions copies tokenizer and settings, and neither weights nor config', async () => {
  const from = join(folder, 'from')
  const to = join(folder, 'to')
  await copyCompanions(goldenFolder('tokenizers', 'wordpiece'), from)
  for (const file of ['config.json', 'model.safetensors', 'README.md', 'chat_template.jinja'])
    writeFileSync(join(from, file), file)
  expect(await copyCompanions(from, to)).toEqual(['chat_template.jinja', 'tokenizer.json'])
  expect(readdirSync(to).sort()).toEqual(['chat_template.jinja', 'tokenizer.json'])
  expect(readFileSync(join(to, 'tokenizer.json'))).toEqual(
    readFileSync(goldenFolder('tokenizers', 'wordpiece', 'tokenizer.json')),
  )
})
