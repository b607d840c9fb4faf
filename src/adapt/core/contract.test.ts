/** What every adapter method promises, asked of each in the list of the family's index. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { goldenFolder } from '../../../test/golden.js'
import { plainDecoders } from '../../../test/golden-models.js'
import { scratchFolder } from '../../../test/tiny.js'
import { opened } from '../../../test/opened.js'
import type { Checkpoint } from '../../checkpoint/index.js'
import { type Model, openModel, type Parameters } from '../../models/index.js'
import { keyOf, normal, Stream } from '../../random/index.js'
import {
  compile,
  type CompileOptions,
  type Tensor,
  toNumbers,
  value,
  type Value,
  valueAndGrad,
  valueOf,
} from '../../tensor/index.js'
import { fit, forward, isMoved, modelLoss, movedParameters } from '../../train/index.js'
import { type AdaptedModel, type AdapterMethod, exportLora, loadAdapter, methods, toLora } from '../index.js'

const ids = (seed: string): Value => {
  const stream = new Stream(seed)
  return valueOf(
    Array.from({ length: 14 }, () => stream.int(90)),
    [2, 7],
    'int32',
  )
}
const batch = { ids: ids('ids'), labels: ids('labels') }

/** Every parameter that trains moved by noise, so that no term is at a value that hides an error. */
const perturbed = <M extends Model>(model: M, seed: string, scale = 0.1): M =>
  model.with(
    Object.fromEntries(
      Object.entries(model.parameters).map(([name, v]) => {
        if (!isMoved(model)(name)) return [name, v]
        const noise = new Float32Array(v.data.length)
        normal(noise, keyOf(`${seed}/${name}`))
        return [
          name,
          value(
            noise.map((n, i) => Number(v.data[i]) + scale * n),
            v.shape,
            v.dtype,
          ),
        ]
      }),
    ),
  ) as M

interface Inputs<T> {
  parameters: Record<string, T>
  batch: Record<string, T>
}

const run = async (
  model: Model,
  options: CompileOptions = {},
  parameters: Parameters<Value> = model.parameters,
) => {
  const program = await compile(
    ({ parameters, batch }: Inputs<Tensor>) => {
      const moved = Object.fromEntries(Object.entries(parameters).filter(([name]) => isMoved(model)(name)))
      const { value, grads } = valueAndGrad((p: Record<string, Tensor>) =>
        modelLoss(model)({ ...parameters, ...p }, batch, {}),
      )(moved)
      return { logits: forward(model, parameters, batch).logits, loss: value.loss.cast('float64'), grads }
    },
    { parameters: { ...parameters }, batch },
    options,
  )
  return program.run({ parameters: { ...parameters }, batch } as never)
}

const logitsOf = async (model: Model): Promise<Float64Array> => toNumbers((await run(model)).logits)
const gap = (a: Float64Array, b: Float64Array): number =>
  a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i])), 0)
const bytes = (model: Model): unknown =>
  Object.entries(model.parameters).map(([name, v]) => [name, v.shape, [...v.data]])

let scratch: Awaited<ReturnType<typeof scratchFolder>>
beforeAll(async () => void (scratch = await scratchFolder()))
afterAll(() => scratch.remove())

const cases = methods.flatMap((method) =>
  plainDecoders().map((decoder) => ({ name: method.paper.id, method, architecture: decoder.name })),
)

