import { afterAll, describe, expect, it } from 'vitest'
import { changed, countOf, gap, logitsOf, noisy } from '../../../test/adapter.js'
import { goldenFolder } from '../../../test/golden.js'
import { type Checkpoint, open } from '../../checkpoint/index.js'
import { toNumbers } from '../../tensor/index.js'
import { type AdaptedModel, houlsby, lora, prefix, unipelt } from '../index.js'

const opened: Checkpoint[] = []
const golden = async (name: string): Promise<Checkpoint> => {
  const checkpoint = await open(goldenFolder(name))
  opened.push(checkpoint)
  return checkpoint
}
afterAll(() => Promise.all(opened.map((checkpoint) => checkpoint.close())))

const options = { tokens: 3, rank: 2, alpha: 4, bottleneck: 5 }

/** Gates wide open where `open` says so, and shut elsewhere, whatever enters. */
const gated = (model: AdaptedModel, isOpen: (module: string) => boolean): AdaptedModel =>
  changed(model, (old, name) => {
    if (name.endsWith('gate.weight')) return old.fill(0)
    return name.endsWith('gate.bias') ? old.fill(isOpen(name) ? 60 : -60) : old
  })

describe('unipelt', () => {
  it('has the numbers of its parts, and d + 1 for each gate', async () => {
    const [d, keys, gates] = [32, 16, 4]
    const parts = 2 * (d + d) + 2 * (d + keys) + 2 * 3 * keys + (2 * d * 5 + 5 + d)
    expect(countOf(await unipelt(await golden('llama'), options))).toBe(3 * (parts + gates * (d + 1)))
  })

  it('with one gate open is that part', async () => {
    const base = await golden('llama')
    const model = noisy(await unipelt(base, options))
    const taken = (own: AdaptedModel): AdaptedModel =>
      changed(own, (_, name) => toNumbers(model.parameters[name]))
    const isAdapter = (name: string): boolean => name.includes('down_proj')
    const isLora = (name: string): boolean => /[qv]_proj/.test(name)
    const cases = [
      [isAdapter, taken(await houlsby(base, { bottleneck: 5, placement: 'feed-forward' }))],
      [isLora, taken(await lora(base, { rank: 2, alpha: 4 }))],
      [(name: string) => !isAdapter(name) && !isLora(name), taken(await prefix(base, { tokens: 3 }))],
    ] as const
    for (const [isOpen, part] of cases)
      expect(gap(await logitsOf(gated(model, isOpen)), await logitsOf(part))).toBeLessThan(1e-5)
  })
})
