/**
 * @file Prefix tuning (Li & Liang 2021, arXiv 2101.00190): p trained keys and values before those of the tokens in every
 * attention module, [p, 2 L d] in all, which turn by no position. While it trains they may be made by a small network
 * (`projection`); without it this is P-tuning v2 (Liu et al. 2021, arXiv 2110.07602).
 */
import { z } from 'zod'
import { CheckpointError, UsageError } from '../../errors.js'
import {
  type AttentionParts,
  type Model,
  type ModelInputs,
  type Positions,
  positionsFrom,
} from '../../models/index.js'
import { concat, range, type Tensor } from '../../tensor/index.js'
import { adapter } from '../core/adapter.js'
import { kaimingUniform, standardNormal, zeros } from '../core/initial.js'
import { card } from './card.js'
import {
  behind,
  computed,
  lacksModules,
  notApplicable,
  requireTokens,
  type VirtualTokenOptions,
  virtualTokenOptions,
} from '../core/virtual-tokens.js'
import { type Site, sitesOf } from '../../models/sites.js'
import type { AdapterMethod, AdapterSpec, Named, SharedSpec } from '../core/spec.js'

/** Options of prefix tuning. */
export interface PrefixOptions extends VirtualTokenOptions {
  /** Beginning of keys and values: normal with deviation 1, or zero. Default 'random'. */
  readonly initial: 'random' | 'zero'
  /** True to make them of embeddings by two layers while training; saved are only the keys and values. Default false. */
  readonly projection: boolean
  /** Inner width of the two layers. Default: that of the keys. */
  readonly projectionWidth?: number
}

/** What the options come to at one attention module. */
export interface PrefixSettings {
  /** p. */
  readonly tokens: number
  /** Place of its key in each row of the prefix, and of its value: of 2 L. */
  readonly key: number
  readonly value: number
  readonly entries: number
  /** Position of the first virtual token: tokens follow the last. */
  readonly first: number
}

const options: z.ZodObject = virtualTokenOptions.extend({
  initial: z.enum(['random', 'zero']).default('random').describe('keys and values at first'),
  projection: z.boolean().default(false).describe('make keys and values by a small network while training'),
  projectionWidth: z.number().int().positive().optional().describe('inner width of that network'),
})

/** Attention modules that may have a prefix: of an encoder with a decoder none. */
export const prefixSites = (method: string, base: Model): Site[] => {
  const all = sitesOf(base, ['attention'])
  const decoders = all.filter(({ name }) => name.startsWith('decoder.'))
  const sites = decoders.length ? decoders : all
  if (sites.length === 0) throw notApplicable(method, base, 'attention modules')
  const odd = sites.find(({ out, heads }) => out !== sites[0].out || heads !== sites[0].heads)
  if (odd)
    throw new UsageError(
      'NotApplicable',
      `${method}: keys are ${sites[0].out} wide at ${sites[0].name} and ${odd.out} at ${odd.name}`,
      { hint: 'A prefix is one table, and needs keys of one width and number of heads.' },
    )
  return sites
}

const isCross = ({ name }: Site): boolean => name.endsWith('.EncDecAttention')

/** Whether tokens must be told that the prefix stands before them: where their positions are absolute. */
const shifts = ({ architecture, config }: Model): boolean =>
  ['causal', 'masked', 'classify'].includes(architecture.task(config))

/** Blocks that have a prefix: a decoder's two attention modules share theirs, as PEFT has it. */
const blocksOf = (sites: readonly Site[]): number => sites.filter((site) => !isCross(site)).length

/** sites: all that have a prefix, in their order. */
export const prefixSettings = (
  { tokens }: Pick<PrefixOptions, 'tokens'>,
  site: Site,
  sites: readonly Site[],
): PrefixSettings => {
  const entries = 2 * blocksOf(sites)
  const place = 2 * sites.findIndex(({ name }) => name === site.name)
  // Relative positions need nothing to be moved: the virtual tokens stand before position 0.
  const first = site.name.startsWith('decoder.') ? -tokens : 0
  return { tokens, entries, key: place % entries, value: (place + 1) % entries, first }
}

/** [p, 2 L d], and what it is made of where it is projected. */
export const prefixSpecs = (o: PrefixOptions, sites: readonly Site[]): Named<SharedSpec> => {
  const width = sites[0].out
  const all = 2 * blocksOf(sites) * width
  const hidden = o.projectionWidth ?? width
  const trained = { frozen: false } as const
  const linear = (layer: number, out: number, inside: number): Named<SharedSpec> => ({
    [`W${layer}`]: {
      key: `prefix.${layer}.weight`,
      shape: [out, inside],
      initial: kaimingUniform,
      ...trained,
    },
    [`b${layer}`]: { key: `prefix.${layer}.bias`, shape: [out], initial: zeros, ...trained },
  })
  if (o.projection)
    return {
      embedding: { key: 'prefix.embedding', shape: [o.tokens, width], initial: standardNormal, ...trained },
      ...linear(1, hidden, width),
      ...linear(2, all, hidden),
    }
  const initial = o.initial === 'zero' ? zeros : standardNormal
  return {
    prefix: {
      key: 'prompt_embeddings',
      file: 'prompt_embeddings',
      shape: [o.tokens, all],
      initial,
      ...trained,
    },
  }
}

const made = new WeakMap<Tensor, Tensor>()

