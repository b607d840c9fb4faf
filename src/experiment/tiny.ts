/** @file Small models that experiments begin with. */
import type { JsonObject } from '../checkpoint/index.js'

/** How large a small Llama is. */
export interface TinyLlamaSize {
  /** Tokens of its vocabulary. */
  readonly tokens: number
  /** Width of the residual stream; the feed-forward parts are twice as wide. */
  readonly width: number
  readonly layers: number
  /** Positions at most. */
  readonly length: number
  /** Attention heads, each with keys of its own. Default 4. */
  readonly heads?: number
}

/** Configuration of a small Llama whose weights begin with a standard deviation of 0.1, for `createModel`. */
export const tinyLlama = ({ tokens, width, layers, length, heads = 4 }: TinyLlamaSize): JsonObject => ({
  model_type: 'llama',
  vocab_size: tokens,
  hidden_size: width,
  intermediate_size: 2 * width,
  num_hidden_layers: layers,
  num_attention_heads: heads,
  num_key_value_heads: heads,
  head_dim: width / heads,
  hidden_act: 'silu',
  max_position_embeddings: length,
  rms_norm_eps: 1e-6,
  rope_theta: 10000,
  tie_word_embeddings: false,
  initializer_range: 0.1,
})
