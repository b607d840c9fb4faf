import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from 'esbuild'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { goldenFolder } from '../../test/golden.js'
import { CheckpointError } from '../errors.js'
import type { RandomAccess } from './checkpoint.js'
import { type Files, openBytes, openFolder } from './folder.js'
import { open } from './open.js'

let folder = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-folder-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const contentOf = (path: string): Record<string, Uint8Array> =>
  Object.fromEntries(
    readdirSync(path)
      .filter((file) => file !== 'golden.safetensors')
      .map((file) => [file, new Uint8Array(readFileSync(join(path, file)))]),
  )
const json = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value))
const models = readdirSync(goldenFolder(), { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && readdirSync(goldenFolder(entry.name)).includes('config.json'))
  .map(({ name }) => name)

describe('golden folders', () => {
  it.each(models)('%s opens from disk and from memory alike, with all its numbers finite', async (model) => {
    await using disk = await open(goldenFolder(model))
    await using memory = await openBytes(contentOf(goldenFolder(model)))
    expect(disk.config.model_type).toBeTypeOf('string')
    expect(disk.names().length).toBeGreaterThan(5)
    expect(memory.names()).toEqual(disk.names())
    for (const name of disk.names()) {
      const value = await disk.read(name)
      expect(value.shape).toEqual(disk.info(name).shape)
      expect(value).toEqual(await memory.read(name))
      for (const x of value.data) if (!Number.isFinite(Number(x))) expect.fail(`${name} holds ${x}`)
    }
  })

  it('include sharded ones, whose index says where every tensor is', async () => {
    await using checkpoint = await open(goldenFolder('llama'))
    const index = JSON.parse(readFileSync(goldenFolder('llama', 'model.safetensors.index.json'), 'utf8')) as {
      weight_map: Record<string, string>
    }
    expect(Object.fromEntries(checkpoint.names().map((name) => [name, checkpoint.info(name).file]))).toEqual(
      index.weight_map,
    )
    expect(checkpoint.generationConfig).toMatchObject({ eos_token_id: 2 })
  })
})

describe('reading', () => {
  it('a tensor touches its bytes alone', async () => {
    const reads: [string, number, number][] = []
    const content = contentOf(goldenFolder('llama'))
    const files: Files = {
      folder: 'counted',
      list: async () => Object.keys(content),
      open: async (file): Promise<RandomAccess> => ({
        size: content[file].length,
        read: async (into, offset) => {
          reads.push([file, offset, into.length])
          into.set(content[file].subarray(offset, offset + into.length))
        },
        close: async () => {},
      }),
    }
    const checkpoint = await openFolder(files)
    reads.length = 0
    const { file, offset, length } = checkpoint.info('model.norm.weight')
    await checkpoint.read('model.norm.weight')
    expect(reads).toEqual([[file, offset, length]])
  })

  it('in blocks of rows gives the same bytes as at once, in one buffer', async () => {
    await using checkpoint = await open(goldenFolder('llama'))
    const buffer = new Uint8Array(1000)
    for (const name of ['model.embed_tokens.weight', 'model.norm.weight'])
      for (const options of [{}, { blockBytes: 1 }, { blockBytes: 700 }, { buffer }]) {
        const pieces: Uint8Array[] = []
        const buffers = new Set<ArrayBufferLike>()
        let next = 0
        for await (const { start, end, bytes } of checkpoint.rows(name, options)) {
          expect(start).toBe(next)
          next = end
          buffers.add(bytes.buffer)
          pieces.push(bytes.slice())
        }
        expect(next).toBe(checkpoint.info(name).shape[0])
        expect(buffers.size).toBe(1)
        if ('buffer' in options) expect(buffers.has(buffer.buffer)).toBe(true)
        expect(new Uint8Array(Buffer.concat(pieces))).toEqual(await checkpoint.readRaw(name))
      }
  })

  it('into a reused buffer returns a view of it, and refuses one that is too small', async () => {
    await using checkpoint = await open(goldenFolder('llama'))
    const buffer = new Uint8Array(checkpoint.info('lm_head.weight').length + 100)
    const bytes = await checkpoint.readRaw('lm_head.weight', buffer)
    expect(bytes.buffer).toBe(buffer.buffer)
    await expect(checkpoint.readRaw('lm_head.weight', new Uint8Array(10))).rejects.toThrow(
      /"lm_head.weight" takes \d+ bytes/,
    )
  })

  it('an absent tensor names the nearest ones', async () => {
    await using checkpoint = await open(goldenFolder('llama'))
    await expect(checkpoint.read('model.norm.weigth')).rejects.toThrow(/Nearest: model\.norm\.weight/)
  })

  it('a file that was cut off after opening is an error that names file and tensor', async () => {
    cpSync(goldenFolder('gpt2'), folder, { recursive: true })
    await using checkpoint = await open(folder)
    truncateSync(join(folder, 'model.safetensors'), 5000)
    const last = checkpoint
      .names()
      .sort((a, b) => checkpoint.info(a).offset - checkpoint.info(b).offset)
      .at(-1)!
    await expect(checkpoint.read(last)).rejects.toThrow(
      new RegExp(`model\\.safetensors: tensor "${last}": .*early`),
    )
  })

  it('after closing fails with a typed error', async () => {
    const checkpoint = await open(goldenFolder('gpt2'))
    await checkpoint.close()
    await expect(checkpoint.read(checkpoint.names()[0])).rejects.toThrow(CheckpointError)
  })
})

describe('a broken folder is one CheckpointError:', () => {
  const llama = contentOf(goldenFolder('llama'))
  const indexFile = 'model.safetensors.index.json'
  const index = JSON.parse(new TextDecoder().decode(llama[indexFile])) as {
    weight_map: Record<string, string>
  }
  const withIndex = (change: (map: Record<string, unknown>) => void): Record<string, Uint8Array> => {
    const weight_map: Record<string, unknown> = { ...index.weight_map }
    change(weight_map)
    return { ...llama, [indexFile]: json({ weight_map }) }
  }
  const without = (...files: string[]): Record<string, Uint8Array> =>
    Object.fromEntries(Object.entries(llama).filter(([file]) => !files.includes(file)))
  const shards = [...new Set(Object.values(index.weight_map))].sort()
  const [first, second, third] = shards
  const inSecond = Object.keys(index.weight_map).find((tensor) => index.weight_map[tensor] === second)!
  const escapes = [
    '../model-00001-of-00005.safetensors',
    '/etc/x.safetensors',
    'a/../../x.safetensors',
    '..\\x.safetensors',
    'c:x.safetensors',
    '..',
    '',
  ]

  const cases: Record<string, [content: Record<string, Uint8Array>, code: string, words: RegExp]> = {
    'a missing shard': [without(third), 'MissingFile', new RegExp(third)],
    'a missing config': [without('config.json'), 'NoConfig', /config\.json/],
    'a missing index': [without(indexFile), 'NoWeights', new RegExp(`${first}.*index\\.json`, 's')],
    'no weights at all': [{ 'config.json': json({}) }, 'NoWeights', /none of model\.safetensors/],
    'weights in a pickle that is no state dict': [
      { 'config.json': json({}), 'pytorch_model.bin': json(0) },
      'ForeignPickle',
      /opcode POP \(0x30\) at byte 0/,
    ],
    'an adapter folder': [{ 'adapter_config.json': json({}) }, 'NoWeights', /adapter/],
    'an index that is no JSON': [
      { ...llama, [indexFile]: json({}).subarray(1) },
      'InvalidJson',
      /index\.json/,
    ],
    'an index without weight_map': [{ ...llama, [indexFile]: json({}) }, 'InvalidIndex', /weight_map/],
    'an index with a file that is no name': [
      withIndex((map) => (map['lm_head.weight'] = 3)),
      'InvalidIndex',
      /"lm_head.weight"/,
    ],
    'an index naming an absent tensor': [
      withIndex((map) => (map.ghost = first)),
      'MissingTensor',
      new RegExp(`"ghost".*${first}`),
    ],
    'an index naming the wrong shard': [
      withIndex((map) => (map[inSecond] = first)),
      'MissingTensor',
      new RegExp(`${inSecond}.*${first}.*${second}.* does`),
    ],
    'an index without a tensor that a shard holds': [
      withIndex((map) => delete map[inSecond]),
      'UnexpectedTensor',
      new RegExp(`${inSecond}.*${second}`),
    ],
    'a tensor in two shards': [
      { ...llama, [second]: llama[first] },
      'DuplicateTensor',
      new RegExp(`of ${first} is also in ${second}`),
    ],
    'a truncated shard': [
      {
        ...llama,
        [second]: llama[second].slice(0, -1),
      },
      'OutOfRange',
      new RegExp(`${second}.*tensor`),
    ],
    'a config that is a list': [{ ...llama, 'config.json': json([]) }, 'InvalidJson', /config\.json.*object/],
    ...Object.fromEntries(
      escapes.map((path) => [
        `a shard path ${JSON.stringify(path)}`,
        [withIndex((map) => (map['lm_head.weight'] = path)), 'PathLeavesFolder', /"lm_head.weight"/] as [
          Record<string, Uint8Array>,
          string,
          RegExp,
        ],
      ]),
    ),
  }
  for (const [what, [content, code, words]] of Object.entries(cases))
    it(what, async () => {
      for (const [file, bytes] of Object.entries(content)) writeFileSync(join(folder, file), bytes)
      for (const [opened, name] of [
        [openBytes(content, 'memory', { strict: true }), 'memory'],
        [open(folder, { strict: true }), folder],
      ] as const) {
        const error = await opened.then(
          () => undefined,
          (e: unknown) => e,
        )
        expect(error).toBeInstanceOf(CheckpointError)
        expect((error as CheckpointError).code).toBe(code)
        expect((error as Error).message.startsWith(name)).toBe(true)
        expect((error as Error).message).toMatch(words)
      }
    })

  describe('but an index out of step with its shards opens with one warning, and what it says decides', () => {
    const warned: Record<string, [content: Record<string, Uint8Array>, words: RegExp, names: number]> = {
      'a tensor that no shard holds': [
        withIndex((map) => (map.ghost = first)),
        new RegExp(`index\\.json is out of step.*"ghost" should be in ${first}`, 's'),
        0,
      ],
      'a tensor that the index leaves out': [
        withIndex((map) => delete map[inSecond]),
        new RegExp(`${inSecond}.*of ${second} is not in it`),
        -1,
      ],
      'a tensor that lies in another shard': [
        withIndex((map) => (map[inSecond] = first)),
        new RegExp(`${inSecond}.*should be in ${first}, which does not hold it; ${second} does`),
        -1,
      ],
      'a tensor in two shards': [
        { ...llama, [third]: llama[second], [indexFile]: withIndex((map) => forget(map, third))[indexFile] },
        new RegExp(`of ${second} is also in ${third}`),
        -Object.values(index.weight_map).filter((file) => file === third).length + 1,
      ],
    }
    /** Leaves of what lies in `file` one tensor, so that the file is read. */
    function forget(map: Record<string, unknown>, file: string): void {
      const there = Object.keys(map).filter((name) => map[name] === file)
      for (const name of there.slice(1)) delete map[name]
    }
    it.each(Object.keys(warned))('%s', async (what) => {
      const [content, words, more] = warned[what]
      await using memory = await openBytes(content, 'memory')
      expect(memory.warnings).toHaveLength(1)
      expect(memory.warnings[0]).toMatch(words)
      const there = memory.names().length
      expect(there).toBe(
        Object.keys(index.weight_map).length + (what.includes('two shards') ? more - 1 : more),
      )
      for (const [file, bytes] of Object.entries(content)) writeFileSync(join(folder, file), bytes)
      const told: string[] = []
      await using disk = await open(folder, { onWarning: (warning) => told.push(warning) })
      expect(told).toEqual(disk.warnings)
      await using whole = await openBytes(llama)
      for (const name of disk.names()) {
        expect(disk.info(name).file).toBe(index.weight_map[name])
        expect(await disk.readRaw(name)).toEqual(await whole.readRaw(name))
      }
    })

    it('an index in step has none', async () => {
      expect((await openBytes(llama)).warnings).toEqual([])
    })
  })

  it('a link that leads out of the folder', async () => {
    const inside = join(folder, 'model')
    mkdirSync(inside)
    cpSync(goldenFolder('gpt2', 'config.json'), join(inside, 'config.json'))
    cpSync(goldenFolder('gpt2', 'model.safetensors'), join(folder, 'secret.safetensors'))
    symlinkSync('../secret.safetensors', join(inside, 'model.safetensors'))
    await expect(open(inside)).rejects.toMatchObject({ code: 'PathLeavesFolder' })
  })

  it('a link that leads nowhere, or in a circle', async () => {
    symlinkSync('nowhere', join(folder, 'model.safetensors'))
    await expect(open(folder)).rejects.toMatchObject({ code: 'MissingFile' })
    rmSync(join(folder, 'model.safetensors'))
    symlinkSync('model.safetensors', join(folder, 'model.safetensors'))
    await expect(open(folder)).rejects.toMatchObject({ code: 'ReadFailed', exitCode: 3 })
  })

  it('a folder where a file should be', async () => {
    mkdirSync(join(folder, 'model.safetensors'))
    await expect(open(folder)).rejects.toMatchObject({ code: 'NotAFile' })
  })
})

describe('open', () => {
  it('takes a single file, by a link too', async () => {
    symlinkSync(goldenFolder('gpt2', 'golden.safetensors'), join(folder, 'link.safetensors'))
    await using checkpoint = await open(join(folder, 'link.safetensors'))
    expect((await checkpoint.read('losses')).shape).toEqual([6])
    expect(checkpoint.config).toEqual({})
  })

  it('finds a hub id in the cache, whose snapshots link to blobs', async () => {
    const model = join(folder, 'models--org--tiny')
    const commit = 'c'.repeat(40)
    mkdirSync(join(model, 'snapshots', commit), { recursive: true })
    mkdirSync(join(model, 'blobs'))
    mkdirSync(join(model, 'refs'))
    writeFileSync(join(model, 'refs', 'main'), commit)
    for (const file of ['config.json', 'model.safetensors']) {
      cpSync(goldenFolder('gpt2', file), join(model, 'blobs', `blob-${file}`))
      symlinkSync(`../../blobs/blob-${file}`, join(model, 'snapshots', commit, file))
    }
    for (const id of ['org/tiny', 'org/tiny@main', `org/tiny@${commit}`]) {
      await using checkpoint = await open(id, { cache: folder })
      expect(checkpoint.config.model_type).toBe('gpt2')
    }
    await expect(open('org/tiny@v2', { cache: folder })).rejects.toThrow(/weft pull org\/tiny@v2/)
  })

  it('says what to do about a name that is nowhere', async () => {
    await expect(open('org/absent', { cache: folder })).rejects.toThrow(/weft pull org\/absent/)
    await expect(open('./no/such/folder', { cache: folder })).rejects.toThrow(/no such folder or file/)
    await expect(open('org/absent', { cache: folder, revision: '../../x' })).rejects.toThrow(CheckpointError)
  })
})

it('the part for browsers bundles without node modules', async () => {
  const { errors } = await build({
    entryPoints: [new URL('./web.ts', import.meta.url).pathname],
    bundle: true,
    write: false,
    platform: 'browser',
    format: 'esm',
    logLevel: 'silent',
  })
  expect(errors).toEqual([])
})
