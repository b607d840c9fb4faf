/** @file A drawn plot, as pages get it. Types only. */

/** One plot, of a reproduction or a run. Bars have names as `x`; of a heat map each series is a row, and `x` its columns. */
export interface Plot {
  kind: 'curve' | 'bars' | 'pareto' | 'heatmap'
  title: string
  x: Axis
  y: Axis
  series: PlotSeries[]
}

export interface Axis {
  label: string
  log?: boolean
}

export interface PlotSeries {
  name: string
  /** `spread`: standard deviation over seeds. */
  points: { x: number | string; y: number; spread?: number }[]
}
