/**
 * @file Multi-layer perceptrons: plain, or residual blocks with a norm before each. Their config.json is Weft's own:
 * `{"model_type": "weft_mlp", "sizes": [784, 256, 256, 10], "hidden_act": "relu"}`, inputs first and classes last; with
 * `"residual": true, "width": 128` each size between is that of a block's hidden units instead. Residual networks may
 * also say `"norm": "rms"` (without parameters, before each block and nowhere else), `"input_projection": false` (the
 * inputs are the stream) and `"down_scale"` (a factor on what `down` begins as).
 */
import { full, layerNorm, rmsNorm, type Tensor } from '../tensor/index.js'
import { CheckpointError, WeftError } from '../errors.js'
import type { Architecture, AxisGroup, ModelInputs, ModelOutputs, WeightSpec } from './architecture.js'
import { reading } from './config.js'
import { type Positions, positionsFrom } from './positions.js'
import { layerNormSpecs, linearSpecs, residual, spread } from './specs.js'
import type { Weights } from './weights.js'

export interface MlpConfig {
  readonly inputs: number
  /** Units of each hidden layer, or of each residual block. */
  readonly hidden: readonly number[]
  readonly classes: number
  /** Width of the residual stream; undefined for a plain network. */
  readonly width?: number
  /** Of each block: a layer norm (and one more before the head), or RMS norms without parameters. */
  readonly norm: 'layer' | 'rms'
  /** Whether a linear module makes the stream of the inputs. */
  readonly projected: boolean
  /** Factor on what each block's `down` begins as. */
  readonly downScale: number
  readonly activation: (x: Tensor) => Tensor
  /** Whether linear modules have biases. */
  readonly biases: boolean
  /** Probability of dropout after each activation. */
  readonly dropout: number
  readonly epsilon: number
}

const readConfig = reading('weft_mlp', { harmless: ['width'] }, (config): MlpConfig => {
  const sizes = config.sizes('sizes')
  if (sizes.length < 2)
    throw new CheckpointError(
      'InvalidConfig',
      `config.json: sizes is [${sizes}]; expected at least two: inputs first, classes last.`,
    )
  const width = config.boolean('residual', false) ? config.size('width') : undefined
  const norm = config.string('norm', 'layer')
  config.require(norm === 'layer' || norm === 'rms', 'norm', "'layer' or 'rms'")
  const projected = config.boolean('input_projection', true)
  config.require(
    projected || width === sizes[0],
    'input_projection',
    `true, unless width is ${sizes[0]}, as the inputs are`,
  )
  return {
    inputs: sizes[0],
    hidden: sizes.slice(1, -1),
    classes: sizes[sizes.length - 1],
    width,
    norm: norm as MlpConfig['norm'],
    projected,
    downScale: config.number('down_scale', 1),
    activation: config.activation('hidden_act', 'relu'),
    biases: config.boolean('bias', true),
    dropout: config.number('dropout', 0),
    epsilon: config.number('layer_norm_eps', 1e-5),
  }
})

/** The norm `name`, over the last axis of x. */
export const norm = (w: Weights, name: string, x: Tensor, c: MlpConfig, at: Positions): Tensor =>
  w.module(name, x, at, (x) =>
    c.norm === 'rms'
      ? rmsNorm(x, full([x.shape[x.rank - 1]], 1, x.dtype), c)
      : layerNorm(x, {
          weight: w.tensor(`${name}.weight`),
          bias: w.tensor(`${name}.bias`),
          epsilon: c.epsilon,
        }),
  )

/** One hidden layer of a plain network. x: [batch, in] -> [batch, out]. */
export const layer = (w: Weights, name: string, x: Tensor, c: MlpConfig): Tensor =>
  w.dropout(c.activation(w.linear(name, x)), c.dropout)

/** x + down(f(up(norm(x)))). x: [batch, width] -> the same. */
export const block = (w: Weights, x: Tensor, c: MlpConfig, at: Positions): Tensor =>
  x.add(w.linear('down', layer(w, 'up', norm(w, 'norm', x, c, at), c)))

