/** @file Methods made equal in size: the options with which a method trains as many numbers as a budget allows. */
import { UsageError } from '../../errors.js'
import type { Model } from '../../models/index.js'
import type { AdapterMethod } from './spec.js'

/** A method's options at a budget. */
export interface Sized {
  /** Option that was chosen and its value; empty for a method whose size is what it is. */
  readonly options: Readonly<Record<string, number>>
  /** Number of numbers that train with it. */
  readonly parameters: number
}

/** The count, or nothing where the options do not fit the base: a rank above a matrix. */
const tried = async (
  method: AdapterMethod<never>,
  base: Model,
  options: Readonly<Record<string, unknown>>,
): Promise<number | undefined> => {
  try {
    return await method.count(base, options as never)
  } catch (error) {
    if (error instanceof UsageError) return undefined
    throw error
  }
}

/** Halvings of the interval of shares: finer than any matrix tells apart. */
const halvings = 24

/**
 * The largest size of `method` on `base` that trains at most `budget` numbers: by its rank, width or share, beside the
 * `options`. A method without such an option stays as it is, above or below the budget. Throws UsageError when even
 * its smallest size is above.
 */
export const sizedFor = async (
  method: AdapterMethod<never>,
  base: Model,
  budget: number,
  options: Readonly<Record<string, unknown>> = {},
): Promise<Sized> => {
  const { size } = method
  if (!size) return { options: {}, parameters: await method.count(base, options as never) }
  const { option } = size
  const count = (value: number): Promise<number | undefined> =>
    tried(method, base, { ...options, [option]: value })
  const fits: Fits = async (value) => ((await count(value)) ?? Infinity) <= budget
  const best = await (size.kind === 'count' ? largestCount(fits, size.values) : largestShare(fits))
  if (best === undefined) {
    const least = size.kind === 'count' ? (size.values?.[0] ?? 1) : 2 ** -halvings
    // Where the smallest does not fit the base at all, this throws why.
    const smallest = await method.count(base, { ...options, [option]: least } as never)
    throw new UsageError(
      'BudgetTooSmall',
      `${method.paper.id}: its smallest (${option} ${least}) trains ${smallest} numbers; the budget is ${budget}`,
    )
  }
  return { options: { [option]: best }, parameters: (await count(best))! }
}

type Fits = (value: number) => Promise<boolean>

const largestCount = async (fits: Fits, values?: readonly number[]): Promise<number | undefined> => {
  let best: number | undefined
  for (const value of values ?? []) if (await fits(value)) best = value
  if (values || !(await fits(1))) return best
  let low = 1
  let high = 2
  while (await fits(high)) {
    low = high
    high *= 2
  }
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2)
    if (await fits(middle)) low = middle
    else high = middle
  }
  return low
}

const largestShare = async (fits: Fits): Promise<number | undefined> => {
  if (await fits(1)) return 1
  let low = 0
  let high = 1
  for (let i = 0; i < halvings; i++) {
    const middle = (low + high) / 2
    if (await fits(middle)) low = middle
    else high = middle
  }
  return low > 0 ? low : undefined
}
