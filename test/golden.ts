/** @file Where the reference outputs of Transformers, PEFT and tokenizers are: the repository's copy, or WEFT_GOLDEN. */
import { fileURLToPath } from 'node:url'
import { join } from 'node:path'

/** The path of `parts` inside the folder of reference outputs. */
export const goldenFolder = (...parts: string[]): string =>
  join(process.env.WEFT_GOLDEN ?? fileURLToPath(new URL('./golden', import.meta.url)), ...parts)
