/** What PEFT loads, Weft loads: folders with the keys that PEFT writes, held against weights that were changed by hand. */
import { describe, expect, it } from 'vitest'
import {
  added,
  at,
  attention,
  base,
  gives,
  layers,
  load,
  openPeftBases,
  tied,
} from '../../../test/peft-bases.js'
import { embeddingFactors, factors, loraConfig, random, type Tensors } from '../../../test/peft-folder.js'
import type { JsonObject } from '../../checkpoint/index.js'
import { CheckpointError } from '../../errors.js'
import { type Value, valueOf } from '../../tensor/index.js'
import { lora } from '../index.js'

openPeftBases()

describe('tensors of the base in the file', () => {
  it('of targeted embedding and head stand in the place of the base', async () => {
    const tensors = {
      ...at('q_proj'),
      ...embeddingFactors('model.embed_tokens', [64, 32]),
      ...factors('lm_head', [64, 32]),
      'model.embed_tokens.base_layer.weight': random('other embeddings', [64, 32]),
      'lm_head.base_layer.weight': random('other head', [64, 32]),
    }
    const { model } = await load({ target_modules: ['q_proj', 'embed_tokens', 'lm_head'] }, tensors)
    await gives(model, await added([...attention('q_proj'), 'model.embed_tokens', 'lm_head'], tensors))
    expect(Object.keys(model.parameters).some((name) => name.includes('base_layer'))).toBe(false)
  })

  it('that are the same as the base change nothing, and are saved again', async () => {
    const tensors = {
      ...at('q_proj'),
      ...embeddingFactors('model.embed_tokens', [64, 32]),
      'model.embed_tokens.base_layer.weight': await base.read('model.embed_tokens.weight'),
    }
    const { model } = await load({ target_modules: ['q_proj', 'embed_tokens'] }, tensors)
    await gives(model, await added([...attention('q_proj'), 'model.embed_tokens'], tensors))
  })

  it('of embeddings that were saved beside an adapter elsewhere stand in the place of the base', async () => {
    const held = {
      'model.embed_tokens.weight': random('saved embeddings', [64, 32]),
      'lm_head.weight': random('saved head', [64, 32]),
    }
    const { model } = await load({}, { ...at('q_proj'), ...held })
    await gives(model, { ...(await added(attention('q_proj'), at('q_proj'))), ...held })
  })

  it('of a tied model are one tensor', async () => {
    const saved = random('tied embeddings', [64, 32])
    const held = { 'model.embed_tokens.weight': saved, 'lm_head.weight': saved }
    const { model } = await load({}, { ...at('q_proj'), ...held }, tied)
    const changes = await added(attention('q_proj'), at('q_proj'), 2, tied)
    await gives(model, { ...changes, 'model.embed_tokens.weight': saved }, { on: tied })
  })

  it('of a vocabulary that grew make the base grow', async () => {
    const held = {
      'model.embed_tokens.weight': random('more embeddings', [70, 32]),
      'lm_head.weight': random('more heads', [70, 32]),
    }
    const { model } = await load({}, { ...at('q_proj'), ...held })
    const changes = { ...(await added(attention('q_proj'), at('q_proj'))), ...held }
    await gives(model, changes, { config: { vocab_size: 70 } })
    const { model: whole } = await load(
      { modules_to_save: ['embed_tokens', 'lm_head'] },
      { ...at('q_proj'), ...held },
    )
    await gives(whole, changes, { config: { vocab_size: 70 } })
  })

  it('of a vocabulary that grew on one side alone are refused, naming the other', async () => {
    const held = { 'model.embed_tokens.weight': random('more embeddings', [70, 32]) }
    const attempt = load({}, { ...at('q_proj'), ...held })
    await expect(attempt).rejects.toBeInstanceOf(CheckpointError)
    await expect(attempt).rejects.toThrow(/70 tokens.*lm_head\.weight, which has 64/)
  })

  it('are the copies that PEFT leaves beside modules that are saved whole, and those are passed over', async () => {
    const head = random('whole head', [64, 32])
    const copies = {
      'lm_head.original_module.weight': random('old head', [64, 32]),
      'lm_head.modules_to_save.weight': head,
    }
    const { model } = await load(
      { modules_to_save: ['lm_head'] },
      { ...at('q_proj'), ...copies, 'lm_head.weight': head },
    )
    await gives(model, { ...(await added(attention('q_proj'), at('q_proj'))), 'lm_head.weight': head })
  })
})

