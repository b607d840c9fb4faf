/**
 * @file Prompt tuning (Lester et al. 2021, arXiv 2104.08691): p trained embeddings before those of each sequence's tokens,
 * which stand p positions later. Logits are those of the tokens; of a classifier the first position is a virtual token's, as
 * PEFT has it. An encoder reads them before its own tokens.
 */
import { z } from 'zod'
import type { JsonObject } from '../../checkpoint/index.js'
import { CheckpointError } from '../../errors.js'
import {
  type Model,
  type ModelInputs,
  type ModelOutputs,
  type Positions,
  sliceRows,
} from '../../models/index.js'
import { Stream } from '../../random/index.js'
import { concat, range, type Tensor, value } from '../../tensor/index.js'
import { adapter } from '../core/adapter.js'
import { type SharedInitial, standardNormal } from '../core/initial.js'
import { card } from './card.js'
import {
  behind,
  describedBase,
  lacksModules,
  requireTokens,
  tokenTable,
  type VirtualTokenOptions,
  virtualTokenOptions,
} from '../core/virtual-tokens.js'
import type { AdapterMethod, AdapterSpec, ForwardContext, SharedSpec } from '../core/spec.js'

/** Options of prompt tuning. */
export interface PromptOptions extends VirtualTokenOptions {
  /** Beginning of the embeddings: those of random tokens, or normal with deviation 1. Default 'vocabulary'. */
  readonly initial: 'vocabulary' | 'random'
}

const options: z.ZodObject = virtualTokenOptions.extend({
  initial: z
    .enum(['vocabulary', 'random'])
    .default('vocabulary')
    .describe('virtual tokens at first: embeddings of random tokens, or random numbers'),
})

/** Rows of the table `name`, drawn at random. */
const drawnFrom =
  (name: string): SharedInitial =>
  async ({ shape: [count, width], key, tensor }) => {
    const table = await tensor(`${name}.weight`)
    const stream = new Stream(key)
    const out = new Float32Array(count * width)
    for (let i = 0; i < count; i++) {
      const row = stream.int(table.shape[0])
      out.set(
        Float32Array.from(table.data.subarray(row * width, (row + 1) * width) as Float32Array),
        i * width,
      )
    }
    return value(out, [count, width], 'float32')
  }

/** The prompt as PEFT keeps it: its name in the model's parameters is its name in the file. */
export const promptKey = 'prompt_embeddings'

/** The parameter that holds the embeddings of p virtual tokens: [p, width]. */
export const promptSpec = (
  method: string,
  base: Model,
  { tokens, initial }: Pick<PromptOptions, 'tokens' | 'initial'>,
): SharedSpec => {
  const { name, width } = tokenTable(method, base)
  return {
    key: promptKey,
    file: promptKey,
    shape: [tokens, width],
    initial: initial === 'random' ? standardNormal : drawnFrom(name),
    frozen: false,
  }
}

/** Positions of `count` virtual tokens and, behind them, of those of `at`. */
const shifted = (at: Positions, count: number): Positions => {
  const later = (ids: Tensor): Tensor => {
    const all = concat([range(0, count).unsqueeze(0).expand([ids.shape[0], count]), ids.add(count)], 1)
    return at.limit === undefined ? all : all.minimum(at.limit - 1)
  }
  const valid = at.valid && behind(count, true, at.valid)
  return { ...at, ids: later(at.ids), keys: later(at.keys), ...(valid && { valid }) }
}

/** The model with `prompt` ([p, width]) before the tokens of each row. */
export const withPrompt = (
  inputs: ModelInputs,
  run: (inputs: ModelInputs) => ModelOutputs,
  prompt: Tensor,
  { base, weights }: Pick<ForwardContext<unknown>, 'base' | 'weights'>,
): ModelOutputs => {
  const { at, ids, mask, types, logitsAt } = inputs
  const task = base.architecture.task(base.config)
  // Later tokens of a cached sequence: the prompt's keys are in the cache, and their positions count it.
  if (at && task === 'causal' && at.keys.shape[1] > at.ids.shape[1]) return run(inputs)
  const textEmbeddings = inputs.embeddings ?? weights.embedding(tokenTable('prompt', base).name, ids!)
  const [count, width] = prompt.shape
  const outputs = run({
    ...inputs,
    ids: undefined,
    embeddings: concat(
      [prompt.unsqueeze(0).expand([textEmbeddings.shape[0], count, width]), textEmbeddings],
      1,
    ),
    mask: mask && behind(count, 1, mask),
    types: types && behind(count, 0, types),
    at: at && task !== 'sequence' ? shifted(at, count) : at,
    logitsAt: task === 'sequence' ? logitsAt : logitsAt?.add(count),
  })
  if (task !== 'causal' && task !== 'masked') return outputs
  const hidden = outputs.hidden.map((x) => x.slice(1, count))
  if (logitsAt) return { ...outputs, hidden }
  const { logits } = outputs
  const first = task === 'causal' ? { first: sliceRows(logits, count - 1, count) } : {}
  return { logits: sliceRows(logits, count), hidden, ...first }
}

/** Throws CheckpointError for a config without a number of virtual tokens, and for tokens of encoder and decoder both. */
export const requirePrompt = (config: JsonObject): void => {
  requireTokens(config)
  const { num_transformer_submodules: count } = config
  if (typeof count === 'number' && count > 1)
    throw new CheckpointError(
      'UnsupportedAdapter',
      `adapter_config.json: num_transformer_submodules is ${count}: it has virtual tokens for the decoder too.`,
      { hint: 'Train it with num_transformer_submodules 1: virtual tokens before those of the encoder.' },
    )
}

const spec: AdapterSpec<PromptOptions, undefined> = {
  paper: card,
  peftType: 'PROMPT_TUNING',
  options,
  size: { option: 'tokens', kind: 'count' },
  kinds: [],
  settings: () => undefined,
  parameters: () => ({}),
  shared: (o, _sites, base) => ({ prompt: promptSpec('prompt', base, o) }),
  forward: (inputs, run, { prompt }, context) => withPrompt(inputs, run, prompt, context),
  virtual: ({ tokens }) => ({ positions: tokens, cached: tokens }),
  startsChanged: true,
  peft: {
    keys: {
      num_virtual_tokens: 'tokens',
      prompt_tuning_init: {
        option: 'initial',
        write: (initial) => (initial === 'random' ? 'RANDOM' : 'SAMPLE_VOCAB'),
        read: (json) => (json === 'RANDOM' ? 'random' : 'vocabulary'),
      },
    },
    derived: ({ base }) => ({ ...describedBase(base), num_transformer_submodules: 1 }),
    harmless: { prompt_tuning_init_text: null, tokenizer_kwargs: null, tokenizer_name_or_path: null },
    check: requirePrompt,
  },
  lacks: lacksModules,
}

/**
 * Prompt tuning on `base`, a checkpoint or an open model: a model whose parameters are the virtual tokens' embeddings. It
 * changes the base before any training. Throws UsageError for a base that has no token embeddings.
 */
export const prompt: AdapterMethod<PromptOptions> = adapter(spec)
