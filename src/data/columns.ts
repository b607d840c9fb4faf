/** @file Columns by other names than those that a task reads. */
import { CheckpointError, nearest } from '../errors.js'
import { isObject } from './files.js'
import { malformed, type ReadRow, type Row } from './row.js'

/** Fields of a task by the columns that hold them: { review: 'text' }. */
export type ColumnMap = Readonly<Record<string, string>>

const list = (names: readonly string[]): string => (names.length > 0 ? names.slice(0, 12).join(', ') : 'none')

/** The error for a column that is not there: it names the nearest of those that are. */
export const noColumn = (where: string, column: string, row: Row): CheckpointError => {
  const there = Object.keys(row)
  const [near] = nearest(column, there, 1)
  return new CheckpointError('NoSuchColumn', `${where}: there is no column "${column}"`, {
    hint: near === undefined ? 'It has no columns.' : `Nearest: ${near}. It has: ${list(there)}.`,
  })
}

/**
 * `read` for rows whose columns have other names: a column that `map` names becomes the field that it holds, and takes the
 * place of a column of that name. The first row must have all of them: throws CheckpointError `NoSuchColumn` that names
 * the nearest.
 */
export const mappedRows = <R>(map: ColumnMap, read: ReadRow<R>): ReadRow<R> => {
  const renamed = Object.entries(map)
  if (renamed.length === 0) return read
  let checked = false
  return (row, where) => {
    if (!isObject(row)) return read(row, where)
    for (const [column] of renamed)
      if (!checked && !Object.hasOwn(row, column)) throw noColumn(where, column, row)
    checked = true
    const fields = renamed.map(([column, field]) => [field, row[column]])
    const rest = Object.entries(row).filter(([column]) => !Object.hasOwn(map, column))
    return read(Object.fromEntries([...rest, ...fields]), where)
  }
}

/** The columns that hold these fields. */
export const columnsOf = (map: ColumnMap, fields: readonly string[]): Set<string> =>
  new Set([...fields, ...Object.keys(map)])

/** A column's value. Throws CheckpointError where the row has none, naming the nearest. */
export const valueOfColumn = (row: unknown, column: string, where: string): unknown => {
  if (!isObject(row)) throw malformed(where, 'expected an object of columns')
  const value = row[column]
  if (value !== undefined && value !== null) return value
  if (Object.hasOwn(row, column)) throw malformed(where, `the column "${column}" is empty`)
  const { message } = noColumn(where, column, row)
  throw malformed(where, message.slice(where.length + 2))
}
