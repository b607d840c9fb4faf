/** P-tuning as PEFT saved it: the encoder's output alone, so the prompt that it gives, without what trained it. */
import { expect, it } from 'vitest'
import { gap, logitsOf } from '../../../test/adapter.js'
import { goldenFolder } from '../../../test/golden.js'
import { diskFiles, open, openFile } from '../../checkpoint/index.js'
import { castValue, toNumbers } from '../../tensor/index.js'
import { loadAdapter } from '../index.js'

it('peft: p-tuning: the saved prompt gives the logits that PEFT computed', async () => {
  await using base = await open(goldenFolder('llama'))
  await using inputs = await openFile(diskFiles(goldenFolder('llama')), 'golden.safetensors')
  await using own = await openFile(diskFiles(goldenFolder('peft', 'p-tuning')), 'golden.safetensors')
  const model = await loadAdapter(base, goldenFolder('peft', 'p-tuning'), { onWarning: () => undefined })
  const ours = await logitsOf(model, {
    ids: castValue(await inputs.read('input_ids'), 'int32'),
    attentionMask: castValue(await inputs.read('attention_mask'), 'int32'),
  })
  const reference = await own.read('logits')
  const [rows, all, vocabulary] = reference.shape
  const theirs = toNumbers(reference)
  // PEFT gives the positions of the prompt too.
  const kept = ours.length / rows
  const expected = Array.from({ length: rows }, (_, row) =>
    Array.from(theirs.slice((row + 1) * all * vocabulary - kept, (row + 1) * all * vocabulary)),
  ).flat()
  expect(gap(ours, Float64Array.from(expected))).toBeLessThan(2e-5)
})
