/** @file The weights of the llama family: names, shapes, ties, and which axes belong together. */
import type { AxisGroup, FusedParameter, FusedPart, WeightSpec } from './architecture.js'
import type { LlamaConfig, LlamaLayer } from './llama-config.js'
import { embeddingSpec, fusedSpecs, linearSpecs, residual } from './specs.js'

const norm = (name: string, size: number, axis?: AxisGroup, initial = 1): WeightSpec => ({
  name: `${name}.weight`,
  shape: [size],
  kind: 'norm',
  initial,
  axes: [axis],
})

/** The axes of attention. Query heads that share a key head belong together, so every axis of the group counts key heads. */
const headAxes = (
  at: string,
  l: LlamaLayer,
): Readonly<Record<'queries' | 'keys' | 'values' | 'outputs', AxisGroup>> => {
  const group = `${at}.heads`
  const unit = (l.heads / l.keyHeads) * l.size
  return {
    queries: { group, unit, inside: 'queries' },
    keys: { group, unit: l.size, inside: 'queries' },
    values: { group, unit: l.size, inside: 'values' },
    outputs: { group, unit, inside: 'values' },
  }
}

/** Weights that make queries, keys and values: three matrices, or one. */
const inwardSpecs = (name: string, at: string, c: LlamaConfig, l: LlamaLayer): WeightSpec[] => {
  const { queries, keys, values } = headAxes(at, l)
  const size = { queries: l.heads * l.size, keys: l.keyHeads * l.size }
  const { qkv } = c.biases
  if (!c.fused)
    return [
      ...linearSpecs(`${name}.q_proj`, [size.queries, c.width], [queries, residual], qkv),
      ...linearSpecs(`${name}.k_proj`, [size.keys, c.width], [keys, residual], qkv),
      ...linearSpecs(`${name}.v_proj`, [size.keys, c.width], [values, residual], qkv),
    ]
  const parts: FusedPart[] = [
    { name: 'q', size: size.queries, ...queries },
    { name: 'k', size: size.keys, ...keys },
    { name: 'v', size: size.keys, ...values },
  ]
  const out = size.queries + 2 * size.keys
  return fusedSpecs(`${name}.qkv_proj`, [out, c.width], [queries, residual], parts, qkv)
}

const headNormSpecs = (name: string, at: string, { headNorms }: LlamaConfig, l: LlamaLayer): WeightSpec[] => {
  if (headNorms === undefined) return []
  const { queries, keys } = headAxes(at, l)
  return headNorms === 'each'
    ? [norm(`${name}.q_norm`, l.size), norm(`${name}.k_norm`, l.size)]
    : [norm(`${name}.q_norm`, l.heads * l.size, queries), norm(`${name}.k_norm`, l.keyHeads * l.size, keys)]
}

const attention = (name: string, at: string, c: LlamaConfig, l: LlamaLayer): WeightSpec[] => {
  const { outputs } = headAxes(at, l)
  return [
    ...inwardSpecs(name, at, c, l),
    ...linearSpecs(`${name}.o_proj`, [c.width, l.heads * l.size], [residual, outputs], c.biases.output),
    ...headNormSpecs(name, at, c, l),
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

/** Gate and up as one matrix. */
const fusedMlp = (name: string, group: string, c: LlamaConfig, { hidden }: LlamaLayer): WeightSpec[] => {
  const units = { group, unit: 1 }
  const parts = ['gate', 'up'].map((part) => ({ name: part, size: hidden }))
  return [
    ...fusedSpecs(`${name}.gate_up_proj`, [2 * hidden, c.width], [units, residual], parts, c.biases.mlp),
    ...linearSpecs(`${name}.down_proj`, [c.width, hidden], [residual, units], c.biases.mlp),
  ]
}

const expertsSpecs = (name: string, at: string, c: LlamaConfig, l: LlamaLayer): WeightSpec[] => {
  const { count, module, parts } = c.experts!
  const each = Array.from({ length: count }, (_, e) => {
    const names = parts.map((part) => `${name}.${module}.experts.${e}.${part}`)
    return mlp(names, `${at}.experts.${e}.hidden`, c, l)
  })
  return [
    ...linearSpecs(`${name}.${module}.gate`, [count, c.width], [undefined, residual], false),
    ...each.flat(),
  ]
}

const feedForward = (name: string, at: string, c: LlamaConfig, l: LlamaLayer): WeightSpec[] => {
  if (l.sparse) return expertsSpecs(name, at, c, l)
  if (c.fused) return fusedMlp(`${name}.mlp`, `${at}.hidden`, c, l)
  const parts = ['gate_proj', 'up_proj', 'down_proj'].map((part) => `${name}.mlp.${part}`)
  return mlp(parts, `${at}.hidden`, c, l)
}

/** The parameters in which Transformers holds what all experts of a layer have, and its router. */
export const fusedExperts = ({ layers, experts }: LlamaConfig): FusedParameter[] =>
  layers.flatMap(({ sparse }, i) => {
    if (!experts || !sparse) return []
    const moe = `model.layers.${i}.${experts.module}`
    const [gate, up, down] = experts.parts
    const each = (...parts: readonly string[]): string[][] =>
      Array.from({ length: experts.count }, (_, e) => parts.map((part) => `${moe}.experts.${e}.${part}`))
    return [
      { name: `model.layers.${i}.mlp.gate.weight`, experts: [[`${moe}.gate`]] },
      { name: `model.layers.${i}.mlp.experts.gate_up_proj`, experts: each(gate, up) },
      { name: `model.layers.${i}.mlp.experts.down_proj`, experts: each(down) },
    ]
  })

/** The norms of a block, by where they stand. */
const blockNorms: Readonly<Record<LlamaConfig['norms'], readonly string[]>> = {
  before: ['input_layernorm', 'post_attention_layernorm'],
  after: ['post_attention_layernorm', 'post_feedforward_layernorm'],
  both: [
    'input_layernorm',
    'post_attention_layernorm',
    'pre_feedforward_layernorm',
    'post_feedforward_layernorm',
  ],
}

/** Every tensor of the model that `c` describes. */
export const llamaTable = (c: LlamaConfig): readonly WeightSpec[] => {
  const embedding = embeddingSpec('model.embed_tokens', c.vocabulary, c.width)
  const centre = c.shifted ? 0 : 1
  const normed = (name: string): WeightSpec => norm(name, c.width, residual, centre)
  const blocks = c.layers.flatMap((layer, i) => {
    const name = `model.layers.${i}`
    const at = `layers.${i}`
    return [
      ...attention(`${name}.self_attn`, at, c, layer).map((spec) =>
        spec.kind === 'norm' ? { ...spec, initial: centre } : spec,
      ),
      ...feedForward(name, at, c, layer),
      ...blockNorms[c.norms].map((n) => normed(`${name}.${n}`)),
    ]
  })
  return [embedding, ...blocks, normed('model.norm'), headSpec(c, embedding.name)]
}

/** The head: of the vocabulary, which may be the embedding table, or of classes. */
const headSpec = (c: LlamaConfig, embedding: string): WeightSpec => {
  const classifies = c.task === 'classify'
  const name = classifies ? 'score' : 'lm_head'
  const rows = classifies ? c.classes : c.vocabulary
  const [head] = linearSpecs(name, [rows, c.width], [undefined, residual], false)
  return c.tied && !classifies ? { ...head, tied: embedding } : head
}
