import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { goldenFolder } from '../../test/golden.js'
import { CheckpointError, UsageError } from '../errors.js'
import { type Adapter, adapterNames, readAdapter, writeAdapter } from './adapter.js'
import { adapterPrefix } from './names.js'
import type { TensorData } from './write.js'

let folder = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-adapter-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const tensorsOf = ({ tensors }: Adapter): TensorData[] =>
  tensors.names().map((name) => ({ ...tensors.info(name), data: () => tensors.readRaw(name) }))

it.each(readdirSync(goldenFolder('peft')))(
  "PEFT's %s, read and written, has the same config and the same weight file",
  async (name) => {
    const adapter = await readAdapter(goldenFolder('peft', name))
    await writeAdapter(folder, adapter.config, tensorsOf(adapter))
    await adapter.tensors.close()
    const read = (path: string): Buffer => readFileSync(join(path, 'adapter_model.safetensors'))
    expect(Buffer.compare(read(folder), read(goldenFolder('peft', name)))).toBe(0)
    const config = (path: string): string => readFileSync(join(path, 'adapter_config.json'), 'utf8')
    expect(JSON.parse(config(folder))).toEqual(JSON.parse(config(goldenFolder('peft', name))))
    expect(readdirSync(folder).sort()).toEqual([
      'README.md',
      'adapter_config.json',
      'adapter_model.safetensors',
    ])
  },
)

it('the config has sorted keys and two spaces a level, and names the base; the README has front matter', async () => {
  const adapter = await readAdapter(goldenFolder('peft', 'lora'))
  await using _open = adapter.tensors
  expect(adapter.tensors.names()[0].startsWith(adapterPrefix)).toBe(true)
  await writeAdapter(folder, adapter.config, tensorsOf(adapter), {
    base: 'org/base',
    metadata: { base_sha256: 'ab' },
  })
  const text = readFileSync(join(folder, 'adapter_config.json'), 'utf8')
  const config = JSON.parse(text) as Record<string, unknown>
  expect(config.base_model_name_or_path).toBe('org/base')
  expect(Object.keys(config)).toEqual(Object.keys(config).sort())
  expect(text).toBe(JSON.stringify(config, null, 2).replace('"lora_dropout": 0,', '"lora_dropout": 0.0,'))
  expect(readFileSync(join(folder, 'README.md'), 'utf8')).toMatch(
    /^---\nbase_model: org\/base\nlibrary_name: peft\ntags:\n- "?base_model:adapter:org\/base"?\n- lora\n- weft\n---\n/,
  )
  const written = await readAdapter(folder)
  await using _written = written.tensors
  expect(written.tensors.metadata).toEqual({ format: 'pt', base_sha256: 'ab' })
})

it('an adapter with a name sits in a sub-folder of that name', async () => {
  const adapter = await readAdapter(goldenFolder('peft', 'ia3'))
  await writeAdapter(folder, adapter.config, tensorsOf(adapter))
  await writeAdapter(folder, adapter.config, tensorsOf(adapter), { name: 'second' })
  await adapter.tensors.close()
  expect(await adapterNames(folder)).toEqual(['default', 'second'])
  const second = await readAdapter(folder, 'second')
  expect(second.folder).toBe(join(folder, 'second'))
  await second.tensors.close()
  await expect(readAdapter(folder, 'third')).rejects.toThrow(/no adapter "third".*\s+It holds: .*second/)
  await expect(writeAdapter(folder, adapter.config, [], { name: '../out' })).rejects.toThrow(UsageError)
})

it('keeps a README that is there already', async () => {
  writeFileSync(join(folder, 'README.md'), 'mine')
  await writeAdapter(folder, { peft_type: 'LORA' }, [])
  expect(readFileSync(join(folder, 'README.md'), 'utf8')).toBe('mine')
})

it('what is no adapter, or a broken one, is one CheckpointError', async () => {
  await expect(readAdapter(goldenFolder('llama'))).rejects.toThrow(/no adapter/)
  cpSync(goldenFolder('peft', 'lora'), folder, { recursive: true })
  const file = join(folder, 'adapter_config.json')
  writeFileSync(file, '{"r": 4}')
  await expect(readAdapter(folder)).rejects.toThrow(/peft_type/)
  writeFileSync(file, '{"peft_type": "LORA"')
  await expect(readAdapter(folder)).rejects.toThrow(CheckpointError)
  writeFileSync(file, '{"peft_type": "LORA"}')
  rmSync(join(folder, 'adapter_model.safetensors'))
  await expect(readAdapter(folder)).rejects.toThrow(/adapter_model\.safetensors: no such file/)
  mkdirSync(join(folder, 'adapter_model.bin'))
  await expect(readAdapter(folder)).rejects.toThrow(/not a regular file/)
})

it('an adapter that PEFT saved at first opens: a state dict of PyTorch', async () => {
  cpSync(goldenFolder('peft', 'lora'), folder, { recursive: true })
  rmSync(join(folder, 'adapter_model.safetensors'))
  const dict = fileURLToPath(new URL('../../test/pytorch/zip.bin', import.meta.url))
  cpSync(dict, join(folder, 'adapter_model.bin'))
  const { tensors } = await readAdapter(folder)
  await using adapter = tensors
  expect(adapter.info('transposed')).toMatchObject({ dtype: 'F32', shape: [6, 4] })
})
