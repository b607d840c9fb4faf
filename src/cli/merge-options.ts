/** @file The options of `weft merge`, and which of them a recipe, a method or a procedure takes. */
import { z } from 'zod'
import type { ZodType } from 'zod'
import { methodNames, type Parameter } from './merge-methods.js'
import { common, flag, onlyWhen } from './options.js'
import type { Choice } from './schema.js'
import type { Schemas } from './training.js'

/** Options of `weft merge`. */
export interface MergeFlags {
  out?: string
  method?: string
  base?: string
  weight?: number[]
  parameters?: Record<string, Parameter>
  data?: string
  evalData?: string
  dtype?: 'float32' | 'float16' | 'bfloat16'
  seed?: number
  maxShardSize?: number
  threads?: number
  analyse: boolean
  dryRun: boolean
  resume: boolean
  force: boolean
  allowCrimes: boolean
  strict: boolean
  copyTokenizer: boolean
  outShardSize?: number
  randomSeed?: number
  trustRemoteCode: boolean
}

const parameterSchema = z.record(z.string(), z.union([z.number(), z.boolean(), z.string()]))

const sizePattern = /^(\d+(?:\.\d+)?)([KMGB]?)$/i

/** mergekit's sizes, in bytes for all that they are said to count parameters: 5B is 5e9. */
const mergekitSize: ZodType<number> = z.preprocess(
  (text) => {
    const [, number, unit = ''] = sizePattern.exec(String(text)) ?? []
    return number === undefined
      ? text
      : Number(number) * { '': 1, K: 1e3, M: 1e6, G: 1e9, B: 1e9 }[unit.toUpperCase()]!
  },
  z.number({ error: 'expected a size such as 5B or 500M' }),
)

const { all, tensor, weighted, based, withData, evaluated } = methodNames

const named: readonly Choice[] = [{ method: all }]
const streamed: readonly Choice[] = [{ method: [undefined, ...tensor] }]

/** Options that say which models are merged, how, and by what data. */
const inputs = {
  method: flag(z.enum(all as [string, ...string[]]).optional(), 'merge the models given, without a recipe', {
    value: 'NAME',
  }),
  base: flag(z.string().optional(), 'base model, with --method', {
    value: 'MODEL',
    when: [{ method: based }],
  }),
  weight: flag(z.array(z.number()).optional(), "each model's weight, with --method (equal)", {
    value: 'W,W,...',
    when: [{ method: weighted }],
  }),
  parameters: flag(parameterSchema.optional(), 'further parameters of the method, with --method', {
    short: 'p',
    value: 'KEY=VALUE',
    when: named,
  }),
  data: flag(z.string().optional(), 'data, for --analyse or a method that looks at data', {
    value: 'FILE',
    names: 'data',
    when: [{ analyse: [true] }, { method: withData }],
  }),
  evalData: flag(z.string().optional(), 'data that such a method scores on', {
    value: 'FILE',
    names: 'data',
    when: [{ method: evaluated }],
  }),
} satisfies Partial<Schemas<MergeFlags>>

/** mergekit's spellings. */
const aliases = {
  outShardSize: flag(mergekitSize.optional(), "mergekit's --max-shard-size: 5B, 500M", {
    value: 'SIZE',
    when: [{ maxShardSize: 'absent' }],
  }),
  randomSeed: flag(common.seed.unwrap().optional(), "mergekit's --seed", {
    value: 'N',
    when: [{ seed: 'absent' }],
  }),
  trustRemoteCode: flag(z.boolean().default(false), 'refused: Weft runs no code from model folders'),
}

/** Schemas of the options of `weft merge`. */
export const mergeOptions: Schemas<MergeFlags> = {
  // Checked by the verb: with a recipe the folder may be an argument.
  out: flag(z.string().min(1).optional(), 'folder to write', { short: 'o', value: 'DIR' }),
  ...inputs,
  dtype: onlyWhen(common.dtype, named),
  seed: flag(common.seed.unwrap().optional(), 'seed of the methods that draw at random (0)', { value: 'N' }),
  maxShardSize: flag(common.maxShardSize.unwrap().optional(), 'largest file of weights (5GB)', {
    value: 'SIZE',
  }),
  threads: common.threads,
  analyse: flag(
    z.boolean().default(false),
    'afterwards, plot for the lab where the result lies among its models; with --data also the loss between them',
    { when: streamed },
  ),
  dryRun: flag(z.boolean().default(false), 'explain what would happen to every tensor, and stop'),
  resume: onlyWhen(common.resume, streamed),
  force: common.force,
  allowCrimes: flag(
    z.boolean().default(false),
    'merge what fits by name and shape, whatever the architectures',
    { when: streamed },
  ),
  strict: common.strict,
  copyTokenizer: flag(z.boolean().default(true), 'do not copy tokenizer and generation settings'),
  ...aliases,
}
