/** @file What a reproduction declares to be drawn, and the points that its measurements give. */
import { Sample, mean, spread } from './sample.js'

/** A plot to draw, in terms of metric names. */
export interface Plot {
  readonly kind: 'curve' | 'bars' | 'pareto'
  readonly title?: string
  /** Curves: the logged value along the axis, or `step`. Fronts: a metric of each arm. Bars have the arms. */
  readonly x?: string
  readonly y: string
  readonly log?: { readonly x?: boolean; readonly y?: boolean }
}

type PlotOptions = Omit<Plot, 'kind'>

/** `y`, logged while measuring, over `x` (default `step`): a line an arm, mean and spread over seeds. */
export const curve = (options: PlotOptions): Plot => ({ kind: 'curve', x: 'step', ...options })

/** The metric `y` of every arm, with its spread over seeds. */
export const bars = (options: PlotOptions): Plot => ({ kind: 'bars', ...options })

/** Every arm as a point: metric `x` against metric `y`. */
export const pareto = (options: PlotOptions & { x: string }): Plot => ({ kind: 'pareto', ...options })

/** A plot with its points. Bars have arms' names as `x`; of a heat map each series is a row, and `x` its columns. */
export interface DrawnPlot {
  readonly kind: Plot['kind'] | 'heatmap'
  readonly title: string
  readonly x: { readonly label: string; readonly log?: boolean }
  readonly y: { readonly label: string; readonly log?: boolean }
  readonly series: readonly PlotSeries[]
}

/** Series of a plot: a line, a row of bars, or a point. */
export interface PlotSeries {
  readonly name: string
  /** `spread`: standard deviation over seeds. */
  readonly points: readonly { readonly x: number | string; readonly y: number; readonly spread?: number }[]
}

/** A row that an arm logged while it was measured. */
export interface LoggedRow {
  readonly arm: string
  readonly seed: number
  readonly values: { readonly [name: string]: number }
}

/** The measured metrics: by arm, by name. */
export type Measured = { readonly [arm: string]: { readonly [metric: string]: Sample } }

/** The points of `plot`. */
export const draw = (plot: Plot, measured: Measured, rows: readonly LoggedRow[]): DrawnPlot => ({
  kind: plot.kind,
  title: plot.title ?? (plot.kind === 'bars' ? plot.y : `${plot.y} by ${plot.x}`),
  x: { label: plot.x ?? 'arm', ...(plot.log?.x ? { log: true } : {}) },
  y: { label: plot.y, ...(plot.log?.y ? { log: true } : {}) },
  series: plot.kind === 'curve' ? curves(plot, rows) : points(plot, measured),
})

const points = ({ kind, x, y }: Plot, measured: Measured): PlotSeries[] =>
  Object.entries(measured).flatMap(([arm, metrics]) => {
    if (!(y in metrics) || (kind === 'pareto' && !(x! in metrics))) return []
    const at = kind === 'pareto' ? metrics[x!].mean : arm
    return [{ name: arm, points: [{ x: at, y: metrics[y].mean, spread: metrics[y].spread }] }]
  })

const curves = ({ x, y }: Plot, rows: readonly LoggedRow[]): PlotSeries[] => {
  const arms = new Map<string, Map<number, number[]>>()
  for (const { arm, values } of rows) {
    if (!(x! in values) || !(y in values)) continue
    const line = arms.get(arm) ?? new Map<number, number[]>()
    arms.set(arm, line.set(values[x!], [...(line.get(values[x!]) ?? []), values[y]]))
  }
  return [...arms].map(([name, line]) => ({
    name,
    points: thinned([...line].sort(([a], [b]) => a - b)).map(([at, ys]) => ({
      x: at,
      y: mean(ys),
      spread: spread(ys),
    })),
  }))
}

/** At most 300 points of a line: a plot shows no more. */
const thinned = <T>(line: readonly T[]): readonly T[] => {
  const stride = Math.ceil(line.length / 300)
  return line.filter((_, i) => i % stride === 0 || i === line.length - 1)
}
