/** @file The model that a verb uses: a folder or hub id, with an adapter on it where one is given. */
import { loadAdapter } from '../adapt/index.js'
import { adapterNames, type Checkpoint, open, readAdapter, resolveModel } from '../checkpoint/index.js'
import { CheckpointError } from '../errors.js'
import { type Model, openModel } from '../models/index.js'
import { openTokenizer, type Tokenizer } from '../text/index.js'
import type { Context } from './verb.js'

/** What is used, and what it stands on. Close the checkpoint when done. */
export interface Opened {
  model: Model
  checkpoint: Checkpoint
  /** The tokenizer: the adapter's where its folder has one, else the model's. */
  tokenizer: () => Promise<Tokenizer>
}

/** How an adapter is put on its base. */
export interface AdapterOptions {
  /** The adapter's folder. */
  adapter?: string
  /** Also on another base than its own. */
  anyBase?: boolean
  /** Whether an index that is out of step with its shards is refused, and not only said. */
  strict?: boolean
}

/**
 * Opens `folder`. An adapter's folder opens the base that it names, with the adapter on it. Throws CheckpointError for
 * what is no model, and for an adapter that does not fit.
 */
export const openForUse = async (
  folder: string,
  { adapter, anyBase, strict }: AdapterOptions,
  { info }: Pick<Context, 'info'>,
): Promise<Opened> => {
  const itself = adapter === undefined && (await adapterNames(await resolveModel(folder))).includes('default')
  const [base, wanted] = itself ? [await baseOf(folder), folder] : [folder, adapter]
  const checkpoint = await open(base, { strict, onWarning: info })
  try {
    const options = { force: anyBase, onWarning: info }
    const model =
      wanted === undefined
        ? openModel(checkpoint, { onWarning: info })
        : loadAdapter(checkpoint, wanted, options)
    const opened = await model
    const over = wanted === undefined ? undefined : await resolveModel(wanted)
    return { model: opened, checkpoint, tokenizer: () => openTokenizer(checkpoint.folder, over) }
  } catch (error) {
    await checkpoint.close()
    throw error
  }
}

const baseOf = async (folder: string): Promise<string> => {
  const { config, tensors } = await readAdapter(folder)
  await tensors.close()
  const { base_model_name_or_path: base } = config
  if (typeof base === 'string') return base
  throw new CheckpointError('NoBase', `${folder}: an adapter that does not name its base`, {
    hint: 'Give the base model, and this folder with --adapter.',
  })
}
