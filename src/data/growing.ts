/** @file Numbers that become more, in typed memory. */

/** Numbers in an array that doubles when full: 8 bytes each. */
export const growing = (): { push(x: number): void; array(): Float64Array } => {
  let numbers = new Float64Array(1024)
  let length = 0
  return {
    push(x) {
      if (length === numbers.length) {
        const larger = new Float64Array(2 * length)
        larger.set(numbers)
        numbers = larger
      }
      numbers[length++] = x
    },
    array: () => numbers.slice(0, length),
  }
}
