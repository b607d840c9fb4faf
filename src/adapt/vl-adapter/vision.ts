/**
 * @file A text encoder-decoder that sees: features of a frozen image encoder, projected to the text's width, stand behind the
 * text in its encoder (Cho et al. 2021, arXiv 2102.02779). The visual embedding is a module of the model like any other,
 * `visual`: every method may adapt it or train it whole.
 */
import { UsageError } from '../../errors.js'
import {
  answering,
  type Architecture,
  layoutsOf,
  type Model,
  type Parameters,
  type Positions,
  type Weights,
  type WeightSpec,
} from '../../models/index.js'
import { keyOf, normal } from '../../random/index.js'
import {
  concat,
  full,
  layerNorm,
  ones,
  sizeOf,
  type Tensor,
  tensor,
  value,
  type Value,
} from '../../tensor/index.js'
import { tokenTable } from '../core/virtual-tokens.js'

/** Options of a model's eyes. */
export interface VisionOptions {
  /** c: channels of the image encoder's features. */
  readonly channels: number
  /** How many images a row of a batch may have. Default 2. */
  readonly images?: number
  /** Seed of the visual embedding before training. Default 0. */
  readonly seed?: number | string
}

/** The name under which methods train the visual embedding whole: `modulesToSave: ['visual']`. */
export const visualModule = 'visual'

const residual = { group: 'residual', unit: 1 }

/** c d + d of the projection, 2 d of its norm, 4 d + d of the boxes, d an image. */
const visualSpecs = (width: number, channels: number, images: number): readonly WeightSpec[] => {
  const spec = (
    name: string,
    kind: WeightSpec['kind'],
    shape: readonly number[],
    more: Partial<WeightSpec> = {},
  ): WeightSpec => ({
    name: `${visualModule}.${name}`,
    kind,
    shape,
    axes: shape.map((size, i) =>
      size === width && i === (kind === 'embedding' ? 1 : 0) ? residual : undefined,
    ),
    ...more,
  })
  return [
    spec('projection.weight', 'linear', [width, channels], { deviation: channels ** -0.5 }),
    spec('projection.bias', 'bias', [width]),
    spec('norm.weight', 'norm', [width], { initial: 1 }),
    spec('norm.bias', 'norm', [width], { initial: 0 }),
    spec('boxes.weight', 'linear', [width, 4], { deviation: 0.5 }),
    spec('boxes.bias', 'bias', [width]),
    spec('images.weight', 'embedding', [images, width], { deviation: 0.5 }),
  ]
}

const initialValue = (
  { name, shape, kind, initial, deviation }: WeightSpec,
  seed: number | string,
): Value => {
  const data = new Float32Array(sizeOf(shape))
  if (initial !== undefined || kind === 'bias') return value(data.fill(initial ?? 0), shape, 'float32')
  normal(data, keyOf(`${seed}/${name}`))
  return value(
    data.map((x) => x * deviation!),
    shape,
    'float32',
  )
}

/** Top, left, bottom and right of the cells of a grid, as shares of the image: [rows * columns, 4]. */
const boxes = (rows: number, columns: number): Tensor =>
  tensor(
    Array.from({ length: rows * columns }, (_, i) => [Math.floor(i / columns), i % columns]).flatMap(
      ([row, column]) => [row / rows, column / columns, (row + 1) / rows, (column + 1) / columns],
    ),
    [rows * columns, 4],
  )

/** What the encoder reads of the features [batch, images * c, rows, columns]: [batch, images * rows * columns, d]. */
const visualTokens = (w: Weights, pixels: Tensor, { channels, images = 2 }: VisionOptions): Tensor => {
  const [batch, depth, rows, columns] = pixels.shape
  const count = depth / channels
  if (!Number.isInteger(count) || count < 1 || count > images)
    throw new UsageError(
      'BadFeatures',
      `features of ${depth} channels are not those of 1 to ${images} images of ${channels} channels`,
      { hint: 'The visual embedding was made with those channels and images.' },
    )
  const cells = rows * columns
  const regions = pixels.reshape([batch, count, channels, cells]).transpose([0, 1, 3, 2])
  const projected = w.linear('projection', regions)
  const seen = layerNorm(projected, { weight: w.tensor('norm.weight'), bias: w.tensor('norm.bias') })
  const places = w.linear('boxes', boxes(rows, columns))
  const which = w.tensor('images.weight').slice(0, 0, count).unsqueeze(1)
  return seen
    .add(places)
    .add(which)
    .reshape([batch, count * cells, -1])
}

