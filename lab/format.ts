/** @file Numbers, times and sizes as people read them. */

/** Four significant digits, thousands apart. */
export const number = (x: number): string => {
  const size = Math.abs(x)
  if (size !== 0 && (size < 1e-4 || size >= 1e9)) return x.toExponential(2)
  return Number(x.toPrecision(4)).toLocaleString('en-US', { maximumFractionDigits: 6 })
}

export const count = (n: number, noun: string): string =>
  `${n.toLocaleString('en-US')} ${noun}${n === 1 ? '' : 's'}`

/** `2024-10-01` or a time -> `1 October 2024`. */
export const day = (date: string): string =>
  new Date(date.length === 10 ? `${date}T00:00:00Z` : date).toLocaleDateString('en-GB', {
    day: 'numeric',
    month: 'long',
    year: 'numeric',
    timeZone: date.length === 10 ? 'UTC' : undefined,
  })

/** `1 Oct, 14:03`. */
export const moment = (time: string): string =>
  new Date(time).toLocaleString('en-GB', {
    day: 'numeric',
    month: 'short',
    hour: '2-digit',
    minute: '2-digit',
  })

/** `1 h 4 min`, `12.3 s`. */
export const duration = (seconds: number): string => {
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`
  const minutes = Math.round(seconds / 60)
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

export const between = (from: string, to: string | null): string =>
  duration((new Date(to ?? Date.now()).getTime() - new Date(from).getTime()) / 1000)

export const bytes = (n: number): string => {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let i = 0
  for (; n >= 1000 && i < units.length - 1; i++) n /= 1000
  return `${i === 0 ? n : n.toPrecision(3)} ${units[i]}`
}
