/** @file A checkpoint against the reference outputs, in a page. */
import { batchOf, Comparison, continueCached, type Deviations, numbersOf, train } from './golden-case.js'
import { type Checkpoint, openBytes } from '../src/checkpoint/web.js'
import type { Device } from '../src/tensor/index.js'
import { type Model, openModel, type OpenModelOptions } from '../src/models/index.js'

const fetched = async (path: string): Promise<Uint8Array> =>
  new Uint8Array(await (await fetch(`/golden/${path}`)).arrayBuffer())

interface Case {
  readonly name: string
  /** Of the checkpoint. */
  readonly files: readonly string[]
  readonly device: Device
}

const opened = async (
  { name, files }: Case,
  options: OpenModelOptions,
): Promise<{ model: Model; golden: Checkpoint }> => {
  const bytes = await Promise.all(
    files.map(async (file) => [file, await fetched(`${name}/${file}`)] as const),
  )
  const checkpoint = await openBytes(Object.fromEntries(bytes), name)
  const golden = await openBytes(await fetched(`${name}/golden.safetensors`))
  return { model: await openModel(checkpoint, options), golden }
}

export const cases = {
  /** How far forward, gradients and the losses before and after one step are off. */
  deviations: async (given: Case): Promise<Deviations[]> => {
    const { model, golden } = await opened(given, { trainable: true })
    const batch = await batchOf(golden, model.architecture.task(model.config), model.checkpoint.config)
    const ours = await train(model, batch, { device: given.device, steps: 1 })
    const comparison = new Comparison(ours, golden)
    return [await comparison.forward(), await comparison.gradients(), await comparison.training()]
  },
  /** The reference library's greedy continuation, and that of a frozen model with cached keys and values. */
  generated: async (given: Case): Promise<number[][]> => {
    const { model, golden } = await opened(given, {})
    const theirs = [...(await numbersOf(await golden.read('generated')))]
    const ours = await continueCached(model, theirs.slice(0, 5), theirs.length - 5, { device: given.device })
    return [theirs, ours]
  },
}
