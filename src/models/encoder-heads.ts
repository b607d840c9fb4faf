/** @file The heads that stand on encoders of text: for masked tokens, for classes of a text or of each token, for the ends of an answer. */
import { WeftError } from '../errors.js'
import type { Tensor } from '../tensor/index.js'
import type { AxisGroup, ModelInputs, WeightSpec } from './architecture.js'
import { rowsAt } from './attention.js'
import type { ConfigReader } from './config.js'
import type { Positions } from './positions.js'
import { layerNormSpecs, linearSpecs, residual } from './specs.js'

/** Kind of an encoder's logits, as `Task` has it. */
export type EncoderTask = 'masked' | 'classify' | 'tokens' | 'answer' | 'features'

/** What Transformers calls the model of each task, behind the name of its family. */
const classNames: Readonly<Record<string, EncoderTask>> = {
  ForMaskedLM: 'masked',
  ForPreTraining: 'masked',
  ForSequenceClassification: 'classify',
  ForTokenClassification: 'tokens',
  ForQuestionAnswering: 'answer',
  Model: 'features',
}

/** The task that `architectures` of config.json names, for a family such as 'Bert'. Default masked. Throws CheckpointError for a class that is none of the family's. */
export const readEncoderTask = (config: ConfigReader, families: readonly string[]): EncoderTask => {
  const name = config.first('architectures') ?? `${families[0]}ForMaskedLM`
  const family = families.find((one) => name.startsWith(one))
  const task = family === undefined ? undefined : classNames[name.slice(family.length)]
  const known = families.flatMap((one) => Object.keys(classNames).map((end) => `${one}${end}`))
  config.require(task !== undefined, 'architectures', `one of ${known.join(', ')}`)
  return task!
}

/** Names of the modules of a family's heads. */
export interface HeadNames {
  /** The head of masked tokens; `bias` owns the decoder's bias where the decoder is tied. */
  readonly masked: {
    readonly dense: string
    readonly norm: string
    readonly decoder: string
    readonly bias?: string
  }
  readonly classify: { readonly dense: string; readonly out: string }
  readonly tokens: string
  readonly answer: string
}

/** Sizes of the heads, and what the head of masked tokens is tied to. */
export interface HeadSizes {
  readonly task: EncoderTask
  readonly vocabulary: number
  readonly width: number
  readonly classes: number
  /** Whether the decoder is the embedding table. */
  readonly tied: boolean
}

/** The head of masked tokens: a dense layer, a norm, and the decoder. embedding: the tensor that the decoder is tied to. */
const maskedSpecs = (
  { masked: { dense, norm, decoder, bias: owner } }: HeadNames,
  { vocabulary, width, tied }: HeadSizes,
  embedding: string,
): WeightSpec[] => {
  const units = tied ? residual : { group: 'head', unit: 1 }
  const [weight, bias] = linearSpecs(decoder, [vocabulary, width], [undefined, units])
  const owned =
    owner === undefined
      ? [bias]
      : [
          { ...bias, name: owner },
          { ...bias, tied: owner },
        ]
  // It belongs to the model, though a decoder of its own has its own bias.
  const unused = owner === undefined ? [] : [{ ...bias, name: owner }]
  return [
    ...linearSpecs(dense, [width, width], [units, residual]),
    ...layerNormSpecs(norm, width, units),
    ...(tied ? [{ ...weight, tied: embedding }, ...owned] : [weight, bias, ...unused]),
  ]
}

/** The weights of a model's head. embedding: the tensor of its table of tokens. */
export const headSpecs = (names: HeadNames, sizes: HeadSizes, embedding: string): WeightSpec[] => {
  const { task, width, classes } = sizes
  const pooled: AxisGroup = { group: 'pooler', unit: 1 }
  const { dense, out } = names.classify
  switch (task) {
    case 'masked':
      return maskedSpecs(names, sizes, embedding)
    case 'classify':
      return [
        ...linearSpecs(dense, [width, width], [pooled, residual]),
        ...linearSpecs(out, [classes, width], [undefined, pooled]),
      ]
    case 'tokens':
      return linearSpecs(names.tokens, [classes, width], [undefined, residual])
    case 'answer':
      return linearSpecs(names.answer, [2, width], [undefined, residual])
    case 'features':
      return []
  }
}

/** Throws CheckpointError where a model that finds answers has another number of outputs than their two ends. */
export const requireEnds = (config: ConfigReader, task: EncoderTask): void =>
  config.require(
    task !== 'answer' || config.classes() === 2,
    'id2label',
    'two labels: an answer begins and ends',
  )

/** Those rows of x that are wanted, or all. x: [batch, time, width]. */
export const wantedRows = (x: Tensor, { logitsAt }: Pick<ModelInputs, 'logitsAt'>): Tensor =>
  logitsAt ? rowsAt(x, logitsAt) : x

/** The first token, by which texts are classified. x: [batch, time, width] -> [batch, width]. */
export const firstToken = (x: Tensor): Tensor => x.slice(1, 0, 1).squeeze(1)

/** Throws WeftError for more tokens than a model has `positions`. */
export const requirePositions = ({ limit }: Positions, positions: number): void => {
  if (limit !== undefined && limit > positions)
    throw new WeftError('TooManyPositions', `${limit} tokens: this model has ${positions} positions`, {
      hint: 'Give it shorter sequences.',
    })
}
