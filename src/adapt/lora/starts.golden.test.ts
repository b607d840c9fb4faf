/** Adapters that PEFT saved with a start of PiSSA or OLoRA: it made them, and computed what it gave with them. */
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { gap, logitsOf } from '../../../test/adapter.js'
import { goldenFolder } from '../../../test/golden.js'
import { scratchFolder } from '../../../test/tiny.js'
import { type Checkpoint, diskFiles, open, openFile } from '../../checkpoint/index.js'
import { openModel } from '../../models/index.js'
import { castValue, toNumbers, type Value } from '../../tensor/index.js'
import { type AdaptedModel, loadAdapter } from '../index.js'
import type { LoraOptions } from './options.js'

let base: Checkpoint
let batch: Record<string, Value>
let scratch: Awaited<ReturnType<typeof scratchFolder>>
beforeAll(async () => {
  scratch = await scratchFolder()
  base = await open(goldenFolder('llama'))
  await using golden = await openFile(diskFiles(goldenFolder('llama')), 'golden.safetensors')
  batch = {
    ids: castValue(await golden.read('input_ids'), 'int32'),
    mask: castValue(await golden.read('attention_mask'), 'int32'),
  }
})
afterAll(async () => {
  await base.close()
  await scratch.remove()
})

describe.each(['pissa', 'olora'])('%s', (name) => {
  let model: AdaptedModel
  let logits: Float64Array
  beforeAll(async () => {
    model = await loadAdapter(base, goldenFolder('peft', name), { onWarning: () => undefined })
    await using golden = await openFile(diskFiles(goldenFolder('peft', name)), 'golden.safetensors')
    logits = toNumbers(await golden.read('logits'))
  })
  const given = (): Record<string, Value> => ({ ids: batch.ids, attentionMask: batch.mask })

  it("gives PEFT's logits on the base as it is", async () => {
    expect(gap(await logitsOf(model, given()), logits)).toBeLessThan(2e-5)
  })

  it('is a plain LoRA of twice the rank at the same scale, which PEFT loads as such', async () => {
    const { rank, alpha } = model.plan.options as LoraOptions
    expect([rank, alpha]).toEqual([8, 16])
    await model.save(join(scratch.path, name))
    const again = await loadAdapter(base, join(scratch.path, name))
    expect(gap(await logitsOf(again, given()), logits)).toBeLessThan(2e-5)
  })

  it('folds into the base as it is', async () => {
    await model.fold(join(scratch.path, `${name}-folded`))
    await using folded = await open(join(scratch.path, `${name}-folded`))
    expect(gap(await logitsOf(await openModel(folded), given()), logits)).toBeLessThan(2e-5)
  })
})
