import { maxOf } from '../tensor/numbers.js'
/** @file Columns of text. */

/** Rows as aligned lines; columns whose cells are all numbers or amounts stand to the right. `head` is underlined. */
export const table = (head: readonly string[], rows: readonly (readonly string[])[]): string => {
  const widths = head.map((title, i) =>
    maxOf(
      rows.map((row) => row[i].length),
      title.length,
    ),
  )
  const right = head.map(
    (_, i) => rows.length > 0 && rows.every((row) => /^[\d.,-]/.test(row[i]) || row[i] === ''),
  )
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => (right[i] ? cell.padStart(widths[i]) : cell.padEnd(widths[i])))
      .join('  ')
      .trimEnd()
  return [line(head), widths.map((width) => '-'.repeat(width)).join('  '), ...rows.map(line)].join('\n')
}

/** 1234567 -> 1,234,567 */
export const grouped = (n: number): string => String(n).replace(/\B(?=(\d{3})+$)/g, ',')
