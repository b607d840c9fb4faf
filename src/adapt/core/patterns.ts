/** @file Ranks and scales that differ by module: PEFT's rank_pattern and alpha_pattern. */
import { z } from 'zod'
import { fullMatch } from '../../models/sites.js'

/** The schema of both, for a method's options. */
export const patterns: { readonly rankPattern: z.ZodType; readonly alphaPattern: z.ZodType } = {
  rankPattern: z
    .record(z.string(), z.number().int().positive())
    .default({})
    .describe('other ranks: module=rank'),
  alphaPattern: z
    .record(z.string(), z.number().positive())
    .default({})
    .describe('other alphas: module=alpha'),
}

/** The value of the first pattern that matches the end of the name. */
export const byPattern = (patterns: Readonly<Record<string, number>>, name: string): number | undefined =>
  Object.entries(patterns).find(([pattern]) => fullMatch(`(?:.*\\.)?(?:${pattern})`)(name))?.[1]
