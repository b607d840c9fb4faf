/** Every method with its default targets on architectures beyond those of the contract: encoders, experts, fused norms. */
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { gap, logitsOf, noisy } from '../../../test/adapter.js'
import { goldenFolder } from '../../../test/golden.js'
import { scratchFolder } from '../../../test/tiny.js'
import { type Checkpoint, diskFiles, open, openFile } from '../../checkpoint/index.js'
import { openModel } from '../../models/index.js'
import type { Value } from '../../tensor/index.js'
import { type AdapterMethod, loadAdapter, methods } from '../index.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
beforeAll(async () => void (scratch = await scratchFolder()))
afterAll(() => scratch.remove())

/** Folding says so where no config has a place for added biases. */
const cannotFold = new Set(['bitfit on t5', 'bitfit on mixtral', 'bitfit on qwen3'])

/** Methods that a model has no place for, and what they say. */
const refused: Readonly<Record<string, string>> = {
  'prompt on vit': 'NotApplicable',
  'p-tuning on vit': 'NotApplicable',
  'mhr on mixtral': 'BadSplits',
}

describe.each(['bert-classify', 't5', 'vit', 'mixtral', 'qwen3'])('on %s', (architecture) => {
  let base: Checkpoint
  let plain: Float64Array
  const inputs: Record<string, Value> = {}
  beforeAll(async () => {
    base = await open(goldenFolder(architecture))
    const golden = await openFile(diskFiles(goldenFolder(architecture)), 'golden.safetensors')
    const stored = { ids: 'input_ids', labels: 'labels', pixels: 'pixel_values' }
    for (const [key, name] of Object.entries(stored))
      if (golden.has(name)) inputs[key] = await golden.read(name, key === 'pixels' ? 'float32' : 'int32')
    plain = await logitsOf(await openModel(base), inputs)
  })

  it.each(methods.map((method) => [method.paper.id, method as AdapterMethod<object>] as const))(
    '%s adapts, reloads and folds',
    async (id, method) => {
      const given = 'calibration' in method.options.shape ? { calibration: [inputs] } : {}
      const wanted = `${id} on ${architecture}`
      if (wanted in refused)
        return void (await expect(method(base, given)).rejects.toMatchObject({ code: refused[wanted] }))
      const fresh = await method(base, given)
      const before = gap(await logitsOf(fresh, inputs), plain)
      if (fresh.plan.method.startsChanged) expect(before).toBeGreaterThan(1e-5)
      else expect(before).toBeLessThan(2e-5)
      const model = noisy(fresh)
      const adapted = await logitsOf(model, inputs)
      expect(gap(adapted, plain)).toBeGreaterThan(1e-4)
      const folder = join(scratch.path, `${id}-${architecture}`)
      await model.save(folder)
      expect(await logitsOf(await loadAdapter(base, folder), inputs)).toEqual(adapted)
      const folding = model.fold(`${folder}-folded`)
      if (!method.folds || cannotFold.has(`${id} on ${architecture}`))
        return void (await expect(folding).rejects.toMatchObject({ code: 'CannotFold' }))
      await folding
      const folded = await openModel(await open(`${folder}-folded`))
      expect(gap(await logitsOf(folded, inputs), adapted)).toBeLessThan(1e-4)
    },
  )
})
