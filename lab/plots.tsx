/** @file Plots of reproductions and runs as SVG: curves, bars with spread, Pareto fronts, heat maps. */
import type { JSX } from 'preact'
import type { Axis, Plot, PlotSeries } from '../src/lab/api.js'
import { number } from './format.js'

const width = 640
const height = 300
const edge = { left: 64, right: 16, top: 12, bottom: 44 }
const inner = { width: width - edge.left - edge.right, height: height - edge.top - edge.bottom }

interface Scale {
  readonly at: (value: number) => number
  readonly ticks: readonly number[]
}

/** Lines across a plot; round steps make at most six. */
const mostTicks = 8

/** Round steps: 1, 2 or 5 times a power of ten. */
const roundTicks = (low: number, high: number): number[] => {
  const rough = (high - low) / 4
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough)!
  const first = Math.ceil(low / step)
  // Counted, because a step that is lost in rounding never arrives.
  const ticks = Array.from({ length: mostTicks }, (_, i) => Number(((first + i) * step).toPrecision(12)))
  return [...new Set(ticks)].filter((tick) => tick <= high + step / 1e6)
}

const powerTicks = (low: number, high: number): number[] => {
  const ticks: number[] = []
  for (let p = Math.floor(low); p <= Math.ceil(high); p++) ticks.push(p)
  return ticks
}

/** Least and greatest of the values, apart even where they are the same. */
const range = (values: readonly number[]): { low: number; high: number } => {
  const low = values.reduce((least, value) => Math.min(least, value), Infinity)
  const high = values.reduce((greatest, value) => Math.max(greatest, value), -Infinity)
  if (low !== high) return { low, high }
  const half = Math.abs(low || 1) / 2
  return { low: low - half, high: high + half }
}

const scale = (
  values: readonly number[],
  { log = false }: Axis,
  from: number,
  to: number,
  zero = false,
): Scale => {
  const of = (v: number): number => (log ? Math.log10(v) : v)
  const all = values.filter((v) => Number.isFinite(v) && (!log || v > 0)).map(of)
  const { low, high } = range(zero && !log ? [0, ...all] : all)
  const margin = (high - low) * 0.06
  const start = zero ? low : low - margin
  const end = high + margin
  const at = (v: number): number => from + ((of(v) - start) / (end - start)) * (to - from)
  const ticks = log
    ? powerTicks(start, end)
        .map((p) => 10 ** p)
        .filter((t) => of(t) >= start && of(t) <= end)
    : roundTicks(start, end)
  return { at, ticks }
}

const Frame = ({ y, plot }: { y: Scale; plot: Plot }): JSX.Element => (
  <g class="axes">
    {y.ticks.map((t) => (
      <g key={t}>
        <line x1={edge.left} x2={width - edge.right} y1={y.at(t)} y2={y.at(t)} />
        <text x={edge.left - 8} y={y.at(t)} dy="0.32em" text-anchor="end">
          {number(t)}
        </text>
      </g>
    ))}
    <text
      class="label"
      x={14}
      y={edge.top + inner.height / 2}
      transform={`rotate(-90 14 ${edge.top + inner.height / 2})`}
      text-anchor="middle"
    >
      {plot.y.label}
    </text>
    <text class="label" x={edge.left + inner.width / 2} y={height - 6} text-anchor="middle">
      {plot.x.label}
    </text>
  </g>
)

const Whisker = ({
  x,
  y,
  spread,
  scale,
}: {
  x: number
  y: number
  spread?: number
  scale: Scale
}): JSX.Element | null => {
  if (!spread) return null
  const [low, high] = [scale.at(y - spread), scale.at(y + spread)]
  return <path class="whisker" d={`M${x} ${low}V${high}M${x - 4} ${low}h8M${x - 4} ${high}h8`} />
}

const reach = (series: readonly PlotSeries[]): number[] =>
  series.flatMap(({ points }) => points.flatMap(({ y, spread = 0 }) => [y - spread, y + spread]))

const Bars = ({ plot }: { plot: Plot }): JSX.Element => {
  const names = [...new Set(plot.series.flatMap(({ points }) => points.map(({ x }) => String(x))))]
  const y = scale(reach(plot.series), plot.y, height - edge.bottom, edge.top, true)
  const room = inner.width / names.length
  const bar = Math.min(48, (room * 0.7) / plot.series.length)
  const bottom = y.at(0)
  return (
    <>
      <Frame y={y} plot={plot} />
      {plot.series.map(({ name, points }, s) =>
        points.map((point) => {
          const middle =
            edge.left +
            room * (names.indexOf(String(point.x)) + 0.5) +
            bar * (s - (plot.series.length - 1) / 2)
          const top = y.at(point.y)
          return (
            <g key={`${name}/${point.x}`}>
              <rect
                class={`series-${(s % 8) + 1}`}
                x={middle - bar / 2}
                width={bar - 2}
                y={Math.min(top, bottom)}
                height={Math.abs(bottom - top)}
              />
              <Whisker x={middle - 1} y={point.y} spread={point.spread} scale={y} />
            </g>
          )
        }),
      )}
      {names.map((name, i) => (
        <text key={name} x={edge.left + room * (i + 0.5)} y={height - edge.bottom + 16} text-anchor="middle">
          {name.length * 7 > room ? `${name.slice(0, Math.max(3, Math.floor(room / 7) - 1))}…` : name}
        </text>
      ))}
    </>
  )
}

