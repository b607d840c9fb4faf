/** @file What the lab accepts, as schemas. The types they give are those of api.ts. */
import { z } from 'zod'
import type { ZodType } from 'zod'
import { runStatuses } from '../runs/index.js'
import type {
  GenerateRequest,
  JobRequest,
  PapersQuery,
  RunsQuery,
  SubscribeRequest,
  VoteRequest,
} from './api.js'

const whole = (least: number, most: number): z.ZodCoercedNumber =>
  z.coerce.number().int().min(least).max(most)
const text = (most: number): z.ZodString => z.string().max(most)
const id: z.ZodString = text(400).min(1)

/** Which part of a list. */
const part = { limit: whole(1, 200).default(50), offset: whole(0, 1e9).default(0) }

export const paperStates = ['planned', 'unmeasured', 'works', 'short', 'baseline', 'listed'] as const
export const topics = ['papers', 'runs', 'claims'] as const

type Paged<T> = T & { limit: number; offset: number }

export const papersQuery: ZodType<Paged<PapersQuery>> = z.object({
  q: text(400).optional(),
  family: text(80).optional(),
  state: z.enum(paperStates).optional(),
  sort: z.enum(['new', 'trending']).optional(),
  ...part,
})

export const voteRequest: ZodType<VoteRequest> = z.strictObject({ vote: z.boolean() })

export const runsQuery: ZodType<Paged<RunsQuery>> = z.object({
  q: text(400).optional(),
  status: z.enum(runStatuses).optional(),
  paper: text(200).optional(),
  ...part,
})

/** How many points of each series, and of which ones. */
export interface MetricsQuery {
  names?: string
  points: number
}

export const metricsQuery: ZodType<MetricsQuery> = z.object({
  names: text(20_000).optional(),
  points: whole(2, 5000).default(500),
})

export const compareQuery: ZodType<{ runs: string; points: number }> = z.object({
  runs: text(4000),
  points: whole(2, 5000).default(500),
})

export const logQuery: ZodType<{ from: number; limit: number }> = z.object({
  from: whole(-1e12, 1e12).default(0),
  limit: whole(1, 1 << 20).default(1 << 16),
})

export const eventsQuery: ZodType<{ from: number }> = z.object({ from: whole(0, 1e15).default(0) })

export const jobRequest: ZodType<JobRequest> = z.strictObject({
  paper: text(200).min(1),
  quick: z.boolean().optional(),
  seeds: z.number().int().min(1).max(100).optional(),
})

export const tensorsQuery: ZodType<{ checkpoint: string }> = z.object({ checkpoint: id })
export const tensorQuery: ZodType<{ checkpoint: string; name: string }> = z.object({
  checkpoint: id,
  name: id,
})

/** A request with its defaults. */
export type Generation = GenerateRequest &
  Required<Pick<GenerateRequest, 'maxTokens' | 'temperature' | 'topP' | 'seed'>>

export const generateRequest: ZodType<Generation> = z.strictObject({
  checkpoint: id,
  adapter: id.optional(),
  prompt: text(32_000),
  maxTokens: z.number().int().min(1).max(1024).default(64),
  temperature: z.number().min(0).max(10).default(0.8),
  topP: z.number().gt(0).max(1).default(0.95),
  seed: z.number().int().nonnegative().default(0),
})

export const subscribeRequest: ZodType<SubscribeRequest> = z.strictObject({
  email: z.email().max(254),
  topics: z.array(z.enum(topics)).min(1).max(3).optional(),
})

export const nothing: ZodType<Record<string, never>> = z.strictObject({})

/** What clients of the Hugging Face endpoint ask with. */
export interface DailyQuery {
  date?: string
  week?: string
  month?: string
  sort: 'publishedAt' | 'trending'
  limit: number
  p: number
  q?: string
}

export const dailyQuery: ZodType<DailyQuery> = z.object({
  date: z.iso.date().optional(),
  week: z
    .string()
    .regex(/^\d{4}-W(0[1-9]|[1-4]\d|5[0-3])$/, 'expected YYYY-Www')
    .optional(),
  month: z
    .string()
    .regex(/^\d{4}-(0[1-9]|1[0-2])$/, 'expected YYYY-MM')
    .optional(),
  sort: z.enum(['publishedAt', 'trending']).default('publishedAt'),
  limit: whole(1, 100).default(50),
  p: whole(0, 1e6).default(0),
  q: text(400).optional(),
})
