/**
 * @file Embeddings in another order: a tensor that is nowhere stored, whose rows are read from where the tokens have them.
 * It is a checkpoint of one tensor, so that whatever reads tensors in blocks reads it too; a block is all that is in memory.
 */
import {
  Checkpoint,
  decode,
  type RandomAccess,
  tensorBytes,
  type TensorInfo,
} from '../../../../checkpoint/index.js'
import type { SourceTensor } from '../align.js'
import { sizeOf } from '../../../../tensor/shape.js'

/** A row of a stored tensor. */
export interface Row {
  readonly from: Pick<SourceTensor, 'checkpoint' | 'info'>
  readonly row: number
}

/** How the rows of a reordered tensor are made. */
export interface RowPlan {
  /** For each row of the result the source's own row; -1 where it is filled. */
  readonly own: Int32Array
  /** Of filled rows: the rows that are averaged; none: zeros. A row of no token is the average of all rows of tokens. */
  readonly filled: ReadonlyMap<number, readonly Row[]>
}

const numbersOf = async (
  { checkpoint, info }: Row['from'],
  start: number,
  end: number,
): Promise<Float32Array> => {
  const shape = [end - start, ...info.shape.slice(1)]
  const bytes = new Uint8Array(tensorBytes(info.dtype, shape))
  await checkpoint.readInto(info.name, bytes, tensorBytes(info.dtype, [start, ...info.shape.slice(1)]))
  return decode(bytes, info.dtype, shape, 'float32').data as Float32Array
}

/** The stored bytes, float32, of a reordered tensor as a file. */
class ReorderedRows implements RandomAccess {
  private mean?: Promise<Float32Array>
  constructor(
    private readonly source: Row['from'],
    private readonly plan: RowPlan,
    private readonly width: number,
  ) {}

  get size(): number {
    return this.plan.own.length * this.width * 4
  }

  async read(into: Uint8Array, offset: number): Promise<void> {
    const rowBytes = this.width * 4
    const first = Math.floor(offset / rowBytes)
    const end = Math.ceil((offset + into.length) / rowBytes)
    const numbers = await this.rows(first, end)
    const skipped = offset - first * rowBytes
    into.set(new Uint8Array(numbers.buffer).subarray(skipped, skipped + into.length))
  }

  async close(): Promise<void> {}

  /** Rows `first` to `end` (exclusive); consecutive ones of the source are read at once. */
  private async rows(first: number, end: number): Promise<Float32Array> {
    const { own } = this.plan
    const out = new Float32Array((end - first) * this.width)
    for (let at = first; at < end;) {
      let next = at + 1
      if (own[at] >= 0) while (next < end && own[next] === own[at] + next - at) next++
      const numbers =
        own[at] >= 0 ? await numbersOf(this.source, own[at], own[at] + next - at) : await this.filledRow(at)
      out.set(numbers, (at - first) * this.width)
      at = next
    }
    return out
  }

  private filledRow(row: number): Promise<Float32Array> {
    const rows = this.plan.filled.get(row)
    return rows ? this.average(rows) : (this.mean ??= this.meanOfAll())
  }

  private async average(rows: readonly Row[]): Promise<Float32Array> {
    if (rows.length === 1) return numbersOf(rows[0].from, rows[0].row, rows[0].row + 1)
    const sum = new Float64Array(this.width)
    for (const { from, row } of rows) (await numbersOf(from, row, row + 1)).forEach((x, i) => (sum[i] += x))
    return Float32Array.from(sum, (x) => (rows.length ? x / rows.length : 0))
  }

  private async meanOfAll(): Promise<Float32Array> {
    const { own, filled } = this.plan
    const sum = new Float64Array(this.width)
    let count = 0
    const isToken = (row: number): boolean => own[row] >= 0 || filled.has(row)
    for (let row = 0; row < own.length; row++) {
      if (!isToken(row)) continue
      let end = row + 1
      while (end < own.length && end - row < 1024 && isToken(end)) end++
      const numbers = await this.rows(row, end)
      numbers.forEach((x, i) => (sum[i % this.width] += x))
      count += end - row
      row = end - 1
    }
    return Float32Array.from(sum, (x) => x / Math.max(1, count))
  }
}

/** Whether the rows are those of the source, in its order. */
const isIdentity = ({ own }: RowPlan, rows: number): boolean =>
  own.length === rows && own.every((row, i) => row === i)

/** `source` with the rows that `plan` says; itself where they are its own. */
export const reordered = (source: SourceTensor, plan: RowPlan): SourceTensor => {
  const { checkpoint, info } = source
  if (isIdentity(plan, info.shape[0])) return source
  const shape = [plan.own.length, ...info.shape.slice(1)]
  const width = sizeOf(info.shape.slice(1))
  const file = new ReorderedRows(source, plan, width)
  const { name } = info
  const view: TensorInfo = { name, dtype: 'F32', shape, file: info.file, offset: 0, length: file.size }
  const { folder, config } = checkpoint
  const parts = { tensors: new Map([[name, view]]), files: new Map([[info.file, file]]) }
  return {
    ...source,
    checkpoint: new Checkpoint({ folder, config, metadata: {}, ...parts }),
    info: view,
    stored: info.dtype,
  }
}
