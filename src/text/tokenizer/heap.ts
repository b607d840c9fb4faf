/** @file A heap of numbers: the least comes out first. */
export class Heap {
  readonly #numbers: number[] = []

  push(x: number): void {
    const heap = this.#numbers
    let i = heap.push(x) - 1
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (heap[parent] <= x) break
      heap[i] = heap[parent]
      i = parent
    }
    heap[i] = x
  }

  /** Takes the least out; undefined when there is none. */
  pop(): number | undefined {
    const heap = this.#numbers
    const least = heap[0]
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return least
    let i = 0
    for (let child = 1; child < heap.length; child = 2 * i + 1) {
      if (child + 1 < heap.length && heap[child + 1] < heap[child]) child++
      if (heap[child] >= last) break
      heap[i] = heap[child]
      i = child
    }
    heap[i] = last
    return least
  }
}
