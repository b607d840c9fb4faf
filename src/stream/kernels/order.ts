/** @file Order of short rows by magnitude: a radix sort of the numbers' bits, eight at a time. */

const digits = 4
const bins = 256

/** Makes each bin the number of keys before its own; false where all keys are in one. */
const accumulate = (counts: Uint32Array, length: number): boolean => {
  let before = 0
  for (let bin = 0; bin < counts.length; bin++) {
    const count = counts[bin]
    if (count === length) return false
    counts[bin] = before
    before += count
  }
  return true
}

/**
 * A function that orders rows of `width` numbers by their magnitude: it gives their indices from the least on, of equal
 * ones the first, in memory that its next call uses again. row: [width] -> [width].
 */
export const orderByMagnitude = (width: number): ((row: Float32Array) => Uint32Array) => {
  const keys = new Uint32Array(width)
  const counts = new Uint32Array(digits * bins)
  const rooms = [new Uint32Array(width), new Uint32Array(width)]
  const count = (row: Float32Array): void => {
    const words = new Uint32Array(row.buffer, row.byteOffset, width)
    counts.fill(0)
    for (let i = 0; i < width; i++) {
      const key = words[i] & 0x7fffffff
      keys[i] = key
      counts[key & 255]++
      counts[bins + ((key >>> 8) & 255)]++
      counts[2 * bins + ((key >>> 16) & 255)]++
      counts[3 * bins + (key >>> 24)]++
    }
  }
  return (row) => {
    count(row)
    let [from, to] = rooms
    for (let i = 0; i < width; i++) from[i] = i
    for (let digit = 0; digit < digits; digit++) {
      const places = counts.subarray(digit * bins, (digit + 1) * bins)
      if (!accumulate(places, width)) continue
      const shift = 8 * digit
      for (let i = 0; i < width; i++) {
        const index = from[i]
        to[places[(keys[index] >>> shift) & 255]++] = index
      }
      ;[from, to] = [to, from]
    }
    return from
  }
}
