/** @file Many samples at once, from a model or from a model guided by itself without the prompt (classifier-free guidance). */
import { decoder, type Model } from '../models/index.js'
import type { Stream } from '../random/index.js'
import type { Tensor, Value } from '../tensor/index.js'
import { sample } from '../train/sample.js'

/** Classifier-free guidance. */
export interface Guidance {
  /** γ: 1 is the model itself, 0 the model under `negative`. */
  readonly scale: number
  /** The tokens that stand in the prompt's place: of an empty prompt, or of what is not wanted. */
  readonly negative: readonly number[]
}

/** Options of `sampler`. */
export interface SamplerOptions {
  /** How many samples are drawn at once. */
  readonly batch: number
  /** The most tokens of a prompt. */
  readonly prompt: number
  /** New tokens of a sample. */
  readonly tokens: number
  /** Divides the logits. Default 1. */
  readonly temperature?: number
  /** Guidance while sampling. Default: none. */
  readonly guidance?: Guidance
  /** Tokens that end a sample and are its last. Default none: all samples are of one length. */
  readonly ends?: ReadonlySet<number>
}

/** Samples, one a prompt, without their prompts. */
export type Sampler = (
  prompts: readonly (readonly number[])[],
  stream: Stream,
) => Promise<{
  readonly samples: number[][]
  /** Passes of the model over a token, on average over the tokens drawn in one row. */
  readonly forwards: number
}>

/** l₋ + γ (l - l₋). conditional, negative: [..., vocabulary] -> the same. */
export const guidedLogits = (conditional: Tensor, negative: Tensor, scale: number): Tensor =>
  scale === 1 ? conditional : scale === 0 ? negative : negative.add(conditional.sub(negative).mul(scale))

/**
 * A sampler of `model`, with keys and values kept. What its parameters are is looked up at each call, so that it can go
 * with a model in training. Throws UsageError for a model that does not generate.
 */
export const sampler = (model: Model, options: SamplerOptions): Sampler => {
  const { batch, prompt, tokens, temperature = 1, guidance, ends = new Set() } = options
  const sequence = decoder(model, { batch, capacity: prompt + tokens })
  const guided = guidance !== undefined && guidance.scale !== 1
  const other = guided ? decoder(model, { batch, capacity: guidance.negative.length + tokens }) : undefined
  const mixed = async (conditional: Value, without: Value | undefined): Promise<Float32Array> => {
    const logits = (await conditional.read()) as Float32Array
    if (!without) return logits
    const negative = (await without.read()) as Float32Array
    return logits.map((l, i) => negative[i] + guidance!.scale * (l - negative[i]))
  }
  return async (prompts, stream) => {
    const samples: number[][] = prompts.map(() => [])
    const over = prompts.map(() => false)
    let logits = await mixed(
      await sequence.prefill(prompts),
      await other?.prefill(prompts.map(() => guidance!.negative)),
    )
    for (let t = 0; ; t++) {
      const width = logits.length / batch
      const next = samples.map((row, r) => {
        // Drawn for finished rows too, so that no row's draws depend on another's end.
        const id = sample(logits.subarray(r * width, (r + 1) * width), { temperature }, stream)
        if (!over[r]) row.push(id)
        over[r] ||= ends.has(id)
        return id
      })
      if (t + 1 === tokens || over.every(Boolean)) return { samples, forwards: other ? 2 : 1 }
      logits = await mixed(await sequence.step(next), await other?.step(next))
    }
  }
}
