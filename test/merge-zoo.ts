/** @file The tiny models on which every merge is tried, fine-tunings of one base with data to score them on; and procedures called on them. */
import { join } from 'node:path'
import { type Checkpoint, CheckpointWriter, type JsonObject, open } from '../src/checkpoint/index.js'
import { whole } from '../src/experiment/batches.js'
import type { Procedure, ProcedureContext, ProcedureExample } from '../src/merge/core/procedure.js'
import { keyOf, normal } from '../src/random/index.js'
import { gaussianMixture } from '../src/synth/index.js'
import { saveTokenizer, trainBytePairs } from '../src/text/index.js'
import type { Data } from '../src/train/index.js'
import { sentences, tinyConfig, writeRandom } from './tiny.js'

type Kind = NonNullable<ProcedureExample['models']>

/** Architecture and data of each kind of models. */
const kinds: Readonly<Record<Kind, { readonly config: JsonObject; readonly data: Data }>> = {
  classifiers: {
    config: { model_type: 'weft_mlp', sizes: [8, 16, 16, 4], hidden_act: 'relu' },
    data: whole(gaussianMixture({ classes: 4, width: 8, seed: 'contract' }).sample(64, { seed: 'held' })),
  },
  decoders: {
    config: tinyConfig(300, { num_hidden_layers: 1 }) as JsonObject,
    data: sentences.slice(0, 4).map((text) => ({ prompt: text.slice(0, 7), completion: text.slice(7) })),
  },
}

/** The fine-tunings of each base. */
export const members = ['a', 'b', 'c'] as const

/** The model in `from`, each number moved by noise and rounded to bfloat16, in `to`; with one that is none, `broken`. */
const writeNear = async (from: string, to: string, seed: string, broken = false): Promise<void> => {
  await using start = await open(from)
  const infos = start.names().map((name) => start.info(name))
  const plans = infos.map(({ name, shape }) => ({ name, shape, dtype: 'BF16' as const }))
  await using writer = await CheckpointWriter.create(to, plans)
  for (const [t, { name }] of infos.entries()) {
    const numbers = (await start.read(name, 'float32')).data as Float32Array
    const noise = new Float32Array(numbers.length)
    normal(noise, keyOf(`${seed} ${name}`))
    const moved = numbers.map((x, i) => x + (seed ? 0.05 : 0) * noise[i])
    if (broken && t === infos.length - 1) moved[1] = NaN
    const words = Uint16Array.from(new Uint32Array(moved.buffer), (word) => word >>> 16)
    await writer.write(name, new Uint8Array(words.buffer))
  }
  await writer.finish({ 'config.json': start.config })
}

/** Writes under `folder`, for each kind, a base, its members and `broken`, which holds NaN. */
export const writeZoo = async (folder: string): Promise<void> => {
  const json = trainBytePairs(sentences, { vocabularySize: 300, specialTokens: ['<s>', '</s>'] })
  for (const [kind, { config }] of Object.entries(kinds)) {
    const at = (name: string): string => join(folder, kind, name)
    await writeRandom(at('random'), config, 'contract')
    await writeNear(at('random'), at('base'), '')
    for (const name of members) await writeNear(at('base'), at(name), name)
    await writeNear(at('base'), at('broken'), 'broken', true)
    if (kind === 'decoders')
      for (const name of ['base', 'broken', ...members])
        await saveTokenizer(at(name), json, { bos: '<s>', eos: '</s>', pad: '</s>' })
  }
}

/** As many members as something takes. */
export const membersFor = ({
  counts: [least, most],
}: {
  readonly counts: readonly [number, number]
}): string[] => members.slice(0, Math.min(most, Math.max(least, members.length)))

/** The kind of models that a procedure is tried on. */
export const kindOf = ({ example }: Pick<Procedure<never>, 'example'>): Kind =>
  example?.models ?? 'classifiers'

/** Data of a kind of models. */
export const dataOf = (kind: Kind): Data => kinds[kind].data

/** Calls `procedure` on `models` of the zoo in `folder`, with whatever it takes, and saves to `out`. */
export const saveMerged = async (
  procedure: Procedure<Record<string, unknown>>,
  folder: string,
  out: string,
  models: readonly string[] = membersFor(procedure),
  more: ProcedureContext & Record<string, unknown> = {},
): Promise<void> => {
  const kind = kindOf(procedure)
  const opened: Checkpoint[] = []
  const opening = async (name: string): Promise<Checkpoint> => {
    const checkpoint = await open(join(folder, kind, name))
    opened.push(checkpoint)
    return checkpoint
  }
  try {
    const inputs: Checkpoint[] = []
    for (const name of models) inputs.push(await opening(name))
    const result = await procedure(inputs, {
      ...procedure.example?.options,
      ...(procedure.base === 'none' ? {} : { base: await opening('base') }),
      ...(procedure.data === 'none' ? {} : { data: dataOf(kind) }),
      seed: 3,
      ...more,
    })
    await result.save(out)
  } finally {
    await Promise.all(opened.map((checkpoint) => checkpoint.close()))
  }
}
