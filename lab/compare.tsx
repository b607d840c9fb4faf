/** @file Several runs side by side: their curves in one plot a metric, and the settings in which they differ. */
import type { JSX } from 'preact'
import type { Comparison } from '../src/lab/api.js'
import { Curves } from './curves.js'
import { number } from './format.js'
import { Empty, State } from './parts.js'

const shown = (value: unknown): string =>
  value === undefined || value === null ? '–' : typeof value === 'string' ? value : JSON.stringify(value)

export const Compare = ({ data: { runs, metrics, config } }: { data: Comparison }): JSX.Element => (
  <article class="compare">
    <h1>Compare runs</h1>
    <div class="scroll" tabIndex={0} role="region" aria-label="Differences">
      <table>
        <thead>
          <tr>
            <td />
            {runs.map(({ id, status }, i) => (
              <th scope="col" key={id}>
                <span class={`swatch series-${(i % 8) + 1}`} aria-hidden="true" />{' '}
                <a href={`/runs/${id}`}>{id}</a> <State of={status} />
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {metrics.map(({ name }) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              {runs.map(({ id, metrics: last }) => (
                <td key={id}>{last[name] === undefined ? '–' : number(last[name])}</td>
              ))}
            </tr>
          ))}
          {config.map(({ key, values }) => (
            <tr key={key}>
              <th scope="row">{key}</th>
              {values.map((value, i) => (
                <td key={runs[i].id}>{shown(value)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
    {metrics.length === 0 && <Empty>None of them has recorded a metric.</Empty>}
    <div class="plots">
      {metrics.map(({ name, series }) => (
        <Curves
          key={name}
          title={name}
          curves={series.flatMap((s, i) => (s ? [{ name: runs[i].id, x: s.x, y: s.y }] : []))}
        />
      ))}
    </div>
  </article>
)