/** The numbers that are classified: [batch, inputs], of `embeddings` ([batch, inputs]) or of `pixels`, whatever their shape. */
export const features = ({ embeddings, pixels }: ModelInputs, c: MlpConfig): Tensor => {
  const inputValues = embeddings ?? pixels
  if (inputValues && inputValues.size === inputValues.shape[0] * c.inputs)
    return inputValues.reshape([inputValues.shape[0], c.inputs])
  throw new WeftError(
    'WrongInputs',
    `mlp: ${inputValues ? `[${inputValues.shape}]` : 'neither embeddings nor pixels'} given; ${c.inputs} numbers an example expected`,
  )
}

const forward = (w: Weights, inputs: ModelInputs, c: MlpConfig): ModelOutputs => {
  // There are no tokens: modules are told of one.
  const at = inputs.at ?? positionsFrom(1, { causal: false })
  let x = features(inputs, c)
  if (c.width !== undefined && c.projected) x = w.linear('input', x)
  const hidden = [x]
  for (const i of c.hidden.keys()) {
    const name = c.width === undefined ? `layers.${i}` : `blocks.${i}`
    x = w.module(name, x, at, (x, at) =>
      c.width === undefined ? layer(w, name, x, c) : block(w.in(name), x, c, at),
    )
    hidden.push(x)
  }
  if (c.width !== undefined && c.norm === 'layer') x = hidden[hidden.length - 1] = norm(w, 'norm', x, c, at)
  return { logits: w.linear('head', x), hidden }
}

const unitsOf = (i: number): AxisGroup => ({ group: `layers.${i}.hidden`, unit: 1 })

/** A linear module; those before an activation begin larger (He et al. 2015). */
const linear = (
  name: string,
  [out, inside]: readonly [number, number],
  axes: readonly [AxisGroup | undefined, AxisGroup | undefined],
  c: MlpConfig,
  gain = 1,
): WeightSpec[] => spread(Math.sqrt(gain / inside), linearSpecs(name, [out, inside], axes, c.biases))

const plainTable = (c: MlpConfig): WeightSpec[] => {
  const sizes = [c.inputs, ...c.hidden]
  const axis = (i: number): AxisGroup | undefined => (i < 0 ? undefined : unitsOf(i))
  const last = c.hidden.length
  return [
    ...c.hidden.flatMap((out, i) => linear(`layers.${i}`, [out, sizes[i]], [axis(i), axis(i - 1)], c, 2)),
    ...linear('head', [c.classes, sizes[last]], [undefined, axis(last - 1)], c),
  ]
}

/** A norm's parameters: none of an RMS norm's. */
const normSpecs = (name: string, c: MlpConfig, width: number): WeightSpec[] =>
  c.norm === 'rms' ? [] : layerNormSpecs(name, width, residual)

const residualTable = (c: MlpConfig, width: number): WeightSpec[] => [
  ...(c.projected ? linear('input', [width, c.inputs], [residual, undefined], c) : []),
  ...c.hidden.flatMap((units, i) => [
    ...normSpecs(`blocks.${i}.norm`, c, width),
    ...linear(`blocks.${i}.up`, [units, width], [unitsOf(i), residual], c, 2),
    ...linear(`blocks.${i}.down`, [width, units], [residual, unitsOf(i)], c, c.downScale ** 2),
  ]),
  ...normSpecs('norm', c, width),
  ...linear('head', [c.classes, width], [undefined, residual], c),
]

export const mlp: Architecture<MlpConfig> = {
  name: 'mlp',
  modelTypes: ['weft_mlp'],
  readConfig,
  task: () => 'classify',
  table: (c) => (c.width === undefined ? plainTable(c) : residualTable(c, c.width)),
  forward,
  resized: (json, widths) => ({
    ...json,
    sizes: (json.sizes as number[]).map((size, i) => widths.get(`layers.${i - 1}.hidden`) ?? size),
    ...(widths.has('residual') ? { width: widths.get('residual') } : {}),
  }),
}
