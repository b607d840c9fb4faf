/** @file ResNet: stages of convolutions with batch norm, each block adding to what it was given. */
import {
  batchNorm,
  batchNormTraining,
  globalAveragePool2d,
  maxPool2d,
  relu,
  type Tensor,
} from '../tensor/index.js'
import type { JsonObject } from '../checkpoint/web.js'
import { CheckpointError } from '../errors.js'
import type { Architecture, AxisGroup, ModelInputs, ModelOutputs, WeightSpec } from './architecture.js'
import { type ConfigReader, reading } from './config.js'
import type { UnreadKeys } from './config-keys.js'
import type { Widths } from './declarations.js'
import { type Positions, positionsFrom } from './positions.js'
import { linearSpecs, spread } from './specs.js'
import type { Weights } from './weights.js'
import { append } from '../tensor/numbers.js'

/** A convolution without bias, its batch norm, and the activation if it has one. */
export interface ResnetConv {
  readonly name: string
  readonly inputs: number
  readonly outputs: number
  readonly kernel: number
  readonly stride: number
  readonly activation?: (x: Tensor) => Tensor
}

/** One residual block: convolutions one after another, and what the input passes when it cannot be added as it is. */
export interface ResnetLayer {
  readonly name: string
  readonly convolutions: readonly ResnetConv[]
  readonly shortcut?: ResnetConv
}

export interface ResnetConfig {
  readonly stem: ResnetConv
  readonly stages: readonly (readonly ResnetLayer[])[]
  /** Channels after the last stage. */
  readonly width: number
  readonly activation: (x: Tensor) => Tensor
  readonly classes: number
}

/** Of PyTorch's batch norms; config.json does not say them. */
const [epsilon, momentum] = [1e-5, 0.1]

/** The convolutions of one block: [inputs, outputs, kernel, stride] each. */
type Shapes = (
  inputs: number,
  outputs: number,
  stride: number,
  early: boolean,
) => readonly (readonly number[])[]

const kinds: Readonly<Record<string, Shapes>> = {
  basic: (inputs, outputs, stride) => [
    [inputs, outputs, 3, stride],
    [outputs, outputs, 3, 1],
  ],
  // A quarter of the channels inside; the stride is that of the 3 x 3, or of the first where config.json says so.
  bottleneck: (inputs, outputs, stride, early) => {
    const inner = Math.floor(outputs / 4)
    return [
      [inputs, inner, 1, early ? stride : 1],
      [inner, inner, 3, early ? 1 : stride],
      [inner, outputs, 1, 1],
    ]
  },
}

const readShapes = (config: ConfigReader): Shapes => {
  const kind = config.string('layer_type', 'bottleneck')
  if (Object.hasOwn(kinds, kind)) return kinds[kind]
  throw new CheckpointError(
    'InvalidConfig',
    `config.json: layer_type is ${JSON.stringify(kind)}; expected ${Object.keys(kinds).join(' or ')}.`,
  )
}

/** More blocks than any model has in a stage. */
const mostBlocks = 4096

const readStages = (config: ConfigReader, widths: readonly number[]): ResnetLayer[][] => {
  const depths = config.sizes('depths', [3, 4, 6, 3], mostBlocks)
  if (depths.length !== widths.length)
    throw new CheckpointError(
      'InvalidConfig',
      `config.json: depths has ${depths.length} stages and hidden_sizes ${widths.length}; expected as many.`,
    )
  const shapes = readShapes(config)
  const early = config.boolean('downsample_in_bottleneck', false)
  const first = config.boolean('downsample_in_first_stage', false)
  let inputs = config.size('embedding_size', 64)
  return widths.map((outputs, s) =>
    Array.from({ length: depths[s] }, (_, l) => {
      const stride = l === 0 && (s > 0 || first) ? 2 : 1
      const name = `resnet.encoder.stages.${s}.layers.${l}`
      const all = shapes(inputs, outputs, stride, early)
      const convolutions = all.map(([from, to, kernel, step], i) => ({
        name: `${name}.layer.${i}`,
        inputs: from,
        outputs: to,
        kernel,
        stride: step,
        // Within a block always a ReLU, whatever config.json says of the others.
        activation: i < all.length - 1 ? relu : undefined,
      }))
      const shortcut = { name: `${name}.shortcut`, inputs, outputs, kernel: 1, stride }
      const needed = inputs !== outputs || stride !== 1
      inputs = outputs
      return { name, convolutions, shortcut: needed ? shortcut : undefined }
    }),
  )
}

const unread: UnreadKeys = {
  // Which stages a backbone gives back; how large images are made before the network sees them.
  harmless: [
    'stage_names',
    'out_features',
    'out_indices',
    'image_size',
    'image_mean',
    'image_std',
    'mean',
    'std',
    'tie_word_embeddings',
  ],
}

const readConfig = reading('resnet', unread, (config): ResnetConfig => {
  const widths = config.sizes('hidden_sizes', [256, 512, 1024, 2048])
  const f = config.activation('hidden_act', 'relu')
  return {
    stem: {
      name: 'resnet.embedder.embedder',
      inputs: config.size('num_channels', 3),
      outputs: config.size('embedding_size', 64),
      kernel: 7,
      stride: 2,
      activation: f,
    },
    stages: readStages(config, widths),
    width: widths[widths.length - 1],
    activation: f,
    classes: config.classes(),
  }
})

