/** @file The files beside the weights that a copy of a model needs: tokenizer, chat template, preprocessing. */
import { copyFile, mkdir, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { pathInside } from './disk.js'

/** Names of the files that make a tokenizer, whichever of them a folder has; chat templates are not among them. */
export const tokenizerFileNames: readonly string[] = [
  'added_tokens.json',
  'merges.txt',
  'sentencepiece.bpe.model',
  'special_tokens_map.json',
  'spiece.model',
  'tokenizer.json',
  'tokenizer.model',
  'tokenizer_config.json',
  'vocab.json',
  'vocab.txt',
]

/** Names of what a tokenizer and its chat templates lie in. */
const ofTokenizer: ReadonlySet<string> = new Set([
  ...tokenizerFileNames,
  'chat_template.jinja',
  'chat_template.json',
])

const companions: ReadonlySet<string> = new Set([
  ...ofTokenizer,
  'generation_config.json',
  'preprocessor_config.json',
  'processor_config.json',
])

/**
 * Lays the tokenizer and chat template of the folder `from`, where it has any, over those in the folder `to`, and returns
 * the names copied. With a tokenizer.json of its own nothing of the tokenizer in `to` is left.
 */
export const overlayTokenizer = async (from: string, to: string): Promise<string[]> => {
  const names = (await readdir(from)).filter((name) => ofTokenizer.has(name))
  if (names.includes('tokenizer.json'))
    for (const name of ofTokenizer) await rm(join(to, name), { force: true })
  return copyCompanions(
    from,
    to,
    [...companions].filter((name) => !names.includes(name)),
  )
}

/**
 * Copies tokenizer, chat template, generation and preprocessing settings from the folder `from` to the folder `to`
 * (made when missing), and returns the names copied. Weights, config.json and README.md are not among them, nor is
 * what `leave` names.
 */
export const copyCompanions = async (
  from: string,
  to: string,
  leave: readonly string[] = [],
): Promise<string[]> => {
  await mkdir(to, { recursive: true })
  const wanted = (name: string): boolean => companions.has(name) && !leave.includes(name)
  const names = (await readdir(from)).filter(wanted).sort()
  for (const name of names) {
    const temporary = join(to, `.${name}.${process.pid}.tmp`)
    try {
      await copyFile(await pathInside(from, name), temporary)
      await rename(temporary, join(to, name))
    } finally {
      await rm(temporary, { force: true })
    }
  }
  return names
}

/** Removes from `folder` what `copyCompanions` copies. */
export const removeCompanions = async (folder: string): Promise<void> => {
  for (const name of await readdir(folder))
    if (companions.has(name)) await rm(join(folder, name), { force: true })
}
