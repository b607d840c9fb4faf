/** @file A metric over seeds, and what can be said about two of them. */

/** Result of a comparison. */
export interface Finding {
  readonly holds: boolean
  /** Mean over seeds of what was measured: a ratio or a value. */
  readonly mean: number
  /** Standard deviation over seeds; 0 for one seed. */
  readonly spread: number
  /** Unit of `mean`: `times lora`, or nothing for the value itself. */
  readonly unit: string
  /** Measurements, one a seed, in the order of the seeds. */
  readonly values?: readonly number[]
}

/** Arithmetic mean. */
export const mean = (values: readonly number[]): number =>
  values.reduce((sum, v) => sum + v, 0) / values.length

/** Sample standard deviation (n - 1); 0 for fewer than two values. */
export const spread = (values: readonly number[]): number => {
  if (values.length < 2) return 0
  const m = mean(values)
  return Math.sqrt(values.reduce((sum, v) => sum + (v - m) ** 2, 0) / (values.length - 1))
}

/**
 * One metric of one arm, one value a seed. Comparisons pair the seeds: the same seed gave both arms the same data. A
 * difference counts only when its mean exceeds its standard error, so noise does not hold a claim up.
 */
export class Sample {
  readonly mean: number
  readonly spread: number

  constructor(
    readonly arm: string,
    readonly values: readonly number[],
  ) {
    this.mean = mean(values)
    this.spread = spread(values)
  }

  /** The sample with `amount` added to every value: a bound that is not a fraction, as three points of accuracy. */
  plus(amount: number): Sample {
    return new Sample(
      this.arm,
      this.values.map((v) => v + amount),
    )
  }

  /** Lower than `other` by at least the fraction `by` of it (default 0). */
  below(other: Sample | number, by = 0): Finding {
    return this.compare(other, (here, there) => there - by * Math.abs(there) - here, true)
  }

  /** Higher than `other` by at least the fraction `by` of it (default 0). */
  above(other: Sample | number, by = 0): Finding {
    return this.compare(other, (here, there) => here - there - by * Math.abs(there), true)
  }

  /** Finding that it is at most the fraction `by` above `other`: as good, where lower is better. */
  notAbove(other: Sample | number, by: number): Finding {
    return this.compare(other, (here, there) => there + by * Math.abs(there) - here, false)
  }

  /** Finding that it is at most the fraction `by` below `other`: as good, where higher is better. */
  notBelow(other: Sample | number, by: number): Finding {
    return this.compare(other, (here, there) => here - there + by * Math.abs(there), false)
  }

  /** No further from `other` than the fraction `by` of it. */
  within(other: Sample | number, by: number): Finding {
    return this.compare(other, (here, there) => by * Math.abs(there) - Math.abs(here - there), false)
  }

  /** `slack` is positive where one seed bears the claim out. */
  private compare(
    other: Sample | number,
    slack: (here: number, there: number) => number,
    significant: boolean,
  ): Finding {
    const pairs = this.values.map((here, i) => [here, typeof other === 'number' ? other : other.values[i]])
    const slacks = pairs.map(([here, there]) => slack(here, there))
    const needed = significant ? spread(slacks) / Math.sqrt(slacks.length) : 0
    const holds = significant ? mean(slacks) > needed : mean(slacks) >= 0
    if (typeof other === 'number' || other.values.some((v) => v === 0))
      return { holds, mean: this.mean, spread: this.spread, unit: '', values: this.values }
    const ratios = pairs.map(([here, there]) => here / there)
    return { holds, mean: mean(ratios), spread: spread(ratios), unit: `times ${other.arm}`, values: ratios }
  }
}