/**
 * The batch norm `name`. x: [batch, channels, height, width]. In training it goes by the batch, and reports the running
 * statistics that follow under their names.
 */
export const norm = (w: Weights, name: string, x: Tensor, at: Positions): Tensor =>
  w.module(name, x, at, (x) => {
    const part = (of: string): Tensor => w.tensor(`${name}.${of}`)
    const options = { weight: part('weight'), bias: part('bias'), epsilon, momentum }
    const [mean, variance, batches] = ['running_mean', 'running_var', 'num_batches_tracked'].map(part)
    if (!w.training) return batchNorm(x, mean, variance, options)
    const next = batchNormTraining(x, mean, variance, options)
    w.report(`${name}.running_mean`, next.mean)
    w.report(`${name}.running_var`, next.variance)
    w.report(`${name}.num_batches_tracked`, batches.add(1))
    return next.output
  })

/** A convolution, its norm and its activation. x: [batch, inputs, height, width]. */
export const convolution = (w: Weights, x: Tensor, conv: ResnetConv, at: Positions): Tensor => {
  const options = { stride: conv.stride, padding: Math.floor(conv.kernel / 2) }
  const y = norm(w, `${conv.name}.normalization`, w.conv(`${conv.name}.convolution`, x, options), at)
  return conv.activation ? conv.activation(y) : y
}

/** One residual block. x: [batch, channels, height, width]. */
export const block = (w: Weights, x: Tensor, layer: ResnetLayer, c: ResnetConfig, at: Positions): Tensor => {
  const passed = layer.shortcut ? convolution(w, x, layer.shortcut, at) : x
  return c.activation(layer.convolutions.reduce((y, conv) => convolution(w, y, conv, at), x).add(passed))
}

const forward = (w: Weights, inputs: ModelInputs, c: ResnetConfig): ModelOutputs => {
  // An image has no tokens: modules are told of one.
  const at = inputs.at ?? positionsFrom(1, { causal: false })
  let x = maxPool2d(convolution(w, inputs.pixels!, c.stem, at), 3, { stride: 2, padding: 1 })
  const hidden = [x]
  for (const layer of c.stages.flat()) {
    x = w.module(layer.name, x, at, (x, at) => block(w, x, layer, c, at))
    hidden.push(x)
  }
  return { logits: w.linear('classifier.1', globalAveragePool2d(x)), hidden }
}

/** A convolution and its norm, between channels of the groups `from` and `to`. */
const convSpecs = (
  { name, inputs, outputs, kernel }: ResnetConv,
  from?: AxisGroup,
  to?: AxisGroup,
): WeightSpec[] => {
  const channels = (part: string, kind: WeightSpec['kind']): WeightSpec => ({
    name: `${name}.normalization.${part}`,
    shape: [outputs],
    kind,
    axes: [to],
  })
  return [
    {
      name: `${name}.convolution.weight`,
      shape: [outputs, inputs, kernel, kernel],
      kind: 'conv',
      axes: [to, from, undefined, undefined],
      // He et al. 2015, by the channels that go out.
      deviation: Math.sqrt(2 / (outputs * kernel * kernel)),
    },
    channels('weight', 'norm'),
    channels('bias', 'norm'),
    channels('running_mean', 'buffer'),
    { ...channels('running_var', 'buffer'), initial: 1 },
    {
      name: `${name}.normalization.num_batches_tracked`,
      shape: [],
      kind: 'buffer',
      dtype: 'int64',
      axes: [],
    },
  ]
}

/** Channels that are added to each other belong together: a group lasts until a shortcut begins another. */
const table = (c: ResnetConfig): readonly WeightSpec[] => {
  const group = (name: string): AxisGroup => ({ group: name, unit: 1 })
  let stream = group('stem')
  const specs = convSpecs(c.stem, undefined, stream)
  c.stages.forEach((layers, s) =>
    layers.forEach(({ convolutions, shortcut }, l) => {
      const name = `stages.${s}.layers.${l}`
      const to = shortcut ? group(name) : stream
      const between = convolutions.map((_, i) =>
        i < convolutions.length - 1 ? group(`${name}.inner.${i}`) : to,
      )
      if (shortcut) append(specs, convSpecs(shortcut, stream, to))
      append(
        specs,
        convolutions.flatMap((conv, i) => convSpecs(conv, i ? between[i - 1] : stream, between[i])),
      )
      stream = to
    }),
  )
  const classifier = linearSpecs('classifier.1', [c.classes, c.width], [undefined, stream])
  return [...specs, ...spread(c.width ** -0.5, classifier)]
}

/** A stage's channels are those of its shortcut's group, or else what enters it. */
const resized = (json: JsonObject, widths: Widths): JsonObject => {
  const stem = widths.get('stem')!
  const depths = (json.depths as number[] | undefined) ?? [3, 4, 6, 3]
  let channels = stem
  const hidden = depths.map((_, s) => (channels = widths.get(`stages.${s}.layers.0`) ?? channels))
  return { ...json, embedding_size: stem, hidden_sizes: hidden }
}

export const resnet: Architecture<ResnetConfig> = {
  name: 'resnet',
  modelTypes: ['resnet'],
  readConfig,
  task: () => 'image',
  table,
  forward,
  prefix: 'resnet',
  heads: ['classifier.1'],
  resized,
  // A bottleneck's channels are four times those inside it.
  widthStep: (json, group) =>
    (json.layer_type ?? 'bottleneck') === 'bottleneck' && !group.includes('.inner.') ? 4 : 1,
}