const Points = ({ plot }: { plot: Plot }): JSX.Element => {
  const xs = plot.series.flatMap(({ points }) => points.map(({ x }) => Number(x)))
  const x = scale(xs, plot.x, edge.left, width - edge.right)
  const y = scale(reach(plot.series), plot.y, height - edge.bottom, edge.top)
  return (
    <>
      <Frame y={y} plot={plot} />
      <g class="axes">
        {x.ticks.map((t) => (
          <text key={t} x={x.at(t)} y={height - edge.bottom + 16} text-anchor="middle">
            {number(t)}
          </text>
        ))}
      </g>
      {plot.series.map(({ name, points }, s) => (
        <g key={name} class={`series-${(s % 8) + 1}`}>
          {plot.kind === 'curve' && (
            <path
              class="curve"
              d={points.map((p, i) => `${i ? 'L' : 'M'}${x.at(Number(p.x))} ${y.at(p.y)}`).join('')}
            />
          )}
          {points.map((p) => (
            <g key={p.x}>
              <Whisker x={x.at(Number(p.x))} y={p.y} spread={p.spread} scale={y} />
              {(plot.kind === 'pareto' || points.length < 30) && (
                <circle cx={x.at(Number(p.x))} cy={y.at(p.y)} r={plot.kind === 'pareto' ? 5 : 3} />
              )}
            </g>
          ))}
        </g>
      ))}
    </>
  )
}

const rowHeight = 20

/** Cells in shades between the least and the greatest value, which they also say where there is room. */
const Cells = ({ plot }: { plot: Plot }): JSX.Element => {
  const columns = [...new Set(plot.series.flatMap(({ points }) => points.map(({ x }) => String(x))))]
  const values = plot.series.flatMap(({ points }) => points.map(({ y }) => y))
  const { low: least, high: most } = range(values)
  const left = 112
  const room = (width - left - edge.right) / columns.length
  const shade = (y: number): number => 0.04 + (0.76 * (y - least)) / (most - least)
  return (
    <>
      {plot.series.map(({ name, points }, row) => (
        <g key={name} transform={`translate(0 ${edge.top + row * rowHeight})`}>
          <text x={left - 8} y={rowHeight / 2} dy="0.32em" text-anchor="end">
            {name}
          </text>
          {points.map(({ x, y }) => {
            const start = left + columns.indexOf(String(x)) * room
            return (
              <g key={x} class={`cell ${shade(y) > 0.45 ? 'dark' : ''}`}>
                <rect x={start} width={room - 1} height={rowHeight - 1} fill-opacity={shade(y)} />
                {room > 44 && (
                  <text x={start + room / 2} y={rowHeight / 2} dy="0.32em" text-anchor="middle">
                    {number(y)}
                  </text>
                )}
              </g>
            )
          })}
        </g>
      ))}
      {columns.map((name, i) => (
        <text
          key={name}
          x={left + (i + 0.5) * room}
          y={edge.top + plot.series.length * rowHeight + 16}
          text-anchor="middle"
        >
          {name.length * 8 > room ? `${name.slice(0, Math.max(2, Math.floor(room / 8) - 1))}…` : name}
        </text>
      ))}
    </>
  )
}

const heightOf = ({ kind, series }: Plot): number =>
  kind === 'heatmap' ? edge.top + series.length * rowHeight + 26 : height

const Drawing = ({ plot }: { plot: Plot }): JSX.Element => {
  if (plot.kind === 'heatmap') return <Cells plot={plot} />
  return plot.kind === 'bars' ? <Bars plot={plot} /> : <Points plot={plot} />
}

/** A plot, its legend, and its numbers as a table that opens. */
export const PlotFigure = ({ plot }: { plot: Plot }): JSX.Element => (
  <figure class="plot">
    <figcaption>{plot.title}</figcaption>
    <svg
      viewBox={`0 0 ${width} ${heightOf(plot)}`}
      role="img"
      aria-label={`${plot.title}: ${plot.y.label} by ${plot.x.label}`}
    >
      <Drawing plot={plot} />
    </svg>
    {plot.kind !== 'heatmap' && plot.series.length > 1 && (
      <ul class="legend">
        {plot.series.map(({ name }, s) => (
          <li key={name}>
            <span class={`swatch series-${(s % 8) + 1}`} aria-hidden="true" /> {name}
          </li>
        ))}
      </ul>
    )}
    <details>
      <summary>Numbers</summary>
      <div class="scroll" tabIndex={0} role="region" aria-label={`Numbers of ${plot.title}`}>
        <table>
          <thead>
            <tr>
              <th scope="col">Series</th>
              <th scope="col">{plot.x.label}</th>
              <th scope="col">{plot.y.label}</th>
            </tr>
          </thead>
          <tbody>
            {plot.series.flatMap(({ name, points }) =>
              points.map(({ x, y, spread }) => (
                <tr key={`${name}/${x}`}>
                  <th scope="row">{name}</th>
                  <td>{typeof x === 'number' ? number(x) : x}</td>
                  <td>
                    {number(y)}
                    {spread ? ` ± ${number(spread)}` : ''}
                  </td>
                </tr>
              )),
            )}
          </tbody>
        </table>
      </div>
    </details>
  </figure>
)
