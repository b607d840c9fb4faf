/** @file The option of LoRA and AdaLoRA that single tokens train, and its key in PEFT's adapter_config.json. */
import { z } from 'zod'
import type { Json, JsonObject } from '../../checkpoint/index.js'
import { type PeftPlace, says } from './peft-table.js'
import { embeddingAndTied } from './token-rows.js'

/** Options of a method that may train single tokens. */
export interface TokenOptions {
  /** Single tokens that train, by the ends of the names of embeddings: their rows stand in the base's place. */
  readonly trainableTokens: Readonly<Record<string, readonly number[]>>
}

/** The schema of `TokenOptions`. */
export const tokenOptions = {
  trainableTokens: z
    .record(z.string(), z.array(z.number().int().nonnegative()))
    .default({})
    .describe('single tokens to train: embedding=token'),
}

/** Key `trainable_token_indices`: a list is of the model's own embedding. */
export const tokenKey = {
  option: 'trainableTokens',
  write: (tokens: TokenOptions['trainableTokens']): Json =>
    says(tokens as JsonObject)
      ? Object.fromEntries(Object.entries(tokens).map(([name, indices]) => [name, [...indices]]))
      : null,
  read(
    json: Exclude<Json, null>,
    _: JsonObject,
    { base }: PeftPlace,
  ): TokenOptions['trainableTokens'] | undefined {
    if (!says(json)) return undefined
    return Array.isArray(json)
      ? { [embeddingAndTied(base).embedding]: json as number[] }
      : (json as Record<string, number[]>)
  },
} as const
