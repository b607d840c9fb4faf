/** @file Tiny models of every task, with their tokenizers, made anew for tests. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { encode } from 'fast-png'
import { saveTokenizer, trainBytePairs } from '../src/text/index.js'
import { tinyConfig, writeRandom } from './tiny.js'

/** What people write of things, and whether they like them. */
export const reviews: readonly { readonly text: string; readonly label: 'good' | 'bad' }[] = [
  ...['fine film', 'lovely film', 'fine play', 'lovely song', 'fine song', 'lovely play'],
  ...['dull film', 'awful film', 'dull play', 'awful song', 'dull song', 'awful play'],
].map((text) => ({ text: `a ${text}`, label: /fine|lovely/.test(text) ? 'good' : 'bad' }))

const specialTokens = ['<s>', '</s>', '<pad>', '<mask>']

/** Writes a tokenizer that puts `<s>` and `</s>` around texts where `around` is. */
export const writeTokenizer = async (folder: string, around: boolean): Promise<void> => {
  const json = trainBytePairs(
    reviews.map(({ text }) => text),
    { vocabularySize: 300, specialTokens },
  )
  const special = (id: string): object => ({ SpecialToken: { id, type_id: 0 } })
  const text = { Sequence: { id: 'A', type_id: 0 } }
  const ids = Object.fromEntries(specialTokens.map((id, i) => [id, { id, ids: [i], tokens: [id] }]))
  const post_processor = {
    type: 'TemplateProcessing',
    single: [special('<s>'), text, special('</s>')],
    pair: [special('<s>'), text, { Sequence: { id: 'B', type_id: 0 } }, special('</s>')],
    special_tokens: ids,
  }
  const roles = { bos: '<s>', eos: '</s>', pad: '<pad>' }
  await saveTokenizer(folder, (around ? { ...json, post_processor } : json) as typeof json, roles)
  await writeFile(
    join(folder, 'tokenizer_config.json'),
    JSON.stringify({ bos_token: '<s>', eos_token: '</s>', pad_token: '<pad>', mask_token: '<mask>' }),
  )
}

const encoder = {
  ...{ hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 48 },
  ...{ hidden_act: 'gelu', hidden_dropout_prob: 0, attention_probs_dropout_prob: 0 },
}

/** Writes an encoder of text with the head of `architecture`, and its tokenizer. */
export const writeTinyBert = async (
  folder: string,
  architecture: `${'Bert' | 'Roberta'}For${'SequenceClassification' | 'MaskedLM' | 'TokenClassification' | 'QuestionAnswering'}`,
  changes: Record<string, unknown> = {},
): Promise<void> => {
  const model_type = architecture.startsWith('Roberta') ? 'roberta' : 'bert'
  const sizes = { vocab_size: 300, max_position_embeddings: 67, type_vocab_size: 2, pad_token_id: 2 }
  await writeRandom(folder, {
    ...{ architectures: [architecture], model_type, ...encoder, ...sizes, ...changes },
  })
  await writeTokenizer(folder, true)
}

/** Writes a classifier of images of 8 x 8 pixels, with its preprocessing. */
export const writeTinyVit = async (folder: string, changes: Record<string, unknown> = {}): Promise<void> => {
  const sizes = { image_size: 8, patch_size: 4, num_channels: 3 }
  await writeRandom(folder, {
    ...{ architectures: ['ViTForImageClassification'], model_type: 'vit', ...encoder, ...sizes, ...changes },
  })
  const size = { height: 8, width: 8 }
  await writeFile(join(folder, 'preprocessor_config.json'), JSON.stringify({ do_resize: true, size }))
}

/** Writes a sequence-to-sequence model, and its tokenizer. */
export const writeTinyT5 = async (folder: string): Promise<void> => {
  await writeRandom(folder, {
    ...{ architectures: ['T5ForConditionalGeneration'], model_type: 't5', vocab_size: 300 },
    ...{ d_model: 32, d_kv: 8, d_ff: 48, num_layers: 1, num_decoder_layers: 1, num_heads: 4 },
    ...{ relative_attention_num_buckets: 8, relative_attention_max_distance: 16, dropout_rate: 0 },
    ...{ feed_forward_proj: 'gated-gelu', tie_word_embeddings: false, is_encoder_decoder: true },
    ...{ pad_token_id: 2, eos_token_id: 1, decoder_start_token_id: 2 },
  })
  await writeTokenizer(folder, true)
}

/** Writes a model of images of 8 x 8 pixels and texts, with its tokenizer and preprocessing. */
export const writeTinyClip = async (folder: string): Promise<void> => {
  const tower = {
    ...{ hidden_size: 32, intermediate_size: 48, num_attention_heads: 4, num_hidden_layers: 1 },
    hidden_act: 'quick_gelu',
  }
  await writeRandom(folder, {
    ...{
      architectures: ['CLIPModel'],
      model_type: 'clip',
      projection_dim: 16,
      logit_scale_init_value: 2.6592,
    },
    text_config: { ...tower, vocab_size: 300, max_position_embeddings: 32, eos_token_id: 1, pad_token_id: 2 },
    vision_config: { ...tower, image_size: 8, patch_size: 4, num_channels: 3 },
  })
  await writeTokenizer(folder, true)
  const size = { height: 8, width: 8 }
  await writeFile(join(folder, 'preprocessor_config.json'), JSON.stringify({ do_resize: true, size }))
}

/** Writes a language model over the same tokenizer. */
export const writeTinyCausal = async (folder: string): Promise<void> => {
  await writeRandom(folder, tinyConfig(300))
  await writeTokenizer(folder, false)
}

/** PNG of 10 x 9 pixels of one colour, with a little noise by `seed`. */
export const pngOf = (red: number, green: number, blue: number, seed = 0): Uint8Array => {
  const data = new Uint8Array(10 * 9 * 3)
  const colour = [red, green, blue]
  for (let i = 0; i < data.length; i++) data[i] = Math.max(0, colour[i % 3] - ((i * 31 + seed * 17) % 20))
  return encode({ width: 10, height: 9, data, channels: 3 })
}
