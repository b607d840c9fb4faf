/** @file What all threads of a stream see: the next task, whether to stop, and the bytes written. */

/** A counter of tasks in shared memory. */
export class Board {
  readonly #words: Int32Array
  readonly #bytes: BigInt64Array
  constructor(readonly shared: SharedArrayBuffer = new SharedArrayBuffer(16)) {
    this.#words = new Int32Array(shared, 0, 2)
    this.#bytes = new BigInt64Array(shared, 8, 1)
  }

  /** The index of a task that nobody else gets. */
  next(): number {
    return Atomics.add(this.#words, 0, 1)
  }

  get stopped(): boolean {
    return Atomics.load(this.#words, 1) !== 0
  }

  stop(): void {
    Atomics.store(this.#words, 1, 1)
  }

  get bytes(): number {
    return Number(Atomics.load(this.#bytes, 0))
  }

  add(bytes: number): void {
    Atomics.add(this.#bytes, 0, BigInt(bytes))
  }
}
