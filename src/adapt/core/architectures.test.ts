/** Every method with its default targets on the kinds of model beyond those of the contract: encoders, experts, images. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { gap, logitsOf, noisy } from '../../../test/adapter.js'
import { goldenFolder } from '../../../test/golden.js'
import { goldenModels, plainDecoders } from '../../../test/golden-models.js'
import { scratchFolder } from '../../../test/tiny.js'
import { hold } from '../../../test/held.js'
import { opened } from '../../../test/opened.js'
import { type Checkpoint, diskFiles, open, openFile } from '../../checkpoint/index.js'
import { UsageError } from '../../errors.js'
import { heads, type Model, openModel, sitesOf } from '../../models/index.js'
import type { Value } from '../../tensor/index.js'
import { type AdaptedModel, type AdapterMethod, loadAdapter, lora, methods } from '../index.js'
import { replacements } from './plan.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
beforeAll(async () => void (scratch = await scratchFolder()))
afterAll(() => scratch.remove())

const plain = new Set(plainDecoders().map(({ name }) => name))
const others = goldenModels().filter(({ name }) => !plain.has(name))
/** Every so many models a method meets one, so that the work grows with neither list times the other. */
const stride = Math.ceil(others.length / 5)

/** Why a method may refuse a base as it stands: what the base's table says, without a look at the method's name. */
const excuses = (base: Model): string[] => {
  const linear = sitesOf(base, ['linear']).filter(({ name }) => !heads.has(name))
  const lacksTokens = sitesOf(base, ['embedding']).length === 0
  const lacksAttention = sitesOf(base, ['attention']).length === 0
  const indivisible = linear.some((site) => site.in % 8 || site.out % 8)
  return [
    ...(lacksTokens || lacksAttention ? ['NotApplicable'] : []),
    ...(linear.length === 0 ? ['NotApplicable', 'NoSuchModule', 'NoTarget'] : []),
    ...(indivisible ? ['BadSplits'] : []),
  ]
}

/** Biases that the adapter puts where no config.json of the architecture has any. */
const homeless = ({ plan }: AdaptedModel): string[] => {
  const { architecture, config, checkpoint } = plan.base
  const withBiases = architecture.withBiases?.(checkpoint.config)
  const places = new Set(
    [config, ...(withBiases ? [architecture.readConfig(withBiases)] : [])].flatMap((c) =>
      architecture.table(c).map(({ name }) => name),
    ),
  )
  return [...replacements(plan).keys()].filter((name) => !places.has(name))
}

/** Whether virtual tokens leave the inputs less than their positions. */
const crowded = ({ plan }: AdaptedModel, { ids }: Readonly<Record<string, Value | undefined>>): boolean => {
  const { architecture, config } = plan.base
  const virtual = plan.method.virtual?.(plan.options).positions ?? 0
  return ids !== undefined && ids.shape[1] + virtual > (architecture.positions?.(config) ?? Infinity)
}

describe.each(others.map(({ name }, i) => [name, i] as const))('on %s', (name, i) => {
  let base: Checkpoint
  let unadapted: Model
  let logits: Float64Array
  const inputs: Record<string, Value> = {}
  beforeAll(async () => {
    base = await opened(goldenFolder(name))
    const golden = hold(await openFile(diskFiles(goldenFolder(name)), 'golden.safetensors'))
    const stored = { ids: 'input_ids', labels: 'labels', pixels: 'pixel_values' }
    for (const [key, tensor] of Object.entries(stored))
      if (golden.has(tensor)) inputs[key] = await golden.read(tensor, key === 'pixels' ? 'float32' : 'int32')
    unadapted = await openModel(base)
    logits = await logitsOf(unadapted, inputs)
  })

  const met = methods.filter((_, j) => (i + j) % stride === 0)
  it.each(met.map((method) => [method.paper.id, method as AdapterMethod<object>] as const))(
    '%s adapts, reloads and folds, or says what the base lacks',
    async (id, method) => {
      const given = 'calibration' in method.options.shape ? { calibration: [inputs] } : {}
      const attempt = await method(base, given).catch((error: unknown) => error)
      if (attempt instanceof Error) {
        expect(attempt).toBeInstanceOf(UsageError)
        expect(excuses(unadapted)).toContain((attempt as UsageError).code)
        expect((attempt as UsageError).hint).toBeTruthy()
        if ((attempt as UsageError).code !== 'BadSplits') return
      }
      const fresh =
        attempt instanceof Error
          ? await method(base, { ...given, splits: 1 } as object)
          : (attempt as AdaptedModel)
      const first = await logitsOf(fresh, inputs).catch((error: unknown) => error)
      if (first instanceof Error) {
        expect(first).toMatchObject({ code: 'TooManyPositions' })
        expect(crowded(fresh, inputs)).toBe(true)
        return
      }
      const before = gap(first as Float64Array, logits)
      if (fresh.plan.method.startsChanged) expect(before).toBeGreaterThan(1e-5)
      else expect(before).toBeLessThan(2e-5)
      const model = noisy(fresh)
      const adapted = await logitsOf(model, inputs)
      expect(gap(adapted, logits)).toBeGreaterThan(1e-4)
      const folder = join(scratch.path, `${id}-${name}`)
      await model.save(folder)
      expect(await logitsOf(await loadAdapter(base, folder), inputs)).toEqual(adapted)
      const folding = model.fold(`${folder}-folded`)
      if (!method.folds || homeless(model).length > 0)
        return void (await expect(folding).rejects.toMatchObject({ code: 'CannotFold' }))
      await folding
      const folded = await openModel(await opened(`${folder}-folded`))
      expect(gap(await logitsOf(folded, inputs), adapted)).toBeLessThan(1e-4)
    },
  )
})

/** Heads whose weight is that of the embeddings. */
const tiedHeads = goldenModels().flatMap(({ name, architecture }) => {
  const json = JSON.parse(readFileSync(goldenFolder(name, 'config.json'), 'utf8')) as Record<string, unknown>
  const tied = architecture
    .table(architecture.readConfig(json))
    .filter((spec) => spec.tied !== undefined && spec.kind === 'linear' && spec.name.endsWith('.weight'))
  return tied.map((spec) => [spec.name.slice(0, -'.weight'.length), name] as const)
})

it.each(tiedHeads)(
  '%s of %s, adapted and folded, is a head of its own with the same outputs',
  async (head, name) => {
    await using base = await open(goldenFolder(name))
    const golden = hold(await openFile(diskFiles(goldenFolder(name)), 'golden.safetensors'))
    const inputs: Record<string, Value> = { ids: await golden.read('input_ids', 'int32') }
    if (golden.has('labels')) inputs.labels = await golden.read('labels', 'int32')
    const model = noisy(await lora(base, { targets: [head] }))
    const folder = join(scratch.path, `head-${name}`)
    await model.fold(folder)
    const folded = await openModel(await opened(folder))
    expect(gap(await logitsOf(folded, inputs), await logitsOf(model, inputs))).toBeLessThan(1e-4)
  },
)
