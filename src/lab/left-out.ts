/** @file What the lab has found and could not use, for the banner of every page: nothing is passed over in silence. */
import type { LeftOut } from '../runs/index.js'

/** Things named in a banner; the rest is counted. */
const named = 20

/** What is left out now, by the part of the lab that found it. */
export class LeftOutList {
  private readonly bySource = new Map<string, readonly LeftOut[]>()

  /** Replaces everything that `source` has found before. */
  set(source: string, all: readonly LeftOut[]): void {
    if (all.length === 0) this.bySource.delete(source)
    else this.bySource.set(source, all)
  }

  /** The first of them by path, and how many there are. */
  shown(): { total: number; first: LeftOut[] } {
    const all = [...this.bySource.values()].flat().sort((a, b) => (a.path < b.path ? -1 : 1))
    return { total: all.length, first: all.slice(0, named) }
  }
}
