/** @file What `run.json` must say to be a run: whoever reads one may rely on these types. */
import { z } from 'zod'
import type { ZodType } from 'zod'
import { type Json, type Machine, type RunProcess, type RunRecord, runStatuses } from './run.js'

/** What is read of a `run.json`: it has its id from its folder, and older versions did not say the machine. */
export type ReadRecord = Omit<RunRecord, 'id' | 'machine'> & Partial<Pick<RunRecord, 'machine'>>

/** A time, in UTC as all of ours are: they are compared as text. */
export const time: ZodType<string> = z.iso
  .datetime({ offset: true })
  .transform((text) => new Date(text).toISOString())

const json = z.unknown() as unknown as ZodType<Json>

const machine: ZodType<Machine> = z.object({
  platform: z.string(),
  arch: z.string(),
  processor: z.string(),
  cores: z.number(),
  memory: z.number(),
})

/** A process, as a record names it. */
export const recordedProcess: ZodType<RunProcess> = z.object({
  host: z.string(),
  pid: z.number(),
  born: z.string().optional(),
})

export const runRecord: ZodType<ReadRecord> = z.object({
  command: z.string(),
  subject: z.string().optional(),
  argv: z.array(z.string()).default([]),
  config: z.record(z.string(), json),
  seed: z.number().optional(),
  versions: z.record(z.string(), z.string()).default({}),
  machine: machine.optional(),
  process: recordedProcess,
  commit: z.string().optional(),
  started: time,
  ended: time.optional(),
  status: z.enum(runStatuses),
  result: json.optional(),
  error: z.object({ code: z.string(), message: z.string() }).optional(),
})
