/** @file The keys and values of tokens already seen, on the host: programs return only the new ones, and they are written here. */
import { concat, type Tensor, type Value, value } from '../tensor/index.js'
import type { CacheSpec } from './architecture.js'

/** Keys and values of one module: [batch, heads, slots, size] each. */
export interface KeysAndValues<T> {
  readonly k: T
  readonly v: T
}

const sizesOf = (specs: readonly CacheSpec[]): number[] => [...new Set(specs.map(({ size }) => size))]

const ofSize = (specs: readonly CacheSpec[], wanted: number): CacheSpec[] =>
  specs.filter(({ size }) => size === wanted)

/**
 * New keys and values of all modules, [batch, heads, time, size] each, as few results of a program, for each costs to give
 * back: one for each size of a head, [batch, heads of keys and of values, module after module, time, size].
 */
export const joined = (
  specs: readonly CacheSpec[],
  fresh: Readonly<Record<string, KeysAndValues<Tensor>>>,
): Tensor[] =>
  sizesOf(specs).map((size) =>
    concat(
      ofSize(specs, size).flatMap(({ module }) => [fresh[module].k, fresh[module].v]),
      1,
    ),
  )

/**
 * Keys and values of `batch` rows. A token's slot is its position. Arrays grow by whole buckets, so that the programs
 * which read them come in few sizes.
 */
export class KeyValueCache {
  /** How many tokens of each row it holds. */
  readonly lengths: Int32Array
  private slots = 0
  private arrays = new Map<string, KeysAndValues<Float32Array>>()

  constructor(
    private readonly specs: readonly CacheSpec[],
    private readonly batch: number,
  ) {
    this.lengths = new Int32Array(batch)
  }

  /** Forgets everything, and gives the memory back. */
  clear(): void {
    this.lengths.fill(0)
    this.slots = 0
    this.arrays.clear()
  }

  /** Makes room for `slots` tokens a row. */
  reserve(slots: number): void {
    if (slots <= this.slots) return
    const grown = (old: Float32Array | undefined, heads: number, size: number): Float32Array => {
      const rows = this.batch * heads
      const array = new Float32Array(rows * slots * size)
      const kept = this.slots * size
      for (let r = 0; old && r < rows; r++)
        array.set(old.subarray(r * kept, (r + 1) * kept), r * slots * size)
      return array
    }
    for (const { module, heads, size } of this.specs) {
      const old = this.arrays.get(module)
      this.arrays.set(module, { k: grown(old?.k, heads, size), v: grown(old?.v, heads, size) })
    }
    this.slots = slots
  }

  /** Keys and values [batch, heads, slots, size] by module, as the programs for `slots` tokens are given them; the arrays themselves, not copies. Empty when nothing is reserved. */
  values(): Record<string, KeysAndValues<Value>> {
    const of = (data: Float32Array, { heads, size }: CacheSpec): Value =>
      value(data, [this.batch, heads, this.slots, size], 'float32')
    return Object.fromEntries(
      this.specs.flatMap((spec) => {
        const held = this.arrays.get(spec.module)
        return held ? [[spec.module, { k: of(held.k, spec), v: of(held.v, spec) }]] : []
      }),
    )
  }

  /**
   * Writes the first `counts[row]` new tokens of each row behind those it holds. fresh: as `joined` gives them. There must
   * be room.
   */
  async append(fresh: readonly Value[], counts: ArrayLike<number>): Promise<void> {
    for (const [i, size] of sizesOf(this.specs).entries())
      this.write(ofSize(this.specs, size), size, (await fresh[i].read()) as Float32Array, counts)
    for (let row = 0; row < this.batch; row++) this.lengths[row] += counts[row]
  }

  private write(
    specs: readonly CacheSpec[],
    size: number,
    from: Float32Array,
    counts: ArrayLike<number>,
  ): void {
    const all = 2 * specs.reduce((sum, { heads }) => sum + heads, 0)
    const time = from.length / (this.batch * all * size)
    let first = 0
    for (const { module, heads } of specs) {
      const { k, v } = this.arrays.get(module)!
      for (const into of [k, v]) {
        for (let row = 0; row < this.batch; row++)
          for (let head = 0; head < heads; head++) {
            const start = (row * all + first + head) * time * size
            const slot = (row * heads + head) * this.slots + this.lengths[row]
            into.set(from.subarray(start, start + counts[row] * size), slot * size)
          }
        first += heads
      }
    }
  }
}