/**
 * The encoder's weights where all tokens from `text` on stand at one position: the order of regions says nothing, their
 * boxes say where they are.
 */
const besideText = (w: Weights, text: number): Weights => {
  const known = new Map<Positions, Positions>()
  const moved = (at: Positions): Positions => {
    if (at.causal) return at
    const seen = known.get(at)
    if (seen) return seen
    const ids = at.ids.minimum(text)
    const textOnly = { ...at, ids, keys: ids }
    known.set(at, textOnly).set(textOnly, textOnly)
    return textOnly
  }
  return answering(w, { module: (name, x, at, body) => w.module(name, x, moved(at), body) })
}

const architectureOf = (base: Model, options: VisionOptions): Architecture => {
  const { architecture } = base
  const { name, width } = tokenTable('vision', base)
  return {
    ...architecture,
    table: (c) => [...architecture.table(c), ...visualSpecs(width, options.channels, options.images ?? 2)],
    forward(w, { pixels, ...inputs }, c) {
      if (!pixels) return architecture.forward(w, inputs, c)
      const text = inputs.embeddings ?? w.embedding(name, inputs.ids!)
      const seen = visualTokens(w.in(visualModule), pixels, options)
      const [batch, time] = text.shape
      const mask = inputs.mask ?? full([batch, time], 1, 'int32')
      const both = {
        ...inputs,
        ids: undefined,
        embeddings: concat([text, seen], 1),
        mask: concat([mask, ones([batch, seen.shape[1]], mask.dtype)], 1),
      }
      return architecture.forward(besideText(w, time), both, c)
    },
  }
}

/**
 * `base` with a visual embedding, whose parameters are its own beside the base's. Batches hold the features of their images
 * in `pixels`: [batch, images * c, rows, columns]; without, it is the base. Throws UsageError for a base that is no text
 * encoder-decoder, and in a trace for features of other channels or more images.
 */
export const withVision = (base: Model, options: VisionOptions): Model => {
  if (base.architecture.task(base.config) !== 'sequence')
    throw new UsageError(
      'NotApplicable',
      `vision: ${base.architecture.name} is no encoder-decoder, whose encoder could read images`,
      { hint: 'A T5 is one.' },
    )
  const architecture = architectureOf(base, options)
  const { width } = tokenTable('vision', base)
  const specs = visualSpecs(width, options.channels, options.images ?? 2)
  const values = specs.map((spec) => [spec.name, initialValue(spec, options.seed ?? 0)] as const)
  return assembled(base, architecture, new Set(specs.map(({ name }) => name)), {
    ...base.parameters,
    ...Object.fromEntries(values),
  })
}

const assembled = (
  base: Model,
  architecture: Architecture,
  visionNames: ReadonlySet<string>,
  parameters: Parameters<Value>,
): Model => ({
  ...base,
  architecture,
  parameters,
  weights(tensors, trace) {
    const below = base.weights(
      Object.fromEntries(Object.entries(tensors).filter(([name]) => !visionNames.has(name))),
      trace,
    )
    const visual = answering(
      below,
      {
        tensor: (name) => (visionNames.has(name) ? tensors[name] : below.tensor(name)),
        has: (name) => visionNames.has(name) || below.has(name),
      },
      layoutsOf(architecture.table(base.config)),
    )
    const under = (name: string): Weights => (name.startsWith(`${visualModule}.`) ? visual : below)
    const { tensor, has } = visual
    return answering(below, {
      tensor,
      has,
      linear: (name, x) => under(name).linear(name, x),
      embedding: (name, ids, options) => under(name).embedding(name, ids, options),
      conv: below.conv,
    })
  },
  with: (values) => assembled(base, architecture, visionNames, values),
})
