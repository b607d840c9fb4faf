/** @file Curves over steps, live: uPlot, drawn again as rows come. */
import type { JSX } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'
import { number } from './format.js'

export interface Curve {
  readonly name: string
  readonly x: readonly number[]
  readonly y: readonly number[]
}

const height = 240

/** The colour of curve `i`, as the style sheet says it. */
export const colour = (i: number): string =>
  getComputedStyle(document.documentElement)
    .getPropertyValue(`--series-${(i % 8) + 1}`)
    .trim() || '#888'

const token = (name: string): string =>
  getComputedStyle(document.documentElement).getPropertyValue(name).trim()

/** The curves over one sorted list of all their steps, gaps where a curve has none. */
const aligned = (curves: readonly Curve[]): uPlot.AlignedData => {
  const steps = [...new Set(curves.flatMap(({ x }) => x))].sort((a, b) => a - b)
  const columns = curves.map(({ x, y }) => {
    const at = new Map(x.map((step, i) => [step, y[i]]))
    return steps.map((step) => at.get(step) ?? null)
  })
  return [steps, ...columns]
}

const options = (title: string, curves: readonly Curve[], width: number): uPlot.Options => {
  const axis: uPlot.Axis = {
    stroke: token('--muted'),
    grid: { stroke: token('--line'), width: 1 },
    ticks: { stroke: token('--line'), width: 1 },
  }
  return {
    width,
    height,
    class: 'curves',
    scales: { x: { time: false } },
    axes: [
      { ...axis, label: 'step', labelSize: 20 },
      { ...axis, size: 64, values: (_, ticks) => ticks.map((t) => number(t)) },
    ],
    legend: { live: true },
    cursor: { y: false },
    series: [
      { label: 'step', value: (_, v) => (v === null ? '' : number(v)) },
      ...curves.map(({ name }, i): uPlot.Series => ({
        label: name,
        stroke: colour(i),
        width: 1.75,
        spanGaps: true,
        points: { show: curves[i].x.length < 2 },
        value: (_, v) => (v === null ? '–' : number(v)),
      })),
    ],
    title,
  }
}

/** One metric's curves, named in the legend; their last values are also text, for those who see no drawing. */
export const Curves = ({ title, curves }: { title: string; curves: readonly Curve[] }): JSX.Element => {
  const place = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot>()
  const names = curves.map(({ name }) => name).join('\n')
  useEffect(() => {
    const element = place.current!
    const draw = (): void => {
      plot.current?.destroy()
      plot.current = new uPlot(options(title, curves, element.clientWidth), aligned(curves), element)
    }
    draw()
    const resized = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height }))
    resized.observe(element)
    const scheme = matchMedia('(prefers-color-scheme: dark)')
    scheme.addEventListener('change', draw)
    return () => {
      resized.disconnect()
      scheme.removeEventListener('change', draw)
      plot.current?.destroy()
      plot.current = undefined
    }
  }, [title, names])
  useEffect(() => plot.current?.setData(aligned(curves)), [curves])
  const last = curves
    .map(({ name, y }) => `${name}: ${y.length ? number(y[y.length - 1]) : 'nothing yet'}`)
    .join('; ')
  return (
    <figure class="plot" aria-label={`${title}. Last values: ${last}`}>
      <div ref={place} aria-hidden="true" />
    </figure>
  )
}
