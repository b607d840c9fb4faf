import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { goldenFolder } from '../../test/golden.js'
import type { Inspection } from './inspect.js'
import { run } from './program.js'

const weft = async (...argv: string[]): Promise<{ code: number; out: string; err: string }> => {
  let [out, err] = ['', '']
  const code = await run(argv, {
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text) },
    env: {},
    signal: new AbortController().signal,
  })
  return { code, out, err }
}

const llama = join(goldenFolder(), 'llama')

describe('weft inspect', () => {
  it('--json counts every stored number once and says where each tensor is', async () => {
    const { code, out } = await weft('inspect', llama, '--json')
    const found = JSON.parse(out) as Inspection
    expect(code).toBe(0)
    expect(found).toMatchObject({ modelType: 'llama', architectures: ['LlamaForCausalLM'] })
    const counted = found.tensors.map(({ shape }) => shape.reduce((a, b) => a * b, 1))
    expect(found.parameters).toBe(counted.reduce((a, b) => a + b, 0))
    expect(found.bytes).toBe(found.parameters * 4)
    expect(new Set(found.tensors.map(({ file }) => file))).toEqual(new Set(found.files))
    expect(found.modules.find(({ name }) => name === 'model.layers.0.self_attn.q_proj')?.tensors).toEqual({
      weight: found.tensors.find(({ name }) => name === 'model.layers.0.self_attn.q_proj.weight')?.shape,
    })
  })

  it('prints a page; --modules folds the layers, --tensors lists all', async () => {
    const { out } = await weft('inspect', llama, '--modules', '--tensors')
    expect(out).toMatch(/architecture +LlamaForCausalLM \(llama\)/)
    expect(out).toMatch(/model\.layers\.\{0-\d+\}\.self_attn\.q_proj +\d+ +[\d,]+ +weight \d+ x \d+/)
    expect(out).toMatch(
      /model\.layers\.1\.mlp\.up_proj\.weight +F32 +\d+ x \d+ .* model-0000\d-of-0000\d\.safetensors/,
    )
  })

  it('shows an adapter as what it is', async () => {
    const { out } = await weft('inspect', join(goldenFolder(), 'peft', 'lora'))
    expect(out).toMatch(/architecture +\(LORA\)/)
    expect(out).toMatch(/target_modules +\w+_proj/)
  })

  it('a folder that is no checkpoint exits 3', async () => {
    const { code, err } = await weft('inspect', join(goldenFolder(), 'tokenizers', 'unigram'))
    expect(err).toMatch(/^NoWeights: /)
    expect(code).toBe(3)
  })

  it('a model that is nowhere exits 3 and says how to pull it', async () => {
    const { code, err } = await weft('inspect', 'nobody/nothing-at-all')
    expect(err).toMatch(/weft pull nobody\/nothing-at-all/)
    expect(code).toBe(3)
  })
})
