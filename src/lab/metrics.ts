/** @file Metrics of a run as curves of a bounded number of points, from files of any length. */
import { FileRefused, readMetrics, seriesName } from '../runs/index.js'
import type { MetricsPage, MetricsRow } from '../runs/index.js'
import type { Metrics, Series } from './api.js'

/** Rows that fall into one point. */
interface Bucket {
  x: number
  y: number
  low: number
  high: number
  count: number
}

/**
 * A series of at most `2 * points` buckets that all hold the same number of rows: when they are full, neighbours are
 * joined and each takes twice as many.
 */
class Downsampler {
  private readonly buckets: Bucket[] = []
  private width = 1

  constructor(private readonly points: number) {}

  add(x: number, y: number): void {
    const last = this.buckets.at(-1)
    if (last && last.count < this.width) join(last, { x, y, low: y, high: y, count: 1 })
    else this.buckets.push({ x, y, low: y, high: y, count: 1 })
    if (this.buckets.length > 2 * this.points) this.halve()
  }

  private halve(): void {
    const pairs = Math.ceil(this.buckets.length / 2)
    for (let i = 0; i < pairs; i++) {
      const bucket = this.buckets[2 * i]
      const next = this.buckets.at(2 * i + 1)
      if (next) join(bucket, next)
      this.buckets[i] = bucket
    }
    this.buckets.length = pairs
    this.width *= 2
  }

  series(name: string): Series {
    while (this.buckets.length > this.points) this.halve()
    const column = (key: 'x' | 'y' | 'low' | 'high'): number[] => this.buckets.map((bucket) => bucket[key])
    return { name, x: column('x'), y: column('y'), low: column('low'), high: column('high') }
  }
}

/** Joins `b` into `a`: means by count, extremes. */
const join = (a: Bucket, b: Bucket): void => {
  const count = a.count + b.count
  a.x += ((b.x - a.x) * b.count) / count
  a.y += ((b.y - a.y) * b.count) / count
  a.low = Math.min(a.low, b.low)
  a.high = Math.max(a.high, b.high)
  a.count = count
}

/** Rows from a byte on, as `readMetrics` gives them; none where the file is refused, which the page names. */
export const metricsFrom = async (
  folder: string,
  options: { from: number; limit?: number },
): Promise<MetricsPage> => {
  try {
    return await readMetrics(folder, options)
  } catch (error) {
    if (!(error instanceof FileRefused)) throw error
    return { rows: [], next: options.from, more: false, skipped: 0 }
  }
}

/** Series kept of one run; more than anyone looks at. */
const seriesKept = 1000

/** Curves that grow by rows. */
class CurveSet {
  private readonly curves = new Map<string, { sampler: Downsampler; count: number }>()

  constructor(
    private readonly points: number,
    private readonly wanted: ReadonlySet<string> | undefined,
  ) {}

  /** A row without a step has its number among the rows of its series. */
  add({ series, step, values }: MetricsRow): void {
    for (const [name, value] of Object.entries(values)) {
      const full = seriesName(series, name)
      if (this.wanted && !this.wanted.has(full) && !this.wanted.has(name)) continue
      const curve = this.curves.get(full) ?? this.begin(full)
      curve?.sampler.add(step ?? curve.count, value)
      if (curve) curve.count++
    }
  }

  private begin(name: string): { sampler: Downsampler; count: number } | undefined {
    if (this.curves.size >= seriesKept) return undefined
    const curve = { sampler: new Downsampler(this.points), count: 0 }
    this.curves.set(name, curve)
    return curve
  }

  series(): Series[] {
    return [...this.curves].map(([name, { sampler }]) => sampler.series(name))
  }
}

/**
 * Every metric of the run in `folder`, or those called `names` (with or without their series in front), each with at
 * most `points` points. Memory does not depend on the length of the file.
 */
export const curvesOf = async (
  folder: string,
  { points, names }: { points: number; names?: readonly string[] },
): Promise<Metrics> => {
  const curves = new CurveSet(points, names && new Set(names))
  let rows = 0
  let skipped = 0
  let offset = 0
  for (let more = true; more;) {
    const page = await metricsFrom(folder, { from: offset })
    for (const row of page.rows) curves.add(row)
    rows += page.rows.length
    skipped += page.skipped
    more = page.more && page.next > offset
    offset = page.next
  }
  return { series: curves.series(), rows, skipped, offset }
}
