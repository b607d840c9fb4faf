/**
 * @file Reductions of lists of any length. Math.max(...list) and list.push(...more) give each element to the call as an
 * argument, and fail from about a hundred thousand on.
 */

/** Greatest of `numbers`: [n] and of `least`, which is the result for none. Default -Infinity. NaN where there is one. */
export const maxOf = (numbers: Iterable<number>, least = -Infinity): number => {
  let greatest = least
  for (const x of numbers) greatest = Math.max(greatest, x)
  return greatest
}

/** Least of `numbers`: [n] and of `greatest`, which is the result for none. Default Infinity. NaN where there is one. */
export const minOf = (numbers: Iterable<number>, greatest = Infinity): number => {
  let least = greatest
  for (const x of numbers) least = Math.min(least, x)
  return least
}

/**
 * Euclidean norm of `numbers`: [n], in units of the greatest magnitude, so that no square overflows, and with a compensated
 * sum: what Math.hypot gives for a few.
 */
export const normOf = (numbers: ArrayLike<number>): number => {
  let unit = 0
  for (let i = 0; i < numbers.length; i++) unit = Math.max(unit, Math.abs(numbers[i]))
  if (unit === 0 || !(unit < Infinity)) return unit
  let squares = 0
  let excess = 0
  for (let i = 0; i < numbers.length; i++) {
    const part = numbers[i] / unit
    const square = part * part - excess
    const sum = squares + square
    excess = sum - squares - square
    squares = sum
  }
  return Math.sqrt(squares) * unit
}

/** Puts `items` at the end of `list`, in order. */
export const append = <T>(list: T[], items: Iterable<T>): void => {
  for (const item of items) list.push(item)
}

/** The middle number, or the mean of the middle two; NaN of none. numbers: [n]. */
export const medianOf = (numbers: ArrayLike<number>): number => {
  const sorted = Float64Array.from(numbers).sort()
  return (sorted[Math.floor((sorted.length - 1) / 2)] + sorted[Math.ceil((sorted.length - 1) / 2)]) / 2
}
