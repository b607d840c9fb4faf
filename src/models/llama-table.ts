/** @file The weights of the llama family: names, shapes, ties, and which axes belong together. */
import type { AxisGroup, FusedParameter, WeightSpec } from './architecture.js'
import type { LlamaConfig, LlamaLayer } from './llama-config.js'
import { embeddingSpec, linearSpecs, residual } from './specs.js'

const norm = (name: string, size: number, axis?: AxisGroup, initial = 1): WeightSpec => ({
  name: `${name}.weight`,
  shape: [size],
  kind: 'norm',
  initial,
  axes: [axis],
})

/** Query heads that share a key head belong together, so every axis of the group counts key heads. */
const attention = (name: string, at: string, c: LlamaConfig, l: LlamaLayer): WeightSpec[] => {
  const { qkv, output } = c.biases
  const group = `${at}.heads`
  const queries: AxisGroup = { group, unit: (l.heads / l.keyHeads) * l.size, inside: 'queries' }
  const keys: AxisGroup = { group, unit: l.size, inside: 'queries' }
  const values: AxisGroup = { ...keys, inside: 'values' }
  const outputs: AxisGroup = { ...queries, inside: 'values' }
  const [q, k] = [l.heads * l.size, l.keyHeads * l.size]
  return [
    ...linearSpecs(`${name}.q_proj`, [q, c.width], [queries, residual], qkv),
    ...linearSpecs(`${name}.k_proj`, [k, c.width], [keys, residual], qkv),
    ...linearSpecs(`${name}.v_proj`, [k, c.width], [values, residual], qkv),
    ...linearSpecs(`${name}.o_proj`, [c.width, q], [residual, outputs], output),
    ...(c.headNorms ? [norm(`${name}.q_norm`, l.size), norm(`${name}.k_norm`, l.size)] : []),
  ]
}

const mlp = (
  [gate, up, down]: readonly string[],
  group: string,
  c: LlamaConfig,
  { hidden }: LlamaLayer,
): WeightSpec[] => {
  const units = { group, unit: 1 }
  return [
    ...linearSpecs(gate, [hidden, c.width], [units, residual], c.biases.mlp),
    ...linearSpecs(up, [hidden, c.width], [units, residual], c.biases.mlp),
    ...linearSpecs(down, [c.width, hidden], [residual, units], c.biases.mlp),
  ]
}

const feedForward = (name: string, at: string, c: LlamaConfig, l: LlamaLayer): WeightSpec[] => {
  if (!c.experts) {
    const parts = ['gate_proj', 'up_proj', 'down_proj'].map((part) => `${name}.mlp.${part}`)
    return mlp(parts, `${at}.hidden`, c, l)
  }
  const moe = `${name}.block_sparse_moe`
  const each = Array.from({ length: c.experts.count }, (_, e) => {
    const parts = ['w1', 'w3', 'w2'].map((part) => `${moe}.experts.${e}.${part}`)
    return mlp(parts, `${at}.experts.${e}.hidden`, c, l)
  })
  return [
    ...linearSpecs(`${moe}.gate`, [c.experts.count, c.width], [undefined, residual], false),
    ...each.flat(),
  ]
}

/** The parameters in which Transformers holds what all experts of a layer have, and its router. */
export const fusedExperts = ({ layers, experts }: LlamaConfig): FusedParameter[] =>
  layers.flatMap((_, i) => {
    if (!experts) return []
    const moe = `model.layers.${i}.block_sparse_moe`
    const each = (...parts: readonly string[]): string[][] =>
      Array.from({ length: experts.count }, (_, e) => parts.map((part) => `${moe}.experts.${e}.${part}`))
    return [
      { name: `model.layers.${i}.mlp.gate.weight`, experts: [[`${moe}.gate`]] },
      { name: `model.layers.${i}.mlp.experts.gate_up_proj`, experts: each('w1', 'w3') },
      { name: `model.layers.${i}.mlp.experts.down_proj`, experts: each('w2') },
    ]
  })

const plainNorms = ['input_layernorm', 'post_attention_layernorm']
const gemmaNorms = [...plainNorms, 'pre_feedforward_layernorm', 'post_feedforward_layernorm']

/** Every tensor of the model that `c` describes. */
export const llamaTable = (c: LlamaConfig): readonly WeightSpec[] => {
  const embedding = embeddingSpec('model.embed_tokens', c.vocabulary, c.width)
  const normed = (name: string): WeightSpec => norm(name, c.width, residual, c.gemma ? 0 : 1)
  const blocks = c.layers.flatMap((layer, i) => {
    const [name, at] = [`model.layers.${i}`, `layers.${i}`]
    return [
      ...attention(`${name}.self_attn`, at, c, layer),
      ...feedForward(name, at, c, layer),
      ...(c.gemma ? gemmaNorms : plainNorms).map((n) => normed(`${name}.${n}`)),
    ]
  })
  const [head] = linearSpecs('lm_head', [c.vocabulary, c.width], [undefined, residual])
  return [embedding, ...blocks, normed('model.norm'), c.tied ? { ...head, tied: embedding.name } : head]
}
