/**
 * @file The keys of config.json that change nothing a model computes, by the reason why. Whatever an architecture neither
 * reads nor finds here nor declares itself is refused: passed over, it would change the outputs in silence.
 */

/** Keys that config.json may hold beyond those that an architecture reads. */
export interface UnreadKeys {
  /** Keys that change no output, whatever their value. */
  readonly harmless?: readonly string[]
  /** Keys that Weft has one way of computing for, and the values that say so. */
  readonly fixed?: Readonly<Record<string, readonly unknown[]>>
  /** Other names of keys that the architecture reads, and the names by which it does. */
  readonly aliases?: Readonly<Record<string, string>>
  /** Values of keys that are left out. */
  readonly defaults?: Readonly<Record<string, unknown>>
}

/** Who wrote the file and how it is to be loaded. A key that begins with an underscore is private to Transformers. */
const bookkeeping = [
  'architectures',
  'model_type',
  'name_or_path',
  'transformers_version',
  'dtype',
  'torch_dtype',
  'auto_map',
  'tokenizer_class',
  'processor_class',
  'attn_implementation',
  'experts_implementation',
  'transformers.js_config',
  'unsloth_fixed',
  'unsloth_version',
  'is_llama_config',
  'model_max_length',
  'max_sequence_length',
  'sentence_transformers',
  'sbert_ce_default_activation_function',
  'predict_special_tokens',
  'output_past',
  'language',
  'license',
  'tags',
  'weft',
]

/** What classes are called, and which loss belongs to them. */
const labels = [
  'id2label',
  'label2id',
  'num_labels',
  'problem_type',
  'finetuning_task',
  'task_specific_params',
]

/** Numbers of special tokens: the tokenizer and generation read them. */
const tokens = [
  'bos_token_id',
  'eos_token_id',
  'pad_token_id',
  'unk_token_id',
  'sep_token_id',
  'cls_token_id',
  'mask_token_id',
  'decoder_start_token_id',
  'forced_bos_token_id',
  'forced_eos_token_id',
  'begin_suppress_tokens',
  'suppress_tokens',
  'bad_words_ids',
]

/** How text is drawn from the logits: Transformers moves these to generation_config.json. */
const generation = [
  'max_length',
  'min_length',
  'max_new_tokens',
  'do_sample',
  'early_stopping',
  'num_beams',
  'num_beam_groups',
  'diversity_penalty',
  'temperature',
  'top_k',
  'top_p',
  'min_p',
  'typical_p',
  'repetition_penalty',
  'encoder_no_repeat_ngram_size',
  'length_penalty',
  'no_repeat_ngram_size',
  'num_return_sequences',
  'exponential_decay_length_penalty',
  'remove_invalid_values',
  'return_dict_in_generate',
  'output_scores',
  'prefix',
  'use_cache',
  'cache_implementation',
]

/** How new weights are drawn, and what matters in training alone. */
const training = [
  'initializer_range',
  'initializer_factor',
  'gradient_checkpointing',
  'layerdrop',
  'output_router_logits',
  'router_aux_loss_coef',
  'router_jitter_noise',
]

/** What Transformers gives back beside the logits, and by which of several equal ways it computes. */
const returned = [
  'return_dict',
  'use_return_dict',
  'output_attentions',
  'output_hidden_states',
  'keys_to_ignore_at_inference',
  'torchscript',
  'use_bfloat16',
  'chunk_size_feed_forward',
  'pretraining_tp',
]

/** Harmless in every architecture. */
export const harmlessKeys: ReadonlySet<string> = new Set([
  ...bookkeeping,
  ...labels,
  ...tokens,
  ...generation,
  ...training,
  ...returned,
])

/** In every architecture, the values at which keys of Transformers' base class change nothing. */
export const fixedKeys: NonNullable<UnreadKeys['fixed']> = {
  pruned_heads: [{}],
  is_decoder: [false],
  is_encoder_decoder: [false],
  add_cross_attention: [false],
  tie_encoder_decoder: [false],
  rope_interleaved: [false],
  use_mrope: [false],
  partial_rotary_factor: [1],
}
