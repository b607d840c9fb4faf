/** @file Options of the verbs that use a model: the adapter on it, where it computes, how tokens are drawn. */
import { z } from 'zod'
import { common, flag } from './options.js'

const count = z.number().int().positive()

const adapter = flag(z.string().optional(), 'folder of an adapter to put on the model', { value: 'DIR' })

const anyBase = flag(z.boolean().default(false), 'put the adapter also on another base than its own', {
  when: [{ adapter: 'given' }],
})

/** The options that say which adapter stands on the model. */
export const adapterFlags = { adapter, anyBase, strict: common.strict } as const

/** The options that say where a model computes. */
export const machineFlags = { device: common.device, threads: common.threads } as const

const temperature = flag(
  z.number().nonnegative().optional(),
  '0: always the likeliest token (0, or 1 with --top-k or --top-p)',
  { short: 't' },
)

const drawing = [{ temperature: { not: [0] } }]

/** The options that say how the tokens of an answer are drawn. */
export const drawingFlags = {
  temperature,
  topK: flag(count.optional(), 'draw from the k likeliest tokens', { when: drawing }),
  topP: flag(z.number().gt(0).max(1).optional(), 'draw from the likeliest that have this share', {
    when: drawing,
  }),
  seed: common.seed,
} as const

/** How tokens are drawn: what `drawingFlags` say. */
export interface Drawing {
  /** 0: always the likeliest token. Default 0, or 1 where a limit of draws is given. */
  readonly temperature?: number
  /** Number of likeliest tokens that are drawn from. Default all. */
  readonly topK?: number
  /** Share of probability of the likeliest tokens that are drawn from, in (0, 1]. Default 1. */
  readonly topP?: number
  readonly seed: number
}

/** The drawing that `options` ask for, its temperature settled. */
export const drawingOf = ({ temperature, topK, topP, seed }: Drawing): Drawing & { temperature: number } => ({
  temperature: temperature ?? (topK === undefined && topP === undefined ? 0 : 1),
  topK,
  topP,
  seed,
})
