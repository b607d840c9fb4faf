/** Single tokens that train, in adapters that PEFT wrote and in those made here. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { gap, logitsOf } from '../../../test/adapter.js'
import {
  added,
  at,
  attention,
  base,
  gives,
  load,
  openPeftBases,
  scratch,
  tied,
} from '../../../test/peft-bases.js'
import { random } from '../../../test/peft-folder.js'
import { type Checkpoint, type JsonObject, open } from '../../checkpoint/index.js'
import { openModel } from '../../models/index.js'
import { toNumbers, value, type Value, valueOf } from '../../tensor/index.js'
import { fit } from '../../train/index.js'
import { adalora, loadAdapter, lora } from '../index.js'

openPeftBases()

describe('single tokens that train', () => {
  const rows = random('rows', [3, 32])
  const tokens = [5, 9, 1]
  const withRows = async (on: Checkpoint, name: string): Promise<Value> => {
    const { data, shape } = await on.read(name, 'float32')
    const out = Float32Array.from(data as Float32Array)
    tokens.forEach((token, i) =>
      out.set(rows.data.subarray(i * 32, (i + 1) * 32) as Float32Array, token * 32),
    )
    return value(out, shape, 'float32')
  }
  const delta = { 'model.embed_tokens.token_adapter.trainable_tokens_delta': rows }

  it.each([[tokens], [{ embed_tokens: tokens }]])('as %j stand in the place of the base', async (indices) => {
    const { model } = await load(
      { trainable_token_indices: indices as JsonObject[string] },
      { ...at('q_proj'), ...delta },
    )
    const embedding = await withRows(base, 'model.embed_tokens.weight')
    await gives(model, {
      ...(await added(attention('q_proj'), at('q_proj'))),
      'model.embed_tokens.weight': embedding,
    })
  })

  it('of a head alone stand there alone', async () => {
    const { model } = await load(
      { trainable_token_indices: { lm_head: tokens } },
      { ...at('q_proj'), 'lm_head.token_adapter.trainable_tokens_delta': rows },
    )
    const head = await withRows(base, 'lm_head.weight')
    await gives(model, { ...(await added(attention('q_proj'), at('q_proj'))), 'lm_head.weight': head })
  })

  it('are those of the head too where it is tied, and stay tied when folded', async () => {
    const cases = { list: tokens, named: { embed_tokens: tokens, lm_head: tokens } }
    for (const [name, indices] of Object.entries(cases)) {
      const { model } = await load({ trainable_token_indices: indices }, { ...at('q_proj'), ...delta }, tied)
      const changes = await added(attention('q_proj'), at('q_proj'), 2, tied)
      const embedding = await withRows(tied, 'model.embed_tokens.weight')
      await gives(model, { ...changes, 'model.embed_tokens.weight': embedding }, { on: tied })
      const folder = join(scratch.path, `tokens-${name}`)
      await model.fold(folder)
      await using folded = await open(folder)
      expect(folded.has('lm_head.weight')).toBe(false)
    }
  })

  it('train beside AdaLoRA as PEFT lets them, and are saved with it', async () => {
    const options = { targets: ['q_proj'], trainableTokens: { embed_tokens: tokens }, totalSteps: 10 }
    const start = await adalora(base, options)
    const batch = {
      ids: valueOf([5, 9, 1, 4], [1, 4], 'int32'),
      labels: valueOf([9, 1, 4, 5], [1, 4], 'int32'),
    }
    const batches = function* () {
      for (;;) yield batch
    }
    const { model } = await fit(start, batches, { steps: 2, learningRate: 1e-2 })
    const [name] = Object.keys(delta)
    expect(gap(toNumbers(model.parameters[name]), toNumbers(start.parameters[name]))).toBeGreaterThan(1e-3)
    const folder = join(scratch.path, 'adalora')
    await model.save(folder)
    const config = JSON.parse(await readFile(join(folder, 'adapter_config.json'), 'utf8')) as JsonObject
    expect(config.trainable_token_indices).toEqual({ embed_tokens: tokens })
    const loaded = await loadAdapter(base, folder)
    expect(gap(await logitsOf(loaded), await logitsOf(model))).toBeLessThan(1e-5)
  })

  it('are made as the base has them, and refused where there are none', async () => {
    const model = await lora(base, { targets: ['q_proj'], trainableTokens: { embed_tokens: tokens } })
    const plain = await logitsOf(await openModel(base))
    expect(gap(await logitsOf(model), plain)).toBe(0)
    const folder = join(scratch.path, 'made')
    await model.save(folder)
    const config = JSON.parse(await readFile(join(folder, 'adapter_config.json'), 'utf8')) as JsonObject
    expect(config.trainable_token_indices).toEqual({ embed_tokens: tokens })
    const attempt = lora(base, { trainableTokens: { embed_tokens: [64] } })
    await expect(attempt).rejects.toMatchObject({ code: 'NoSuchToken' })
    const twice = lora(base, { trainableTokens: { embed_tokens: [1] }, modulesToSave: ['embed_tokens'] })
    await expect(twice).rejects.toMatchObject({ code: 'ModuleTwice' })
  })
})
