/** @file Claims and measurements in words. */
import type { Claim } from './card.js'
import type { ClaimResult } from './result.js'
import type { Verdict } from './reproduction.js'

/** How a verdict reads. */
export const verdictWords: Record<Verdict, string> = {
  holds: 'holds',
  fails: 'does not hold',
  'not-shown': 'not shown at this scale',
}

/** Four significant digits, thousands apart, without an exponent where there is no need. */
export const number = (value: number): string => {
  const size = Math.abs(value)
  if (size !== 0 && (size < 1e-4 || size >= 1e9)) return value.toPrecision(3)
  const digits = Math.abs(value) >= 1e4 ? Math.round(value) : Number(value.toPrecision(4))
  return digits.toLocaleString('en-US', { maximumFractionDigits: 20 })
}

const units: Record<string, (value: string) => string> = {
  times: (value) => `${value}x`,
  percent: (value) => `${value} %`,
}

/** Words for what a card's claim reports: `8x trainable parameters against LoRA`; undefined where it has no number. */
export const inWords = ({ value, unit = '', baseline }: Claim): string | undefined => {
  if (value === undefined) return undefined
  const amount = units[unit]?.(number(value)) ?? `${number(value)} ${unit}`.trim()
  return baseline ? `${amount} against ${baseline}` : amount
}

/** Words for what was measured: `0.94 ± 0.01 times lora`; undefined where nothing was. */
export const measuredWords = ({ mean, spread, unit = '' }: ClaimResult): string | undefined => {
  if (mean === undefined) return undefined
  const around = spread === undefined || spread === 0 ? '' : ` ± ${Number(spread.toPrecision(2))}`
  return `${number(mean)}${around} ${unit}`.trim()
}
