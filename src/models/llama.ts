/**
 * @file Llama and its family: decoders with rotary positions, RMS norms and gated MLPs. What Qwen 2 and 3, Mistral,
 * Gemma 2 and Mixtral do otherwise is data: llama-config.ts.
 */
import { oneHot, rmsNorm, rotary, softmax, type Tensor } from '../tensor/index.js'
import type { Architecture, ModelInputs, ModelOutputs } from './architecture.js'
import { attentionCore, mergeHeads, splitHeads } from './attention.js'
import { logitsBy } from './head.js'
import {
  layerSizes,
  layerTypes,
  type LlamaConfig,
  type LlamaLayer,
  readConfig,
  variants,
} from './llama-config.js'
import { fusedExperts, llamaTable } from './llama-table.js'
import { type Positions, positionsFrom } from './positions.js'
import { rotation } from './rope.js'
import type { Weights } from './weights.js'

export type { LlamaConfig, LlamaLayer } from './llama-config.js'

/** The RMS norm `name`, over the last axis of x. */
export const norm = (w: Weights, name: string, x: Tensor, c: LlamaConfig, at: Positions): Tensor =>
  w.module(name, x, at, (x) => {
    const weight = w.tensor(`${name}.weight`)
    return rmsNorm(x, c.gemma ? weight.add(1) : weight, { epsilon: c.epsilon })
  })

/** Self-attention of one block. x: [batch, time, width] -> the same. */
export const attention = (
  w: Weights,
  x: Tensor,
  c: LlamaConfig,
  layer: LlamaLayer,
  at: Positions,
): Tensor => {
  const { cos, sin } = rotation(c.rope, layer.size, at)
  const heads = (name: string, count: number): Tensor => splitHeads(w.linear(`${name}_proj`, x), count)
  const turned = (name: string, count: number): Tensor => {
    const h = heads(name, count)
    return rotary(c.headNorms ? norm(w, `${name}_norm`, h, c, at) : h, cos, sin)
  }
  const q = turned('q', layer.heads)
  const k = turned('k', layer.keyHeads)
  const v = heads('v', layer.keyHeads)
  const drop = c.dropout ? (p: Tensor): Tensor => w.dropout(p, c.dropout) : undefined
  const core = attentionCore({ scale: c.scale, softcap: c.scoreCap, window: layer.window, drop })
  return w.linear('o_proj', mergeHeads(w.attend('', { q, k, v, at }, core)))
}

/** down(f(gate(x)) * up(x)). x: [..., width] -> the same. */
export const mlp = (
  w: Weights,
  x: Tensor,
  c: LlamaConfig,
  names: readonly string[] = ['gate_proj', 'up_proj', 'down_proj'],
): Tensor => w.linear(names[2], c.activation(w.linear(names[0], x)).mul(w.linear(names[1], x)))

/**
 * A mixture of experts (Jiang et al. 2024, arXiv 2401.04088): each token's `perToken` likeliest experts, weighted by
 * their renormalised probabilities. Every expert runs on every token, since a graph is static. x: [batch, time, width]
 * -> the same. Reports the share of tokens that each expert gets (`router`) and its mean probability.
 */
export const experts = (w: Weights, x: Tensor, c: LlamaConfig): Tensor => {
  const { count, perToken } = c.experts!
  const probabilities = softmax(w.linear('gate', x))
  const { values, indices } = probabilities.topK(perToken)
  const chosen = oneHot(indices, count)
  const share = values.div(values.sum(-1, { keep: true }))
  const weights = share.unsqueeze(-1).mul(chosen).sum(-2)
  w.report('router', chosen.sum(-2).mean([0, 1]))
  w.report('router_probabilities', probabilities.mean([0, 1]))
  const outputs = Array.from({ length: count }, (_, i) =>
    mlp(w.in(`experts.${i}`), x, c, ['w1', 'w3', 'w2']).mul(weights.slice(-1, i, i + 1)),
  )
  return outputs.reduce((sum, y) => sum.add(y))
}

/** One decoder block. x: [batch, time, width] -> the same. */
export const block = (w: Weights, x: Tensor, c: LlamaConfig, layer: LlamaLayer, at: Positions): Tensor => {
  const attended = (x: Tensor): Tensor =>
    w.module('self_attn', x, at, (x, at) => attention(w.in('self_attn'), x, c, layer, at))
  const name = c.experts ? 'block_sparse_moe' : 'mlp'
  const passed = (x: Tensor): Tensor =>
    w.module(name, x, at, (x) => (c.experts ? experts : mlp)(w.in(name), x, c))
  const normed = (name: string, x: Tensor): Tensor => norm(w, name, x, c, at)
  if (!c.gemma) {
    const h = x.add(attended(normed('input_layernorm', x)))
    return h.add(passed(normed('post_attention_layernorm', h)))
  }
  const h = x.add(normed('post_attention_layernorm', attended(normed('input_layernorm', x))))
  return h.add(normed('post_feedforward_layernorm', passed(normed('pre_feedforward_layernorm', h))))
}

/** What enters the first block: [batch, time, width]. */
export const embed = (w: Weights, { ids, embeddings }: ModelInputs, c: LlamaConfig): Tensor => {
  const x = embeddings ?? w.embedding('model.embed_tokens', ids!)
  return c.gemma ? x.mul(Math.sqrt(c.width)) : x
}

/** Logits of what left the final norm. x: [..., width] -> [..., vocabulary]. */
export const head = (w: Weights, x: Tensor, c: LlamaConfig): Tensor => {
  const logits = w.linear('lm_head', x)
  return c.logitCap
    ? logits
        .mul(1 / c.logitCap)
        .tanh()
        .mul(c.logitCap)
    : logits
}

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
  return { logits: logitsBy((rows) => head(w, rows, c), last, inputs.logitsAt), hidden }
}

export const llama: Architecture<LlamaConfig> = {
  name: 'llama',
  modelTypes: Object.keys(variants),
  readConfig,
  task: () => 'causal',
  positions: (c) => c.positions,
  table: llamaTable,
  forward,
  fused: fusedExperts,
  withBiases: (json) => ({ ...json, attention_bias: true, mlp_bias: true }),
  heads: ['lm_head'],
  targets: {
    usual: ['q_proj', 'v_proj'],
    keysAndValues: ['k_proj', 'v_proj'],
    hiddenInputs: ['down_proj', 'w2'],
  },
  sublayers: [
    { part: 'attention', first: ['self_attn.q_proj'], last: 'self_attn.o_proj' },
    { part: 'feed-forward', first: ['mlp.gate_proj'], last: 'mlp.down_proj' },
    {
      part: 'feed-forward',
      first: ['block_sparse_moe.experts.*.w1'],
      last: 'block_sparse_moe.experts.*.w2',
    },
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
      lists: layerTypes,
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