describe.each(cases)('$name on $architecture', ({ name, method, architecture }) => {
  const adapt = method as AdapterMethod<Record<string, unknown>>
  // What a method may choose by.
  const given = 'calibration' in method.options.shape ? { calibration: [batch] } : {}
  let base: Checkpoint
  let fresh: AdaptedModel
  let model: AdaptedModel
  beforeAll(async () => {
    base = await opened(goldenFolder(architecture))
    fresh = await adapt(base, given)
    model = perturbed(fresh, 'noise')
  })

  it('changes nothing before it is trained unless it says so, and something after', async () => {
    const plain = await logitsOf(await openModel(base))
    const before = gap(await logitsOf(fresh), plain)
    if (fresh.plan.method.startsChanged) expect(before).toBeGreaterThan(1e-4)
    else expect(before).toBeLessThan(1e-5)
    expect(gap(await logitsOf(model), plain)).toBeGreaterThan(1e-4)
  })

  it('saved and loaded is the same adapter, and is refused on another base', async () => {
    const folder = join(scratch.path, `${name}-${architecture}`)
    await model.save(folder)
    const warnings: string[] = []
    const loaded = await loadAdapter(base, folder, { onWarning: (text) => warnings.push(text) })
    expect(bytes(loaded)).toEqual(bytes(await model.exported()))
    expect(gap(await logitsOf(loaded), await logitsOf(model))).toBeLessThan(1e-5)
    expect(warnings).toEqual([])
    const other = perturbed(await openModel(base, { trainable: true }), 'other')
    await expect(loadAdapter(other, folder)).rejects.toThrow(/trained on other weights/)
    expect(bytes(await loadAdapter(other, folder, { force: true }))).toEqual(bytes(loaded))
  })

  it.runIf(method.folds)(
    'folded gives the logits of the adapted model, in one shard and in many',
    async () => {
      const folder = join(scratch.path, `${name}-${architecture}-folded`)
      await model.fold(folder)
      const whole = await logitsOf(await openModel(await opened(folder)))
      expect(gap(whole, await logitsOf(model))).toBeLessThan(2e-5)
      await model.fold(`${folder}-sharded`, { maxShardBytes: 20_000, blockBytes: 1000 })
      const sharded = await opened(`${folder}-sharded`)
      expect(new Set(sharded.names().map((tensor) => sharded.info(tensor).file)).size).toBeGreaterThan(1)
      expect(gap(await logitsOf(await openModel(sharded)), whole)).toBeLessThan(1e-6)
    },
  )

  it('written as LoRA gives the logits of the adapted model, or is refused where there is none', async () => {
    if (!model.plan.method.asLora) return expect(toLora(model)).rejects.toMatchObject({ code: 'NoLora' })
    const folder = join(scratch.path, `${name}-${architecture}-lora`)
    await exportLora(model, folder)
    expect(gap(await logitsOf(await loadAdapter(base, folder)), await logitsOf(model))).toBeLessThan(2e-5)
  })

  it.runIf(method.folds)('leaves nothing behind when folding is aborted', async () => {
    const folder = join(scratch.path, `${name}-${architecture}-aborted`)
    const signal = AbortSignal.abort()
    await expect(model.fold(folder, { signal })).rejects.toThrow(/abort/i)
    expect(await readdir(folder)).toEqual([])
  })

  const takesTargets = 'targets' in method.options.shape
  it.runIf(takesTargets)('refuses a target that matches nothing, and names the nearest', async () => {
    const [site] = model.plan.sites
    const known = site.site.name.split('.').at(-1)!
    const wrong = `${known}x`
    for (const targets of [[wrong], [known, wrong], wrong]) {
      const attempt = adapt(base, { targets })
      await expect(attempt).rejects.toMatchObject({ code: 'NoSuchModule' })
      await expect(attempt).rejects.toThrow(wrong)
      await expect(attempt).rejects.toThrow(new RegExp(`Nearest: ${known}( \\(\\d+ layers\\))?`))
    }
  })

  it('has the gradient that finite differences give, on the interpreter', async () => {
    const parameters = movedParameters(model)
    const { grads } = await run(model, { device: 'reference' })
    const [up, down] = [1, -1].map((sign) => perturbed(model, 'direction', sign * 3e-5).parameters)
    const [above, below] = await Promise.all(
      [up, down].map(async (p) => toNumbers((await run(model, { device: 'reference' }, p)).loss)[0]),
    )
    let slope = 0
    for (const key of Object.keys(parameters)) {
      const [g, a, b] = [grads[key], up[key], down[key]].map(toNumbers)
      g.forEach((x, i) => (slope += (x * (a[i] - b[i])) / 2))
    }
    expect(Math.abs((above - below) / 2 / slope - 1)).toBeLessThan(1e-4)
  })

  it('computes in Node what the interpreter computes', async () => {
    const [ours, reference] = await Promise.all([run(model), run(model, { device: 'reference' })])
    expect(gap(toNumbers(ours.logits), toNumbers(reference.logits))).toBeLessThan(2e-5)
    for (const key of Object.keys(movedParameters(model)))
      expect(gap(toNumbers(ours.grads[key]), toNumbers(reference.grads[key]))).toBeLessThan(2e-5)
  })

  it('trains on from a checkpoint to the same bits', async () => {
    const out = join(scratch.path, `${name}-${architecture}-run`)
    const data = function* (startAt: number) {
      for (let i = startAt; ; i++) yield { ids: ids(`ids ${i}`), labels: ids(`labels ${i}`) }
    }
    const options = { steps: 4, learningRate: 1e-2, seed: 2 }
    const whole = await fit(fresh, data, options)
    const stop = new AbortController()
    const hook = ({ step }: { step: number }): void => void (step === 2 && stop.abort())
    await fit(fresh, data, { ...options, out, signal: stop.signal, hook })
    const resumed = await fit(await adapt(base, given), data, { ...options, out, resume: true })
    expect(resumed.state.step).toBe(4)
    expect(bytes(resumed.model)).toEqual(bytes(whole.model))
  })
})
