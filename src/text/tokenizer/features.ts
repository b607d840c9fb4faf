/**
 * @file What a tokenizer.json and the files beside it can ask for, and what becomes of it. What is not in this table is
 * refused by name; a test compares it with the code, and each line that is done with ids of the reference.
 */

/**
 * What becomes of a feature: it is `done` (as huggingface/tokenizers 0.23 or Transformers 5.18 do it), `refused` by
 * name, or `without effect` on ids and text there too.
 */
export type Treatment = 'done' | 'refused' | 'without effect'

/** A line of the table. */
export interface Feature {
  /** Where it is asked for: a part of tokenizer.json, or a file beside it. */
  readonly part: string
  /** Its `type`, or its key where it has none. */
  readonly name: string
  /** The keys it may have; every other is refused. */
  readonly keys?: readonly string[]
  readonly treatment: Treatment
  readonly note?: string
}

const of = (part: string, treatment: Treatment, entries: Readonly<Record<string, string>>): Feature[] =>
  Object.entries(entries).map(([name, text]) => {
    const [keys, note] = text.split(';').map((side) => side.trim())
    return { part, name, treatment, keys: keys === '' ? [] : keys.split(' '), ...(note && { note }) }
  })

const notes = (part: string, treatment: Treatment, entries: Readonly<Record<string, string>>): Feature[] =>
  Object.entries(entries).map(([name, note]) => ({ part, name, treatment, ...(note && { note }) }))

const offsets = 'trim_offsets add_prefix_space'
const metaspace = 'replacement prepend_scheme split add_prefix_space str_rep'

/** The table. `pattern` is a text, or a regular expression of Oniguruma's, which the library oniguruma-to-es translates. */
export const features: readonly Feature[] = [
  ...of('normalizer', 'done', {
    NFC: '',
    NFD: '',
    NFKC: '',
    NFKD: '',
    Nmt: '',
    Lowercase: '; character by character',
    StripAccents: '',
    ByteLevel: '',
    Strip: 'strip_left strip_right',
    Prepend: 'prepend',
    Replace: 'pattern content',
    BertNormalizer: 'clean_text handle_chinese_chars strip_accents lowercase',
    Precompiled: "precompiled_charsmap; SentencePiece's own map, not an approximation of it",
    Sequence: 'normalizers',
  }),
  ...of('pre_tokenizer', 'done', {
    BertPreTokenizer: '',
    Whitespace: '',
    WhitespaceSplit: '',
    ByteLevel: `${offsets} use_regex; offsets are not given`,
    Metaspace: metaspace,
    Split: 'pattern behavior invert',
    Punctuation: 'behavior',
    Digits: 'individual_digits',
    CharDelimiterSplit: 'delimiter',
    FixedLength: 'length',
    Sequence: 'pretokenizers',
  }),
  ...notes('pre_tokenizer', 'refused', {
    UnicodeScripts: 'its table of scripts is of an older Unicode than any JavaScript has',
  }),
  ...of('model', 'done', {
    BPE: 'vocab merges dropout unk_token continuing_subword_prefix end_of_word_suffix fuse_unk byte_fallback ignore_merges',
    WordPiece: 'vocab unk_token continuing_subword_prefix max_input_chars_per_word',
    WordLevel: 'vocab unk_token',
    Unigram: 'vocab unk_id byte_fallback',
  }),
  ...notes('model', 'refused', { dropout: 'of BPE, unless it is 0: merges left out by chance' }),
  ...of('post_processor', 'done', {
    TemplateProcessing: 'single pair special_tokens; of one sequence',
    BertProcessing: 'sep cls',
    RobertaProcessing: `sep cls ${offsets}`,
    ByteLevel: `${offsets} use_regex; offsets are not given`,
    Sequence: 'processors',
  }),
  ...notes('post_processor', 'refused', {
    'Sequence of several that add tokens': 'the reference nests them, which no model asks for',
  }),
  ...of('decoder', 'done', {
    ByteLevel: `${offsets} use_regex`,
    ByteFallback: '',
    Fuse: '',
    WordPiece: 'prefix cleanup',
    Metaspace: metaspace,
    BPEDecoder: 'suffix',
    CTC: 'pad_token word_delimiter_token cleanup',
    Replace: 'pattern content',
    Strip: 'content start stop',
    Sequence: 'decoders',
  }),
  ...notes('added_tokens', 'done', {
    single_word: '',
    lstrip: '',
    rstrip: '',
    normalized: '',
    special: '',
  }),
  ...notes('added_tokens', 'without effect', {
    id: 'a token has its id in the vocabulary, or the next one',
  }),
  ...notes('tokenizer.json', 'without effect', {
    truncation: 'Transformers cuts when it is asked to; here the batch does',
    padding: 'its pad_token is the default of that role',
  }),
  ...notes('tokenizer_config.json', 'done', {
    added_tokens_decoder: '',
    additional_special_tokens: '',
    extra_special_tokens: '',
    '*_token': 'roles: bos, eos, unk, sep, pad, cls, mask and those of a model, known to the chat template',
    add_prefix_space:
      'where tokenizer_class is a class of its own; refused where the file has no place for it',
    do_lower_case: 'of a BertNormalizer, where tokenizer_class is a class of its own',
    strip_accents: 'as do_lower_case',
    tokenize_chinese_chars: 'as do_lower_case',
    clean_up_tokenization_spaces: 'not of byte-pair models',
    split_special_tokens: '',
    chat_template: 'one, or several by name',
  }),
  ...notes('tokenizer_config.json', 'without effect', {
    add_bos_token: 'beside a tokenizer.json, whose post-processor says so',
    add_eos_token: 'as add_bos_token',
    legacy: 'tokenizer.json has the parts that came of it',
    model_max_length: "the model's own limit holds",
    padding_side: 'rows are padded at the right, and masked',
  }),
  ...notes('special_tokens_map.json', 'done', {
    '*_token': 'where tokenizer_config.json declares no added tokens; it wins then',
  }),
  ...notes('added_tokens.json', 'done', {
    '*': 'where tokenizer_config.json declares no added tokens',
  }),
]