describe('ensure_weight_tying', () => {
  it('has the head follow an embedding that is saved whole', async () => {
    const saved = random('ensured', [64, 32])
    const held = { 'model.embed_tokens.weight': saved, 'lm_head.weight': saved }
    const config = { ensure_weight_tying: true, modules_to_save: ['embed_tokens', 'model.embed_tokens'] }
    const { model } = await load(config, { ...at('q_proj'), ...held }, tied)
    const changes = await added(attention('q_proj'), at('q_proj'), 2, tied)
    await gives(model, { ...changes, 'model.embed_tokens.weight': saved }, { on: tied })
  })

  it.each([[['q_proj', 'embed_tokens']], ['.*(q_proj|embed_tokens)']])(
    'has the head follow an embedding that is a target: %j',
    async (targets) => {
      const inner = embeddingFactors('model.embed_tokens', [64, 32])
      const [A, B] = Object.values(inner)
      const transposed = ({ data, shape: [rows, columns] }: Value): Value =>
        valueOf(
          Array.from({ length: rows * columns }, (_, i) =>
            Number(data[(i % rows) * columns + Math.floor(i / rows)]),
          ),
          [columns, rows],
        )
      const tensors = {
        ...at('q_proj'),
        ...inner,
        'lm_head.lora_A.weight': transposed(B),
        'lm_head.lora_B.weight': transposed(A),
        'model.embed_tokens.base_layer.weight': await tied.read('model.embed_tokens.weight'),
        'lm_head.base_layer.weight': await tied.read('model.embed_tokens.weight'),
      }
      const config = { ensure_weight_tying: true, target_modules: targets as string[] | string }
      const { model } = await load(config, tensors, tied)
      const changes = await added([...attention('q_proj'), 'model.embed_tokens'], tensors, 2, tied)
      await gives(model, changes, { on: tied })
    },
  )
})

describe('modules to save', () => {
  const norms = [
    ...layers.flatMap((i) => [
      `model.layers.${i}.input_layernorm.weight`,
      `model.layers.${i}.post_attention_layernorm.weight`,
    ]),
    'model.norm.weight',
  ]

  it('are named by the ends of their names, without a dot', async () => {
    const saved = Object.fromEntries(norms.map((name) => [name, random(name, [32])]))
    const { model } = await load({ modules_to_save: ['norm'] }, { ...at('q_proj'), ...saved })
    await gives(model, { ...(await added(attention('q_proj'), at('q_proj'))), ...saved })
  })

  it('are written as PEFT looks for them', async () => {
    const model = await lora(base, { targets: ['q_proj'], modulesToSave: ['norm'] })
    expect(model.plan.whole.toSorted()).toEqual(norms.toSorted())
  })

  it('that PEFT names for every classifier are those that there are', async () => {
    const tensors = { ...at('q_proj'), 'lm_head.weight': random('head', [64, 32]) }
    const { model, warnings } = await load({ modules_to_save: ['classifier', 'score', 'lm_head'] }, tensors)
    expect(model.plan.whole).toEqual(['lm_head.weight'])
    expect(warnings).toEqual([])
  })

  it('that end as a target does, without being it, are refused', async () => {
    const attempt = lora(base, { targets: ['q_proj'], modulesToSave: ['proj'] })
    await expect(attempt).rejects.toMatchObject({ code: 'ModuleTwice' })
    await expect(lora(base, { targets: ['q_proj'], modulesToSave: ['nothing'] })).rejects.toMatchObject({
      code: 'NoSuchModule',
    })
  })
})

describe('targets', () => {
  const updates = async (...parts: string[]) => added(parts.flatMap(attention), at(...parts))

  it('of which one matches nothing beside others that do are a warning when read, an error when made', async () => {
    const config = { target_modules: ['q_proj', 'v_proj', 'query_key_value'] }
    const { model, warnings } = await load(config, at('q_proj', 'v_proj'))
    expect(warnings).toHaveLength(1)
    expect(warnings[0]).toContain('"query_key_value"')
    await gives(model, await updates('q_proj', 'v_proj'))
    const attempt = lora(base, { targets: config.target_modules })
    await expect(attempt).rejects.toMatchObject({ code: 'NoSuchModule' })
    await expect(load({ target_modules: ['query_key_value'] }, {})).rejects.toMatchObject({
      code: 'NoSuchModule',
    })
  })

  it.each([
    ['(?i).*Q_PROJ'],
    ['.*(?P<part>q)_proj'],
    ['\\A.*q_proj\\Z'],
    ['.*\\.self_attn\\.q_p(?:roj)++'],
    ['model\\.layers\\.(0|1)\\.self_attn\\.q_proj'],
  ])("written as Python's expression %s are found", async (target_modules) => {
    const { model } = await load({ target_modules }, at('q_proj'))
    await gives(model, await updates('q_proj'))
  })

  it('of which an expression cannot be followed are refused with it', async () => {
    const attempt = load({ target_modules: '.*(a)?(?(1)b|q)_proj' }, at('q_proj'))
    await expect(attempt).rejects.toMatchObject({ code: 'BadPattern' })
    await expect(attempt).rejects.toThrow(/\(\?\(1\)b\|q\)/)
  })

  it("as one text are an expression, and 'all-linear' in any case", async () => {
    await expect(load({ target_modules: 'q_proj' }, at('q_proj'))).rejects.toMatchObject({
      code: 'NoSuchModule',
    })
    const { model } = await load({ target_modules: 'ALL-LINEAR', layers_to_transform: [5] }, {}).catch(
      (error: Error) => ({ model: error }),
    )
    expect(String(model)).toMatch(/layers leave none of the 14 modules/)
  })

  it.each([[['layers']], [['h', 'layers']], ['layers'], [[]], [null], ['l.yers']])(
    'are taken in the layers asked for, behind the names %j',
    async (layers_pattern) => {
      const tensors = factors('model.layers.1.self_attn.q_proj', [32, 32])
      const { model } = await load({ layers_pattern, layers_to_transform: [1] }, tensors)
      await gives(model, await added(['model.layers.1.self_attn.q_proj'], tensors))
      const { model: one } = await load({ layers_pattern, layers_to_transform: 1 }, tensors)
      expect(one.plan.sites.map(({ site }) => site.name)).toEqual(['model.layers.1.self_attn.q_proj'])
    },
  )

  it('named in full are adapted whatever their layer', async () => {
    const names = ['model.layers.0.self_attn.q_proj', 'v_proj']
    const tensors = {
      ...factors('model.layers.0.self_attn.q_proj', [32, 32]),
      ...factors('model.layers.1.self_attn.v_proj', [16, 32]),
    }
    const { model } = await load({ target_modules: names, layers_to_transform: [1] }, tensors)
    await gives(
      model,
      await added(['model.layers.0.self_attn.q_proj', 'model.layers.1.self_attn.v_proj'], tensors),
    )
  })
})

