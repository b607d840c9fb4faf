/**
 * @file The process that computes for the playground. The engine holds its thread while it runs, so the lab's own thread
 * keeps out of it; and a model that exhausts the memory takes this process with it, not the lab.
 */
import { loadAdapter } from '../../adapt/index.js'
import { open } from '../../checkpoint/index.js'
import type { Checkpoint } from '../../checkpoint/index.js'
import { WeftError } from '../../errors.js'
import { openModel } from '../../models/index.js'
import type { Model } from '../../models/index.js'
import { openTokenizer, streamDecoder } from '../../text/index.js'
import type { Tokenizer } from '../../text/index.js'
import { openEmbedder } from '../../catalogue/index.js'
import { generateTokens } from '../../train/index.js'
import type { GenerateEvents } from '../api.js'
import type { Generation } from '../requests.js'
import type { Answer, Order, Place } from './messages.js'
import { statisticsOf } from './statistics.js'

interface Loaded {
  key: string
  checkpoint: Checkpoint
  model: Model
  tokenizer: Tokenizer
}

/** Likeliest tokens beside the one that was taken. */
const alternatives = 5

let loaded: Loaded | undefined
/** Of the one folder that this process is asked to embed with. */
let embedder: ReturnType<typeof openEmbedder> | undefined
let work: Promise<unknown> = Promise.resolve()
const cancelled = new Map<number, AbortController>()

const tell = (answer: Answer): void => void process.send!(answer)

/** The model at `place`, kept open for the next prompt. */
const load = async (place: Place): Promise<Loaded> => {
  const key = JSON.stringify(place)
  if (loaded?.key === key) return loaded
  await loaded?.checkpoint.close()
  loaded = undefined
  const checkpoint = await open(place.model)
  try {
    const model = await (place.adapter === undefined
      ? openModel(checkpoint)
      : loadAdapter(checkpoint, place.adapter))
    const tokenizer = await openTokenizer(checkpoint.folder)
    return (loaded = { key, checkpoint, model, tokenizer })
  } catch (error) {
    await checkpoint.close()
    throw error
  }
}

const generate = async (
  call: number,
  place: Place,
  { prompt, maxTokens, temperature, topP, seed }: Generation,
  signal: AbortSignal,
): Promise<GenerateEvents['done']> => {
  const start = performance.now()
  const { model, tokenizer } = await load(place)
  const ids = tokenizer.encode(prompt)
  const decoder = streamDecoder(tokenizer, { after: ids })
  let tokens = 0
  const spelled = (id: number): string => tokenizer.decode([id], { skipSpecial: false })
  const options = { maxTokens, temperature, topP, seed, alternatives, signal }
  for await (const { id, logProbability, alternatives } of generateTokens(model, ids, options)) {
    tokens++
    const data = {
      id,
      text: decoder.push(id),
      probability: Math.exp(logProbability),
      alternatives: alternatives.map((other) => ({
        id: other.id,
        text: spelled(other.id),
        probability: Math.exp(other.logProbability),
      })),
    }
    tell({ type: 'token', call, data })
    // Between two tokens the messages that have come in are heard: one may cancel this.
    await new Promise((done) => setImmediate(done))
  }
  const seconds = (performance.now() - start) / 1000
  return { tokens, seconds, reason: tokens < maxTokens ? 'stop' : 'length' }
}

const perform = async (order: Exclude<Order, { type: 'cancel' }>, signal: AbortSignal): Promise<void> => {
  const { call } = order
  if (order.type === 'generate') {
    tell({ type: 'done', call, data: await generate(call, order.place, order.request, signal) })
    return
  }
  if (order.type === 'embed') {
    embedder ??= openEmbedder(order.folder)
    tell({ type: 'vectors', call, data: await (await embedder).embed(order.texts) })
    return
  }
  await using checkpoint = await open(order.folder)
  tell({ type: 'tensor', call, data: await statisticsOf(checkpoint, order.name) })
}

const failure = (error: unknown): GenerateEvents['error'] => {
  if (error instanceof WeftError) {
    const [message] = error.message.split('\n  ')
    return { code: error.code, message, hint: error.hint }
  }
  return { code: 'Internal', message: error instanceof Error ? error.message : String(error) }
}

/** Takes orders from the parent process, one at a time, until it goes away. */
const serve = (): void => {
  process.on('message', (order: Order) => {
    if (order.type === 'cancel') return void cancelled.get(order.call)?.abort()
    const stop = new AbortController()
    cancelled.set(order.call, stop)
    work = work
      .then(() => (stop.signal.aborted ? undefined : perform(order, stop.signal)))
      .catch((error: unknown) => tell({ type: 'error', call: order.call, data: failure(error) }))
      .finally(() => cancelled.delete(order.call))
  })
  process.on('disconnect', () => process.exit())
  // Ctrl-C reaches the whole group; the lab says when this process is to end.
  process.on('SIGINT', () => undefined)
}

// Nothing happens when this file is imported otherwise than as a child process.
if (process.send) serve()
