/** @file Ranks and scales that differ by module: PEFT's rank_pattern and alpha_pattern. */
import { z } from 'zod'
import { pythonPattern } from '../../text/python-pattern.js'

/** Options that give some modules another rank or scale, for a method's schema. */
export const patterns = {
  rankPattern: z
    .record(z.string(), z.number().int().positive())
    .default({})
    .describe('other ranks: module=rank'),
  alphaPattern: z
    .record(z.string(), z.number())
    .default({})
    .describe('other alphas: module=alpha; 0 switches a module off'),
} satisfies Record<string, z.ZodType>

/**
 * The value of the first pattern (an expression of Python's) that matches the end of the name, from a dot on. Throws
 * UsageError `BadPattern` for what is no expression.
 */
export const byPattern = (patterns: Readonly<Record<string, number>>, name: string): number | undefined =>
  Object.entries(patterns).find(([pattern]) => pythonPattern(`(.*\\.)?(${pattern})$`, 'start')(name))?.[1]