describe('patterns', () => {
  it('of alpha switch a module off with 0', async () => {
    const { model } = await load(
      { target_modules: ['q_proj', 'v_proj'], alpha_pattern: { v_proj: 0 } },
      at('q_proj', 'v_proj'),
    )
    await gives(model, await added(attention('q_proj'), at('q_proj')))
  })

  it('of rank and alpha are expressions for the end of a name from a dot on, the first that matches', async () => {
    const [first, second] = attention('q_proj')
    const tensors = { ...factors(first, [32, 32], 3), ...factors(second, [32, 32], 2) }
    const config = {
      rank_pattern: { roj: 7, '0\\.self_attn\\.q_proj': 3, q_proj: 2 },
      alpha_pattern: { '^model.layers.0.self_attn.q_proj': 6, 'layers.\\d+.self_attn.q_proj': 8 },
    }
    const { model } = await load(config, tensors)
    const changes = { ...(await added([first], tensors, 2)), ...(await added([second], tensors, 4)) }
    await gives(model, changes)
  })

  it('may give a rank above what the matrix has, which PEFT allows', async () => {
    const tensors = Object.assign(
      {},
      ...attention('v_proj').map((name) => factors(name, [16, 32], 24)),
    ) as Tensors
    const { model } = await load({ target_modules: ['v_proj'], r: 24, lora_alpha: 24 }, tensors)
    await gives(model, await added(attention('v_proj'), tensors, 1))
  })
})

describe('keys that say nothing', () => {
  const keys = Object.keys(loraConfig()).filter(
    (key) => !['peft_type', 'target_modules', 'r', 'lora_alpha'].includes(key),
  )

  it.each(keys)('%s as an empty list, object or text is not used', async (key) => {
    for (const empty of [[], {}, '', null]) {
      const { model, warnings } = await load({ [key]: empty }, at('q_proj'))
      expect(model.plan.sites).toHaveLength(2)
      expect(warnings).toEqual([])
    }
  })
})

describe('keys that Weft has nothing for', () => {
  it.each([
    ['alora_invocation_tokens', [1, 2]],
    ['arrow_config', { top_k: 3 }],
    ['kasa_config', { beta: 1e-4 }],
    ['layer_replication', [[0, 2]]],
    ['monteclora_config', { num_samples: 8 }],
    ['use_bdlora', { nblocks: 2 }],
    ['use_qalora', true],
    ['init_lora_weights', 'pissa_niter_4'],
    ['init_lora_weights', 'corda'],
    ['init_lora_weights', 'loftq'],
    ['init_lora_weights', 'lora_ga'],
    ['bias', 'some'],
    ['target_parameters', ['mlp.experts.gate_up_proj']],
  ] as [string, JsonObject[string]][])('%s: %j is refused by its name and value', async (key, json) => {
    const attempt = load({ [key]: json }, at('q_proj'))
    await expect(attempt).rejects.toMatchObject({ code: 'UnsupportedAdapter' })
    await expect(attempt).rejects.toThrow(`${key} is ${JSON.stringify(json)}`)
  })

  it('but that change no output are passed over, and those that PEFT has not are named', async () => {
    const config = {
      ...{ corda_config: { corda_method: 'ipm' }, eva_config: { rho: 2 }, loftq_config: { loftq_bits: 4 } },
      ...{ megatron_config: { tp: 2 }, velora_config: { num_groups: 2 }, init_lora_weights: 'eva' },
      ...{ unsloth_fixed: true, something_new: null },
    }
    const { model, warnings } = await load(config, at('q_proj'))
    await gives(model, await added(attention('q_proj'), at('q_proj')))
    expect(warnings).toEqual([expect.stringContaining('unknown keys are ignored: unsloth_fixed')])
  })
})
