/** @file Linear assignment: which column goes to which row at the least total cost. */
import { checkFinite, type Matrix, matrix, transpose } from './matrix.js'

/** Options of `linearAssignment`. */
export interface AssignmentOptions {
  /** Maximise the total instead. Default false. */
  readonly maximize?: boolean
}

/** A column for each row, or a row for each column where there are fewer. */
export interface Assignment {
  /** [rows]: the column of each row, -1 for the rows that are left over when there are more rows than columns. */
  readonly columns: Int32Array
  /** The sum of the chosen entries. */
  readonly total: number
}

const none = -1

/** A partial assignment with dual prices: cost[i, j] - u[i] - v[j] >= 0 everywhere, and 0 on assigned pairs. */
class Search {
  readonly columnOf: Int32Array
  readonly rowOf: Int32Array
  readonly #cost: Float64Array
  readonly #cols: number
  readonly #u: Float64Array
  readonly #v: Float64Array
  /** Length of the shortest path found so far to each column, and the row it comes from. */
  readonly #distance: Float64Array
  readonly #from: Int32Array
  /** Columns not yet reached, in slots [0, #open). Beyond, those reached. */
  readonly #pending: Int32Array

  constructor({ rows, cols, data }: Matrix) {
    this.#cost = data
    this.#cols = cols
    this.columnOf = new Int32Array(rows).fill(none)
    this.rowOf = new Int32Array(cols).fill(none)
    this.#u = new Float64Array(rows)
    this.#v = new Float64Array(cols)
    this.#distance = new Float64Array(cols)
    this.#from = new Int32Array(cols)
    this.#pending = Int32Array.from({ length: cols }, (_, j) => j)
  }

  /** Prices every row at its least entry, and gives it that column if it is free. */
  reduceRows(): void {
    for (let i = 0; i < this.columnOf.length; i++) {
      const row = this.#cost.subarray(i * this.#cols, (i + 1) * this.#cols)
      let best = 0
      for (let j = 1; j < row.length; j++) if (row[j] < row[best]) best = j
      this.#u[i] = row[best]
      if (this.rowOf[best] === none) this.#assign(i, best)
    }
  }

  /** Assigns `row` by the shortest augmenting path to a free column (Dijkstra on reduced costs). */
  augment(row: number): void {
    this.#distance.fill(Infinity)
    let open = this.#cols
    let length = 0
    let sink = none
    for (let i = row; sink === none;) {
      const slot = this.#relax(i, length, open)
      const j = this.#pending[slot]
      length = this.#distance[j]
      this.#pending[slot] = this.#pending[--open]
      this.#pending[open] = j
      if (this.rowOf[j] === none) sink = j
      else i = this.rowOf[j]
    }
    this.#reprice(row, length, open)
    this.#flip(row, sink)
  }

  /** Shortens the paths to the pending columns by way of row i; returns the slot of the nearest, a free one if tied. */
  #relax(i: number, length: number, open: number): number {
    const distance = this.#distance
    const from = this.#from
    const pending = this.#pending
    const v = this.#v
    const cost = this.#cost
    const base = length - this.#u[i]
    const row = i * this.#cols
    let best = 0
    let least = Infinity
    for (let slot = 0; slot < open; slot++) {
      const j = pending[slot]
      const through = base + cost[row + j] - v[j]
      if (through < distance[j]) {
        distance[j] = through
        from[j] = i
      }
      if (distance[j] < least || (distance[j] === least && this.rowOf[j] === none)) {
        least = distance[j]
        best = slot
      }
    }
    return best
  }

  #reprice(row: number, length: number, open: number): void {
    this.#u[row] += length
    for (let slot = open; slot < this.#cols; slot++) {
      const j = this.#pending[slot]
      const slack = length - this.#distance[j]
      this.#v[j] -= slack
      if (this.rowOf[j] !== none) this.#u[this.rowOf[j]] += slack
    }
  }

  /** Swaps assigned and unassigned pairs along the path from `row` to `sink`. */
  #flip(row: number, sink: number): void {
    for (let j = sink; ;) {
      const i = this.#from[j]
      const next = this.columnOf[i]
      this.#assign(i, j)
      if (i === row) return
      j = next
    }
  }

  #assign(i: number, j: number): void {
    this.columnOf[i] = j
    this.rowOf[j] = i
  }
}

/**
 * The assignment of least (or greatest) total: min(rows, columns) pairs, no row or column twice. cost: [rows, columns],
 * any finite numbers. O(n^3). Throws NotFiniteError.
 *
 * Source: Jonker and Volgenant, "A shortest augmenting path algorithm for dense and sparse linear assignment problems"
 * (Computing 1987); rectangular as in Crouse (IEEE TAES 2016).
 */
export const linearAssignment = (cost: Matrix, { maximize = false }: AssignmentOptions = {}): Assignment => {
  checkFinite('linearAssignment', cost)
  const wide = cost.rows <= cost.cols
  const oriented = wide ? cost : transpose(cost)
  const signed = maximize
    ? matrix(
        oriented.rows,
        oriented.cols,
        oriented.data.map((x) => -x),
      )
    : oriented
  const search = new Search(signed)
  if (signed.rows) search.reduceRows()
  search.columnOf.forEach((column, row) => {
    if (column === none) search.augment(row)
  })
  const columns = wide ? search.columnOf : search.rowOf
  let total = 0
  columns.forEach((column, row) => (total += column === none ? 0 : cost.data[row * cost.cols + column]))
  return { columns, total }
}
