import { maxOf } from '../tensor/numbers.js'
/** @file Text laid out for a terminal's width. */

/** Lines of at most `width` characters, broken between words; a word that is longer is cut. */
export const wrap = (text: string, width: number): string[] => {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(/\s+/).filter(Boolean)) {
    if (line && line.length + 1 + word.length > width) {
      lines.push(line)
      line = ''
    }
    line = line ? `${line} ${word}` : word
    for (; line.length > width; line = line.slice(width)) lines.push(line.slice(0, width))
  }
  return line || lines.length === 0 ? [...lines, line] : lines
}

/** `text` in at most `width` characters, its end replaced by an ellipsis. */
export const clip = (text: string, width: number): string =>
  text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1)).trimEnd()}…`

/** Widths of columns that fit `total`: columns above their fair share give way to the others. */
const fit = (natural: readonly number[], total: number): number[] => {
  const widths = [...natural]
  const room = Math.max(total - 2 * (widths.length - 1), 4 * widths.length)
  for (let over = sum(widths) - room; over > 0; over--) widths[widths.indexOf(maxOf(widths))]--
  return widths
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, n) => total + n, 0)

/** Rows as columns within `width` characters; what does not fit a column goes on in the lines below. */
export const wrappedTable = (
  head: readonly string[],
  rows: readonly (readonly string[])[],
  width: number,
): string => {
  const widths = fit(
    head.map((title, i) =>
      maxOf(
        rows.map((row) => row[i].length),
        title.length,
      ),
    ),
    width,
  )
  const lines = (cells: readonly string[]): string[] => {
    const wrappedCells = cells.map((cell, i) => wrap(cell, widths[i]))
    const height = maxOf(wrappedCells.map((cell) => cell.length))
    return Array.from({ length: height }, (_, line) =>
      wrappedCells
        .map((cell, i) => (cell[line] ?? '').padEnd(widths[i]))
        .join('  ')
        .trimEnd(),
    )
  }
  return [...lines(head), widths.map((n) => '-'.repeat(n)).join('  '), ...rows.flatMap(lines)].join('\n')
}

/** The width to lay text out for: the terminal's, at most 100; 80 where there is none. */
export const widthOf = ({ columns }: { columns?: number }): number => Math.min(columns ?? 80, 100)