/** The keys and values: [p, 2 L d]. */
export const prefixOf = (p: Named<Tensor>): Tensor => {
  if (!p.embedding) return p.prefix
  const known = made.get(p.embedding)
  if (known) return known
  const hidden = p.embedding.matmul(p.W1.t()).add(p.b1).tanh()
  const all = hidden.matmul(p.W2.t()).add(p.b2)
  made.set(p.embedding, all)
  return all
}

const extended = new WeakMap<Positions, Positions>()

/** Positions that see the virtual tokens' keys before their own. Modules that see the same positions share it. */
const withPrefix = (at: Positions, { tokens, first }: PrefixSettings): Positions => {
  const known = extended.get(at)
  if (known) return known
  const before = range(first, first + tokens)
    .unsqueeze(0)
    .expand([at.keys.shape[0], tokens])
  const valid = at.valid && behind(tokens, true, at.valid)
  const all = { ...at, keys: concat([before, at.keys], 1), ...(valid && { valid }) }
  extended.set(at, all)
  return all
}

/** The parts of attention with the prefix's keys and values before the others. prefix: [p, 2 L d]. */
export const prefixed = (
  { k, v, at, bias, q }: AttentionParts,
  prefix: Tensor,
  s: PrefixSettings,
): AttentionParts => {
  const [batch, heads, count, size] = k.shape
  const entry = (place: number): Tensor =>
    prefix
      .reshape([s.tokens, s.entries, heads, size])
      .slice(1, place, place + 1)
      .squeeze(1)
      .transpose([1, 0, 2])
      .unsqueeze(0)
      .expand([batch, heads, s.tokens, size])
  const positions = at.keys.shape[1] === count ? withPrefix(at, s) : at
  const missing = bias ? positions.keys.shape[1] - bias.shape[3] : 0
  return {
    q,
    k: concat([entry(s.key), k], 2),
    v: concat([entry(s.value), v], 2),
    at: positions,
    ...(bias && { bias: missing > 0 ? bias.pad([0, 0, 0, missing], [0, 0, 0, 0]) : bias }),
  }
}

/** Inputs whose tokens stand `tokens` positions later, where positions are absolute. */
export const laterBy = (inputs: ModelInputs, tokens: number, base: Model): ModelInputs => {
  if (!shifts(base)) return inputs
  const time = (inputs.embeddings ?? inputs.ids!).shape[1]
  const causal = base.architecture.task(base.config) === 'causal'
  const { ids, keys, limit, ...at } = inputs.at ?? positionsFrom(time, { causal, mask: inputs.mask })
  const later = { ids: ids.add(tokens), keys: keys.add(tokens) }
  return { ...inputs, at: { ...at, ...later, ...(limit !== undefined && { limit: limit + tokens }) } }
}

const spec: AdapterSpec<PrefixOptions, PrefixSettings> = {
  paper: card,
  peftType: 'PREFIX_TUNING',
  options,
  size: { option: 'tokens', kind: 'count' },
  kinds: ['attention'],
  defaultTargets: (base) => prefixSites('prefix', base).map(({ name }) => name),
  settings: prefixSettings,
  parameters: () => ({}),
  shared: prefixSpecs,
  attend: (parts, run, p, s) => run(prefixed(parts, prefixOf(p), s)),
  // So that biases of relative positions are made for the prefix too.
  module: (x, at, run, _p, s) => run(x, withPrefix(at, s)),
  forward: (inputs, run, _p, { base, options: { tokens } }) => run(laterBy(inputs, tokens, base)),
  virtual: ({ tokens }) => ({ positions: tokens, cached: 0 }),
  startsChanged: true,
  async export({ shared, whole }, parameters, { projection }) {
    if (!projection) return { options: {}, parameters }
    const projectionValues = Object.entries(shared).map(([name, { key }]) => [name, parameters[key]] as const)
    const kept = Object.fromEntries(whole.map((name) => [name, parameters[name]]))
    const prefix = await computed(prefixOf, Object.fromEntries(projectionValues))
    return { options: { projection: false }, parameters: { ...kept, prompt_embeddings: prefix } }
  },
  peft: {
    keys: {
      init_weights: {
        option: 'initial',
        write: (initial) => (initial === 'zero' ? 'zero' : null),
        read: (json) => (json === 'zero' ? 'zero' : 'random'),
      },
      num_virtual_tokens: 'tokens',
    },
    missing: { projection: false },
    derived({ base, sites }) {
      const all = sites.length ? sites : prefixSites('prefix', base)
      const [{ out, heads = 1 }] = all
      return {
        encoder_hidden_size: out,
        num_attention_heads: heads,
        num_layers: blocksOf(all),
        num_transformer_submodules: all.some(isCross) ? 2 : 1,
        token_dim: out,
      }
    },
    harmless: { prefix_projection: false },
    check(config) {
      requireTokens(config)
      if (config.prefix_projection && config.inference_mode === false)
        throw new CheckpointError(
          'UnsupportedAdapter',
          'adapter_config.json: prefix_projection with inference_mode false: the prefix is still to be made.',
          { hint: 'Save it for inference with PEFT.' },
        )
    },
  },
  lacks: lacksModules,
}

/**
 * Prefix tuning on `base`, a checkpoint or an open model: a model whose parameters are keys and values (or what they are
 * made of). It changes the base before any training. Throws UsageError for a base without attention.
 */
export const prefix: AdapterMethod<PrefixOptions> = adapter(spec)
