/** LoRA at parameters that hold all experts of a Mixtral, held against expert weights that were changed by hand. */
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { gap, logitsOf } from '../../../test/adapter.js'
import {
  changedCheckpoint,
  factors,
  loraConfig,
  random,
  type Tensors,
  updated,
  writePeft,
} from '../../../test/peft-folder.js'
import { scratchFolder, tinyConfig, writeRandom } from '../../../test/tiny.js'
import { type Checkpoint, type JsonObject, open } from '../../checkpoint/index.js'
import { openModel } from '../../models/index.js'
import { value, type Value } from '../../tensor/index.js'
import { type AdaptedModel, loadAdapter } from '../index.js'

const experts = 3
const [width, hidden] = [32, 48]
let base: Checkpoint
let scratch: Awaited<ReturnType<typeof scratchFolder>>
beforeAll(async () => {
  scratch = await scratchFolder()
  const folder = join(scratch.path, 'mixtral')
  const config = { model_type: 'mixtral', architectures: ['MixtralForCausalLM'], num_experts_per_tok: 2 }
  await writeRandom(folder, tinyConfig(64, { ...config, num_local_experts: experts, head_dim: null }))
  base = await open(folder)
})
afterAll(async () => {
  await base.close()
  await scratch.remove()
})

let count = 0
const load = async (config: JsonObject, tensors: Tensors): Promise<AdaptedModel> => {
  const folder = join(scratch.path, `adapter-${count++}`)
  await writePeft(folder, loraConfig(config), tensors)
  return loadAdapter(base, folder, { onWarning: () => undefined })
}

const layers = [0, 1]
/** PEFT's tensors at a parameter of [experts, out, in]: A [rank experts, in], B [out, rank experts]. */
const fused = (prefix: string, [out, inside]: readonly [number, number], rank = 2): Tensors => ({
  [`${prefix}.lora_A.weight`]: random(`${prefix} A`, [rank * experts, inside]),
  [`${prefix}.lora_B.weight`]: random(`${prefix} B`, [out, rank * experts]),
})

/** Σ_r B[o, r E + e] A[e R + r, i], by the definition: einsum('o r e, e r i -> e o i'). */
const delta = (tensors: Tensors, prefix: string, expert: number, scale: number) => {
  const [A, B] = ['A', 'B'].map((part) => tensors[`${prefix}.lora_${part}.weight`])
  const [all, inside] = A.shape
  const rank = all / experts
  return (out: number, i: number): number => {
    let sum = 0
    for (let r = 0; r < rank; r++)
      sum +=
        Number(B.data[out * all + r * experts + expert]) * Number(A.data[(expert * rank + r) * inside + i])
    return scale * sum
  }
}

const changed = async (
  name: string,
  add: (out: number, i: number) => number,
  offset = 0,
): Promise<Record<string, Value>> => {
  const { data, shape } = await base.read(name, 'float32')
  const out = Float32Array.from(
    data as Float32Array,
    (x, k) => x + add(offset + Math.floor(k / shape[1]), k % shape[1]),
  )
  return { [name]: value(out, shape, 'float32') }
}

/** The weights of all experts with the updates of a layer's parameters. */
const expected = async (
  tensors: Tensors,
  up: string | undefined,
  down: string | undefined,
  scales = [2, 2],
) => {
  const changes: Record<string, Value> = {}
  for (const i of layers)
    for (let e = 0; e < experts; e++) {
      const expert = `model.layers.${i}.block_sparse_moe.experts.${e}`
      const moe = `model.layers.${i}.mlp.experts`
      if (up !== undefined) {
        const add = delta(tensors, `${moe}${up}`, e, scales[0])
        Object.assign(changes, await changed(`${expert}.w1.weight`, add))
        Object.assign(changes, await changed(`${expert}.w3.weight`, add, hidden))
      }
      if (down !== undefined)
        Object.assign(
          changes,
          await changed(`${expert}.w2.weight`, delta(tensors, `${moe}${down}`, e, scales[1])),
        )
    }
  return changes
}

const gives = async (model: AdaptedModel, changes: Record<string, Value>): Promise<void> => {
  await using reference = await changedCheckpoint(base, changes)
  const logits = await logitsOf(await openModel(reference))
  expect(gap(await logitsOf(model), logits)).toBeLessThan(2e-5)
  const folder = join(scratch.path, `out-${count++}`)
  await model.save(folder)
  const again = await loadAdapter(base, folder)
  expect(gap(await logitsOf(again), logits)).toBeLessThan(2e-5)
  await model.fold(`${folder}-folded`)
  await using folded = await open(`${folder}-folded`)
  expect(gap(await logitsOf(await openModel(folded)), logits)).toBeLessThan(2e-5)
}

const both = (rank = 2): Tensors =>
  Object.assign(
    {},
    ...layers.map((i) => ({
      ...fused(`model.layers.${i}.mlp.experts.base_layer`, [2 * hidden, width], rank),
      ...fused(`model.layers.${i}.mlp.experts`, [width, hidden]),
    })),
  ) as Tensors

describe('target_parameters', () => {
  it.each([[['gate_up_proj', 'down_proj']], [['experts.down_proj', 'mlp.experts.gate_up_proj']]])(
    '%j are every expert with its own factors, beside targeted modules',
    async (target_parameters) => {
      const queries = layers.map((i) => `model.layers.${i}.self_attn.q_proj`)
      const tensors = {
        ...both(),
        ...(Object.assign({}, ...queries.map((name) => factors(name, [32, 32]))) as Tensors),
      }
      const model = await load({ target_parameters }, tensors)
      const changes = await expected(tensors, '.base_layer', '')
      for (const name of queries)
        changes[`${name}.weight`] = updated(await base.read(`${name}.weight`, 'float32'), name, tensors, 2)
      await gives(model, changes)
    },
  )

  it('of one parameter alone have no layer between', async () => {
    const tensors = Object.assign(
      {},
      ...layers.map((i) => fused(`model.layers.${i}.mlp.experts`, [2 * hidden, width])),
    ) as Tensors
    const model = await load({ target_modules: [], target_parameters: ['gate_up_proj'] }, tensors)
    await gives(model, await expected(tensors, '', undefined))
  })

  it('have the rank and alpha that patterns give the parameter', async () => {
    const config = {
      ...{ target_modules: null, target_parameters: ['gate_up_proj', 'down_proj'] },
      ...{ rank_pattern: { '.*\\.gate_up_proj': 4 }, alpha_pattern: { '.*\\.gate_up_proj': 12 } },
    }
    const tensors = both(4)
    await gives(await load(config, tensors), await expected(tensors, '.base_layer', '', [3, 2]))
  })

  it('that Weft does not know, and tensors of other shapes, are refused', async () => {
    await expect(load({ target_parameters: ['mlp.experts.other'] }, {})).rejects.toThrow(
      /target_parameters is \["mlp.experts.other"\][\s\S]*gate_up_proj/,
    )
    const attempt = load({ target_modules: [], target_parameters: ['gate_up_proj'], r: 3 }, both())
    await expect(attempt).rejects.toMatchObject({ code: 'TensorMismatch' })
  })
})
