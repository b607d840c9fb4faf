/** @file One stream of greedy decoding, and reading a prompt of 512 tokens, beside node-llama-cpp on the same weights. */
import { mkdtemp, rm } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from '../src/checkpoint/index.js'
import { createModel, decoder, openModel } from '../src/models/index.js'
import { saveGguf } from '../src/models/llama-gguf.js'
import { Stream } from '../src/random/index.js'
import { generateTokens } from '../src/train/index.js'
import { llamaOn } from './_llama.js'
import { threads } from './_peers.js'
import { median, row } from './row.js'
import type { Row } from './row.js'

const vocabulary = 49_152

/** 135 M parameters. */
const config = {
  model_type: 'llama',
  num_hidden_layers: 30,
  hidden_size: 576,
  intermediate_size: 1536,
  num_attention_heads: 9,
  num_key_value_heads: 3,
  vocab_size: vocabulary,
  max_position_embeddings: 2048,
  rms_norm_eps: 1e-5,
  tie_word_embeddings: true,
}

const rounds = 3
const promptTokens = 16
const newTokens = 32
const longPrompt = 512

const draw = (count: number): number[] => {
  const stream = new Stream('bench/generate')
  return Array.from({ length: count }, () => stream.int(vocabulary))
}

/** A way of decoding: each call gives the milliseconds of every token but the first, or of reading a prompt. */
interface Racer {
  readonly tokens: () => Promise<readonly number[]>
  readonly decode: () => Promise<number[]>
  readonly prompt: () => Promise<number>
}

/** The first `count` tokens, and the times between them. */
const paced = async (
  tokens: AsyncIterable<number>,
  count: number,
): Promise<{ ids: number[]; times: number[] }> => {
  const ids: number[] = []
  const times: number[] = []
  let last = performance.now()
  for await (const id of tokens) {
    const now = performance.now()
    if (ids.length) times.push(now - last)
    last = now
    ids.push(id)
    if (ids.length === count) break
  }
  return { ids, times }
}

const timed = async (work: () => Promise<unknown>): Promise<number> => {
  const start = performance.now()
  await work()
  return performance.now() - start
}

const weft = async (folder: string): Promise<Racer> => {
  const model = await openModel(await open(folder))
  const sequence = decoder(model, { capacity: longPrompt })
  async function* ids(): AsyncGenerator<number> {
    const options = { maxTokens: newTokens, eos: [] }
    for await (const { id } of generateTokens(model, draw(promptTokens), options)) yield id
  }
  return {
    tokens: async () => (await paced(ids(), newTokens)).ids,
    decode: async () => (await paced(ids(), newTokens)).times,
    prompt: () => timed(() => sequence.prefill([draw(longPrompt)])),
  }
}

const peer = async (file: string): Promise<Racer | undefined> => {
  const sequence = await llamaOn(file, 2 * longPrompt)
  if (!sequence) return undefined
  const ids = async (): Promise<{ ids: number[]; times: number[] }> => {
    await sequence.clearHistory()
    return paced(sequence.evaluate(draw(promptTokens), { temperature: 0, yieldEogToken: true }), newTokens)
  }
  return {
    tokens: async () => (await ids()).ids,
    decode: async () => (await ids()).times,
    async prompt() {
      await sequence.clearHistory()
      return timed(() => sequence.evaluateWithoutGeneratingNewTokens(draw(longPrompt)))
    },
  }
}

/** Throws where the two do not begin alike: a near tie may part them later. */
const checkSame = (ours: readonly number[], theirs: readonly number[]): void => {
  const same = ours.findIndex((id, i) => id !== theirs[i])
  console.log(`the first ${same < 0 ? ours.length : same} tokens are the same`)
  if (same >= 0 && same < 4)
    throw new Error(`node-llama-cpp computes something else: ${theirs.slice(0, 8)} for ${ours.slice(0, 8)}`)
}

const race = async (folder: string): Promise<Row[]> => {
  const model = await createModel(config)
  await model.save(folder)
  // Ids are all that is compared, but llama.cpp asks for texts.
  const tokens = Array.from({ length: vocabulary }, (_, id) => `token-${id}`)
  await saveGguf(model, join(folder, 'model.gguf'), { tokens, merges: ['t o'] })
  const theirs = await peer(join(folder, 'model.gguf'))
  if (!theirs) return []
  const ours = await weft(folder)
  checkSame(await ours.tokens(), await theirs.tokens())
  const racers = [ours, theirs]
  const decoding: number[][] = [[], []]
  const reading: number[][] = [[], []]
  await Promise.all([ours.prompt(), theirs.prompt()])
  for (let round = 0; round < rounds; round++)
    for (const [i, racer] of racers.entries()) {
      decoding[i].push(median(await racer.decode()))
      reading[i].push(await racer.prompt())
    }
  const of = (name: string, times: readonly number[][]): Row =>
    row(
      `${name} (threads: ${threads}, ${cpus()[0].model})`,
      median(times[0]),
      'node-llama-cpp',
      median(times[1]),
      'ms',
    )
  return [of('a token of one stream, 135 M float32', decoding), of('a prompt of 512 tokens', reading)]
}

/** Less is better in both rows; speed is the inverse of the ratio. */
export const bench = async (): Promise<Row[]> => {
  process.env.WEFT_THREADS = threads
  const folder = await mkdtemp(join(tmpdir(), 'weft-bench-'))
  try {
    return await race(folder)
  } finally {
    await rm(folder, { recursive: true })
  }
}
