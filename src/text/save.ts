/** @file The files of a tokenizer's folder, as Transformers reads them. */
import type { BytePairJson } from './bpe.js'

/** Special tokens by their roles. */
export interface SpecialTokens {
  bos?: string
  eos?: string
  pad?: string
  unk?: string
}

/** Content of the files beside tokenizer.json. */
export interface TokenizerFileOptions extends SpecialTokens {
  /** A Jinja chat template; see `simpleChatTemplate`. */
  chatTemplate?: string
  /** The longest sequence that the model takes, in tokens. Default: no limit is written. */
  maxLength?: number
}

/**
 * A chat template for small models: `<|role|>`, a line break, the content, eos, a line break. Its openings are plain
 * text unless they are made special tokens.
 */
export const simpleChatTemplate: string =
  "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + eos_token + '\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"

const roles = (tokens: SpecialTokens): Record<string, string> =>
  Object.fromEntries(
    (['bos', 'eos', 'pad', 'unk'] as const).flatMap((role) => {
      const token = tokens[role]
      return token === undefined ? [] : [[`${role}_token`, token]]
    }),
  )

/** File names to their texts: tokenizer.json, tokenizer_config.json, special_tokens_map.json. */
export const tokenizerFiles = (
  json: BytePairJson,
  options: TokenizerFileOptions = {},
): Record<string, string> => {
  const special = roles(options)
  const config = {
    ...special,
    added_tokens_decoder: Object.fromEntries(json.added_tokens.map(({ id, ...token }) => [id, token])),
    clean_up_tokenization_spaces: false,
    tokenizer_class: 'PreTrainedTokenizerFast',
    ...(options.maxLength === undefined ? {} : { model_max_length: options.maxLength }),
    ...(options.chatTemplate === undefined ? {} : { chat_template: options.chatTemplate }),
  }
  const text = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`
  return {
    'tokenizer.json': text(json),
    'tokenizer_config.json': text(config),
    'special_tokens_map.json': text(special),
  }
}

/** Writes the files of a tokenizer into `folder` (Node; made where missing), each whole or not at all. */
export const saveTokenizer = async (
  folder: string,
  json: BytePairJson,
  options: TokenizerFileOptions = {},
): Promise<void> => {
  const { mkdir, rename, rm, writeFile } = await import('node:fs/promises')
  await mkdir(folder, { recursive: true })
  for (const [name, text] of Object.entries(tokenizerFiles(json, options))) {
    const temporary = `${folder}/.${name}.partial`
    try {
      await writeFile(temporary, text, { flush: true })
      await rename(temporary, `${folder}/${name}`)
    } finally {
      await rm(temporary, { force: true })
    }
  }
}
