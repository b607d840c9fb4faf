/**
 * @file P-tuning (Liu et al. 2021, arXiv 2103.10385): a prompt (see prompt.ts) that a small network makes of embeddings of its
 * own while it trains: three layers with ReLU between. Saved and served are only the virtual tokens' embeddings.
 */
import { z } from 'zod'
import { relu, type Tensor } from '../../tensor/index.js'
import { adapter } from '../core/adapter.js'
import { kaimingUniform, standardNormal, zeros } from '../core/initial.js'
import { card } from './card.js'
import { promptKey, promptSpec, requirePrompt, withPrompt } from '../prompt/prompt.js'
import {
  computed,
  describedBase,
  lacksModules,
  tokenTable,
  type VirtualTokenOptions,
  virtualTokenOptions,
} from '../core/virtual-tokens.js'
import type { AdapterMethod, AdapterSpec, Named, SharedSpec } from '../core/spec.js'

/** Options of P-tuning. */
export interface PTuningOptions extends VirtualTokenOptions {
  /** True to make the embeddings by a small network while training. Default true; a saved prompt has none any more. */
  readonly encoder: boolean
  /** Inner width of that network. Default: the model's. */
  readonly encoderWidth?: number
}

const options: z.ZodObject = virtualTokenOptions.extend({
  encoder: z.boolean().default(true).describe('make the embeddings by a small network while training'),
  encoderWidth: z.number().int().positive().optional().describe('inner width of that network'),
})

const layers = [0, 1, 2]

const encoderSpecs = ({ tokens, encoderWidth }: PTuningOptions, width: number): Named<SharedSpec> => {
  const hidden = encoderWidth ?? width
  const widths = [width, hidden, hidden, width]
  const trained = { frozen: false } as const
  const linear = layers.flatMap((i): [string, SharedSpec][] => [
    [
      `W${i}`,
      {
        key: `prompt_encoder.${i}.weight`,
        shape: [widths[i + 1], widths[i]],
        initial: kaimingUniform,
        ...trained,
      },
    ],
    [`b${i}`, { key: `prompt_encoder.${i}.bias`, shape: [widths[i + 1]], initial: zeros, ...trained }],
  ])
  const embedding = {
    key: 'prompt_encoder.embedding',
    shape: [tokens, width],
    initial: standardNormal,
    ...trained,
  }
  return { embedding, ...Object.fromEntries(linear) }
}

/** The prompt: [p, width]. */
const promptOf = (p: Named<Tensor>): Tensor =>
  p.prompt ??
  layers.reduce((x, i) => (i === 0 ? x : relu(x)).matmul(p[`W${i}`].t()).add(p[`b${i}`]), p.embedding)

const spec: AdapterSpec<PTuningOptions, undefined> = {
  paper: card,
  peftType: 'P_TUNING',
  options,
  size: { option: 'tokens', kind: 'count' },
  kinds: [],
  settings: () => undefined,
  parameters: () => ({}),
  shared: (o, _sites, base) =>
    o.encoder
      ? encoderSpecs(o, tokenTable('p-tuning', base).width)
      : { prompt: promptSpec('p-tuning', base, { ...o, initial: 'random' }) },
  forward: (inputs, run, p, context) => withPrompt(inputs, run, promptOf(p), context),
  virtual: ({ tokens }) => ({ positions: tokens, cached: tokens }),
  startsChanged: true,
  async export({ shared, whole }, parameters, { encoder }) {
    if (!encoder) return { options: {}, parameters }
    const encoderValues = Object.entries(shared).map(([name, { key }]) => [name, parameters[key]] as const)
    const kept = Object.fromEntries(whole.map((name) => [name, parameters[name]]))
    const prompt = await computed(promptOf, Object.fromEntries(encoderValues))
    return { options: { encoder: false }, parameters: { ...kept, [promptKey]: prompt } }
  },
  peft: {
    keys: {
      encoder_hidden_size: {
        option: 'encoderWidth',
        write: (width, _, { base }) => width ?? describedBase(base).token_dim,
        read: () => undefined,
      },
      num_virtual_tokens: 'tokens',
    },
    missing: { encoder: false },
    derived: ({ base }) => ({ ...describedBase(base), num_transformer_submodules: 1 }),
    harmless: { encoder_dropout: 0, encoder_num_layers: 2, encoder_reparameterization_type: 'MLP' },
    check: requirePrompt,
  },
  lacks: lacksModules,
}

/**
 * P-tuning on `base`, a checkpoint or an open model: a model whose parameters are embeddings and the network that makes a
 * prompt of them. It changes the base before any training. Throws UsageError for a base that has no token embeddings.
 */
export const pTuning: AdapterMethod<PTuningOptions> = adapter(spec)
