/**
 * @file Llama and its family: decoders with rotary positions, RMS norms and gated MLPs. What Qwen, Mistral, Gemma, Mixtral,
 * Phi, SmolLM, OLMo and Granite do otherwise is data: llama-variants.ts.
 */
import { cond, oneHot, rmsNorm, softmax, type Tensor, zeros } from '../tensor/index.js'
import type { Architecture, ModelInputs, ModelOutputs } from './architecture.js'
import { attentionCore, lastOf, mergeHeads, rowsAt, splitHeads } from './attention.js'
import { logitsBy } from './head.js'
import { layerRules, layerSizes, type LlamaConfig, type LlamaLayer, readConfig } from './llama-config.js'
import { fusedExperts, llamaTable } from './llama-table.js'
import { variants } from './llama-variants.js'
import { type Positions, positionsFrom } from './positions.js'
import { turned, turningPointOf } from './rope.js'
import type { Weights } from './weights.js'

export type { LlamaConfig, LlamaLayer } from './llama-config.js'

/** The RMS norm `name`, over the last axis of x. */
export const norm = (w: Weights, name: string, x: Tensor, c: LlamaConfig, at: Positions): Tensor =>
  w.module(name, x, at, (x) => {
    const weight = w.tensor(`${name}.weight`)
    return rmsNorm(x, c.shifted ? weight.add(1) : weight, { epsilon: c.epsilon })
  })

/** Queries, keys and values of x: [batch, time, width] -> [batch, time, heads * size] each. */
const projected = (w: Weights, x: Tensor, c: LlamaConfig, { heads, keyHeads, size }: LlamaLayer) => {
  if (!c.fused) return { q: w.linear('q_proj', x), k: w.linear('k_proj', x), v: w.linear('v_proj', x) }
  const qkv = w.linear('qkv_proj', x)
  const values = (heads + keyHeads) * size
  return {
    q: qkv.slice(2, 0, heads * size),
    k: qkv.slice(2, heads * size, values),
    v: qkv.slice(2, values),
  }
}

/** Self-attention of one block. x: [batch, time, width] -> the same. */
export const attention = (
  w: Weights,
  x: Tensor,
  c: LlamaConfig,
  layer: LlamaLayer,
  at: Positions,
): Tensor => {
  const placed = (name: 'q' | 'k', x: Tensor, count: number): Tensor => {
    const normed = (x: Tensor): Tensor => norm(w, `${name}_norm`, x, c, at)
    const whole = c.headNorms === 'whole' ? normed(x) : x
    const heads = splitHeads(whole, count)
    const each = c.headNorms === 'each' ? normed(heads) : heads
    return layer.rope ? turned(each, layer.rope, at) : each
  }
  const parts = projected(w, x, c, layer)
  const q = placed('q', parts.q, layer.heads)
  const k = placed('k', parts.k, layer.keyHeads)
  const v = splitHeads(parts.v, layer.keyHeads)
  const { attention: p } = c.dropout
  const drop = p ? (probabilities: Tensor): Tensor => w.dropout(probabilities, p) : undefined
  const core = attentionCore({ scale: c.scale, softcap: c.scoreCap, window: layer.window, drop })
  return w.linear('o_proj', mergeHeads(w.attend('', { q, k, v, at }, core)))
}

/** down(f(gate(x)) * up(x)). x: [..., width] -> the same. */
export const mlp = (
  w: Weights,
  x: Tensor,
  c: LlamaConfig,
  names: readonly string[] = ['gate_proj', 'up_proj', 'down_proj'],
): Tensor => {
  const [gate, up] = c.fused
    ? w.linear('gate_up_proj', x).split(2, -1)
    : [w.linear(names[0], x), w.linear(names[1], x)]
  return w.linear(names[2], c.activation(gate).mul(up))
}

/**
 * A mixture of experts (Jiang et al. 2024, arXiv 2401.04088): each token's `perToken` likeliest experts, weighted by
 * their probabilities, which Mixtral makes sum to 1. Every expert runs on every token, since a graph is static; but in
 * cached generation those that no token of the pass has chosen are left out. x: [batch, time, width] -> the same. Reports
 * the share of tokens that each expert gets (`router`) and its mean probability.
 */
export const experts = (w: Weights, x: Tensor, c: LlamaConfig, at: Positions): Tensor => {
  const { count, perToken, parts, renormalised } = c.experts!
  const probabilities = softmax(w.linear('gate', x))
  const { values, indices } = probabilities.topK(perToken)
  const chosen = oneHot(indices, count)
  const share = renormalised ? values.div(values.sum(-1, { keep: true })) : values
  const weights = share.unsqueeze(-1).mul(chosen).sum(-2)
  w.report('router', chosen.sum(-2).mean([0, 1]))
  w.report('router_probabilities', probabilities.mean([0, 1]))
  const outputs = Array.from({ length: count }, (_, i) => {
    const weight = weights.slice(-1, i, i + 1)
    const output = (): Tensor => mlp(w.in(`experts.${i}`), x, c, parts).mul(weight)
    if (!at.cached) return output()
    const [y] = cond(
      weight.max().greater(0),
      () => [output()],
      () => [zeros(x.shape)],
    )
    return y
  })
  return outputs.reduce((sum, y) => sum.add(y))
}

