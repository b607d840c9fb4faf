/**
 * @file The seam of Weft. A model asks for its weights by name; whoever answers decides what a weight is. A method never
 * edits a model, and a model never knows a method.
 */
import {
  type ConvOptions,
  conv2d,
  dropout,
  embedding,
  type EmbeddingOptions,
  RandomStreams,
  type Tensor,
} from '../tensor/index.js'
import { nearest, WeftError } from '../errors.js'
import type { Positions } from './positions.js'

/** Query, key and value heads as they enter attention, after rotary. q: [batch, heads, time, size], k, v: [batch, keyHeads, keys, size]. */
export interface AttentionParts {
  readonly q: Tensor
  readonly k: Tensor
  readonly v: Tensor
  /** Added to the scores: broadcastable to [batch, heads, time, keys]. */
  readonly bias?: Tensor
  readonly at: Positions
}

/** The model's own attention; an answer may call it with other parts, or read its probabilities. */
export type AttentionCore = (parts: AttentionParts) => {
  readonly output: Tensor
  readonly probabilities: Tensor
}

/** Answers to what a model asks of its weights. Names are the checkpoint's. */
export interface Weights {
  /** The parameter `name` in its Hugging Face layout. */
  tensor(name: string): Tensor
  /** Whether the checkpoint has the parameter `name` (optional biases). */
  has(name: string): boolean
  /** x Wᵀ + b of the linear module `name`. x: [..., in] -> [..., out]. */
  linear(name: string, x: Tensor): Tensor
  /** Rows `ids` of the table `name`, of which padding's may learn nothing. ids: [...] -> [..., width]. */
  embedding(name: string, ids: Tensor, options?: EmbeddingOptions): Tensor
  /** The convolution module `name`, bias included. x: [batch, in, height, width]. */
  conv(name: string, x: Tensor, options: ConvOptions): Tensor
  /** Attention of the module `name`, after rotary -> [batch, heads, time, size]. A method may add keys, quantize them, or take the probabilities. */
  attend(name: string, parts: AttentionParts, core: AttentionCore): Tensor
  /** Runs the module `name` (blocks and norms included) on x: [batch, time, width]; a method may stand before, after or around its body, or run it on some of the tokens. */
  module(name: string, x: Tensor, at: Positions, body: (x: Tensor, at: Positions) => Tensor): Tensor
  /** Whether the model trains: dropout drops, and batch norms go by their batch. */
  readonly training: boolean
  /** Dropout of x: [...] with probability `p` where the model has it; nothing in evaluation. */
  dropout(x: Tensor, p: number): Tensor
  /** Value [...] that the graph gives back under `name`: batch statistics, expert loads, auxiliary losses, calibration moments. */
  report(name: string, value: Tensor): void
  /** The same weights seen from inside the module `prefix`. */
  in(prefix: string): Weights
}

/** Questions that an answer replaces. Names are full; everything it leaves out falls through to what it stands on. */
export type Answer = Partial<Omit<Weights, 'in'>>

/** How one module's weight is stored: `[out, in]` (the default) or GPT-2's transposed `[in, out]`. */
export type Layout = 'out-in' | 'in-out'

/** Options of `plainWeights`. */
export interface PlainOptions {
  /** Modules whose weight is stored `[in, out]`. */
  readonly layouts?: (module: string) => Layout
  /** Source of dropout's bytes; absent in evaluation. */
  readonly random?: RandomStreams
  /** Receives the reports. */
  readonly reports?: Map<string, Tensor>
}

/** Weights that answer with the tensors of a checkpoint. `lookup` gives undefined for a name that it lacks. Asking for a tensor throws WeftError where there is none. */
export const plainWeights = (
  lookup: (name: string) => Tensor | undefined,
  known: () => Iterable<string>,
  { layouts = () => 'out-in', random, reports }: PlainOptions = {},
): Weights => {
  const self: Weights = {
    tensor(name) {
      const entry = lookup(name)
      if (entry) return entry
      throw new WeftError('NoSuchTensor', `no tensor is called '${name}'`, {
        hint: `Nearest: ${nearest(name, known()).join(', ')}.`,
      })
    },
    has: (name) => lookup(name) !== undefined,
    ...derived(() => self, layouts),
    attend: (_, parts, core) => core(parts).output,
    module: (_, x, at, body) => body(x, at),
    training: random !== undefined,
    dropout: (x, p) => dropout(x, p, random),
    report: (name, value) => void reports?.set(name, value),
    in: (prefix) => within(self, prefix),
  }
  return self
}

/** `linear`, `embedding` and `conv` in terms of `tensor`: an answer that changes `tensor` alone changes them all. */
const derived = (
  self: () => Weights,
  layouts: (module: string) => Layout,
): Pick<Weights, 'linear' | 'embedding' | 'conv'> => ({
  linear(name, x) {
    const w = self().tensor(`${name}.weight`)
    const y = x.matmul(layouts(name) === 'in-out' ? w : w.t())
    return self().has(`${name}.bias`) ? y.add(self().tensor(`${name}.bias`)) : y
  },
  embedding: (name, ids, options) => embedding(self().tensor(`${name}.weight`), ids, options),
  conv(name, x, options) {
    const bias = self().has(`${name}.bias`) ? self().tensor(`${name}.bias`) : undefined
    return conv2d(x, self().tensor(`${name}.weight`), { ...options, bias })
  },
})

/**
 * `answer` standing on `base`. Where it gives `tensor` but not `linear`, `embedding` or `conv`, these follow from its
 * tensors. `layouts` as for the base's modules.
 */
export const answering = (
  base: Weights,
  answer: Answer,
  layouts: (module: string) => Layout = () => 'out-in',
): Weights => {
  const self: Weights = {
    ...base,
    ...(answer.tensor ? derived(() => self, layouts) : {}),
    ...answer,
    in: (prefix) => within(self, prefix),
  }
  return self
}

/** `weights` with every name prefixed. */
const within = (weights: Weights, prefix: string): Weights => {
  const full = (name: string): string => (name === '' ? prefix : `${prefix}.${name}`)
  return {
    tensor: (name) => weights.tensor(full(name)),
    has: (name) => weights.has(full(name)),
    linear: (name, x) => weights.linear(full(name), x),
    embedding: (name, ids, options) => weights.embedding(full(name), ids, options),
    conv: (name, x, options) => weights.conv(full(name), x, options),
    attend: (name, parts, core) => weights.attend(full(name), parts, core),
    module: (name, x, at, body) => weights.module(full(name), x, at, body),
    training: weights.training,
    dropout: (x, p) => weights.dropout(x, p),
    report: (name, value) => weights.report(full(name), value),
    in: (inner) => within(weights, full(inner)),
  }
}
