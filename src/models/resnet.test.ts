import { describe, expect, it } from 'vitest'
import { Stream } from '../random/index.js'
import { compile, RandomStreams, type Tensor, toNumbers, valueOf } from '../tensor/index.js'
import { createModel } from './create.js'
import { resnet } from './index.js'

const config = {
  model_type: 'resnet',
  embedding_size: 4,
  hidden_sizes: [8, 8],
  depths: [1, 2],
  layer_type: 'bottleneck',
  num_labels: 3,
}

const stream = new Stream('pixels')
const pixels = valueOf(
  Array.from({ length: 2 * 3 * 16 * 16 }, () => stream.normal()),
  [2, 3, 16, 16],
)

describe('a resnet', () => {
  it('goes by its running statistics in evaluation, and reports nothing', async () => {
    const model = await createModel(config)
    const reports = new Map<string, Tensor>()
    const program = await compile(
      (parameters: Record<string, Tensor>) =>
        model.architecture.forward(
          model.weights(parameters, { reports }),
          { pixels: Object.values(parameters)[0].sum().expand([1, 3, 16, 16]) },
          model.config,
        ).logits,
      model.parameters,
    )
    const logits = await program.run(model.parameters)
    expect(logits.shape).toEqual([1, 3])
    expect(reports.size).toBe(0)
  })

  it('goes by its batch in training, and reports where the running statistics move', async () => {
    const model = await createModel(config)
    const { stem } = model.config as resnet.ResnetConfig
    const program = await compile(
      ({ parameters, pixels }) => {
        const reports = new Map<string, Tensor>()
        const w = model.weights(parameters, { reports, random: new RandomStreams() })
        const { logits } = model.architecture.forward(w, { pixels }, model.config)
        const first = w.conv(`${stem.name}.convolution`, pixels, { stride: 2, padding: 3 })
        return { logits, first, reports: Object.fromEntries(reports) }
      },
      { parameters: model.parameters, pixels },
    )
    const { first, reports } = await program.run({ parameters: model.parameters, pixels })
    const buffers = model.architecture.table(model.config).filter(({ kind }) => kind === 'buffer')
    expect(Object.keys(reports).sort()).toEqual(buffers.map(({ name }) => name).sort())

    const [mean, variance, batches] = ['running_mean', 'running_var', 'num_batches_tracked'].map((part) =>
      toNumbers(reports[`${stem.name}.normalization.${part}`]),
    )
    const [images, channels, places] = [2, 4, 64]
    const x = toNumbers(first)
    for (let c = 0; c < channels; c++) {
      const own = Array.from({ length: images }, (_, n) =>
        x.slice((n * channels + c) * places, (n * channels + c + 1) * places),
      ).flatMap((plane) => [...plane])
      const average = own.reduce((a, b) => a + b) / own.length
      const spread = own.reduce((sum, v) => sum + (v - average) ** 2, 0) / (own.length - 1)
      // From a mean of 0 and a variance of 1, by a tenth of the way.
      expect(mean[c]).toBeCloseTo(0.1 * average, 6)
      expect(variance[c]).toBeCloseTo(0.9 + 0.1 * spread, 5)
    }
    expect(batches[0]).toBe(1)
    expect(reports[`${stem.name}.normalization.num_batches_tracked`].dtype).toBe('int64')
  })

  it('strides where config.json says, and its groups of channels follow the additions', () => {
    const layersOf = (change: object): string[] =>
      resnet.resnet
        .readConfig({ ...config, ...change })
        .stages.flat()
        .map(
          ({ convolutions, shortcut }) =>
            `${convolutions.map((c) => c.stride)}${shortcut ? `+${shortcut.stride}` : ''}`,
        )
    expect(layersOf({})).toEqual(['1,1,1+1', '1,2,1+2', '1,1,1'])
    expect(layersOf({ downsample_in_bottleneck: true })).toEqual(['1,1,1+1', '2,1,1+2', '1,1,1'])
    expect(layersOf({ downsample_in_first_stage: true })).toEqual(['1,2,1+2', '1,2,1+2', '1,1,1'])
    expect(layersOf({ layer_type: 'basic', embedding_size: 8 })).toEqual(['1,1', '2,1+2', '1,1'])

    const table = resnet.resnet.table(
      resnet.resnet.readConfig({ ...config, layer_type: 'basic', embedding_size: 8 }),
    )
    const group = (name: string): string | undefined => table.find((s) => s.name === name)?.axes[0]?.group
    const stage = (s: number, l: number): string => `resnet.encoder.stages.${s}.layers.${l}`
    // The first block adds to the stem's channels; the second begins a stream of its own, to which the third adds.
    expect(group(`${stage(0, 0)}.layer.1.convolution.weight`)).toBe(
      group('resnet.embedder.embedder.convolution.weight'),
    )
    expect(group(`${stage(1, 0)}.layer.1.convolution.weight`)).toBe(
      group(`${stage(1, 0)}.shortcut.convolution.weight`),
    )
    expect(group(`${stage(1, 1)}.layer.1.convolution.weight`)).toBe(
      group(`${stage(1, 0)}.layer.1.convolution.weight`),
    )
    expect(group(`${stage(1, 0)}.layer.1.convolution.weight`)).not.toBe(
      group('resnet.embedder.embedder.convolution.weight'),
    )
  })

  it.each([
    [{ layer_type: 'wide' }, /layer_type is "wide"; expected basic or bottleneck/],
    [{ depths: [1] }, /depths has 1 stages and hidden_sizes 2/],
    [{ depths: [1, 1e9] }, /depths is \[1,1000000000\]; expected a list of positive integers up to/],
    [{ hidden_sizes: [] }, /hidden_sizes is \[\]; expected a list of positive integers/],
  ])('refuses %j', (change, message) => {
    expect(() => resnet.resnet.readConfig({ ...config, ...change })).toThrow(message)
  })
})