/** One decoder block. x: [batch, time, width] -> the same. */
export const block = (w: Weights, x: Tensor, c: LlamaConfig, layer: LlamaLayer, at: Positions): Tensor => {
  const attended = (x: Tensor): Tensor =>
    w.module('self_attn', x, at, (x, at) => attention(w.in('self_attn'), x, c, layer, at))
  const name = layer.sparse ? c.experts!.module : 'mlp'
  const passed = (x: Tensor): Tensor =>
    w.module(name, x, at, (x, at) => (layer.sparse ? experts(w.in(name), x, c, at) : mlp(w.in(name), x, c)))
  const normed = (name: string, x: Tensor): Tensor => norm(w, name, x, c, at)
  const joined = (x: Tensor, y: Tensor): Tensor => {
    const { residual } = c.multipliers
    const added = c.dropout.residual ? w.dropout(y, c.dropout.residual) : y
    return x.add(residual === 1 ? added : added.mul(residual))
  }
  if (c.norms === 'before') {
    const h = joined(x, attended(normed('input_layernorm', x)))
    return joined(h, passed(normed('post_attention_layernorm', h)))
  }
  const before = (name: string, x: Tensor): Tensor => (c.norms === 'both' ? normed(name, x) : x)
  const h = joined(x, normed('post_attention_layernorm', attended(before('input_layernorm', x))))
  const y = passed(before('pre_feedforward_layernorm', h))
  return joined(h, normed('post_feedforward_layernorm', y))
}

/** What enters the first block: [batch, time, width]. */
export const embed = (w: Weights, { ids, embeddings }: ModelInputs, c: LlamaConfig): Tensor => {
  const x = embeddings ?? w.embedding('model.embed_tokens', ids!, { padding: c.padding })
  const { embedding } = c.multipliers
  return embedding === 1 ? x : x.mul(embedding)
}

/** Logits of what left the final norm. x: [..., width] -> [..., vocabulary]. */
export const head = (w: Weights, x: Tensor, c: LlamaConfig): Tensor => {
  const { logits: multiplier } = c.multipliers
  const logits = w.linear('lm_head', x)
  const scaled = multiplier === 1 ? logits : logits.mul(multiplier)
  return c.logitCap
    ? scaled
        .mul(1 / c.logitCap)
        .tanh()
        .mul(c.logitCap)
    : scaled
}

/** Logits of the classes, read from the last token of each text. x: [batch, time, width] -> [batch, classes]. */
const classHead = (w: Weights, x: Tensor, inputs: ModelInputs, c: LlamaConfig): Tensor =>
  w.linear('score', rowsAt(x, lastOf(inputs, x.shape, c.padding)).squeeze(1))

const forward = (w: Weights, inputs: ModelInputs, c: LlamaConfig): ModelOutputs => {
  let x = embed(w, inputs, c)
  const at = inputs.at ?? positionsFrom(x.shape[1], { causal: true, mask: inputs.mask })
  const hidden = [x]
  for (const [i, layer] of c.layers.entries()) {
    const name = `model.layers.${i}`
    x = w.module(name, x, at, (x, at) => block(w.in(name), x, c, layer, at))
    hidden.push(x)
  }
  const last = (hidden[hidden.length - 1] = norm(w, 'model.norm', x, c, at))
  if (c.task === 'classify') return { logits: classHead(w, last, inputs, c), hidden }
  return { logits: logitsBy((rows) => head(w, rows, c), last, inputs.logitsAt), hidden }
}

export const llama: Architecture<LlamaConfig> = {
  name: 'llama',
  modelTypes: Object.keys(variants),
  readConfig,
  task: (c) => c.task,
  positions: (c) => c.positions,
  table: llamaTable,
  forward,
  classifierFamily: ({ model_type: type }) => variants[String(type)].classifierFamily,
  turningPoint: ({ layers }) => turningPointOf(layers.flatMap(({ rope }) => rope ?? [])),
  rotary: ({ layers }) => layers.some(({ rope }) => rope),
  fused: fusedExperts,
  withBiases: (json) => ({ ...json, attention_bias: true, mlp_bias: true }),
  heads: ['lm_head', 'score'],
  targets: {
    usual: ['q_proj', 'v_proj', 'qkv_proj'],
    keysAndValues: ['k_proj', 'v_proj', 'qkv_proj'],
    hiddenInputs: ['down_proj', 'w2'],
  },
  sublayers: [
    {
      part: 'attention',
      first: ['self_attn.q_proj', 'self_attn.qkv_proj'],
      last: 'self_attn.o_proj',
    },
    { part: 'feed-forward', first: ['mlp.gate_proj', 'mlp.gate_up_proj'], last: 'mlp.down_proj' },
    {
      part: 'feed-forward',
      first: ['block_sparse_moe.experts.*.w1'],
      last: 'block_sparse_moe.experts.*.w2',
    },
    { part: 'feed-forward', first: ['mlp.experts.*.gate_proj'], last: 'mlp.experts.*.down_proj' },
  ],
  sizeKeys: {
    heads: { all: 'num_attention_heads', keys: 'num_key_value_heads', size: 'head_dim' },
    hidden: 'intermediate_size',
    width: 'hidden_size',
    perLayer: true,
  },
  stacks: [
    {
      name: '',
      path: 'model.layers',
      count: 'num_hidden_layers',
      sizes: layerSizes,
      lists: layerRules,
    },
  ],
  prefix: 'model',
  cache: (c) =>
    c.layers.map(({ keyHeads, size }, i) => ({
      module: `model.layers.${i}.self_attn`,
      heads: keyHeads,
      size,
    })),
}
