/** @file The tensors of a checkpoint: shapes, and of one its histogram and singular values. */
import type { JSX } from 'preact'
import { useState } from 'preact/hooks'
import type { TensorList, TensorRow, TensorStatistics } from '../src/lab/api.js'
import { bytes, count, number } from './format.js'
import { get } from './http.js'
import { Failure, Waiting } from './parts.js'
import { PlotFigure } from './plots.js'

const most = 200

const Statistics = ({ of: t }: { of: TensorStatistics }): JSX.Element => {
  const facts: [string, string][] = [
    ['elements', t.count.toLocaleString('en-US')],
    ['mean', t.mean === null ? '–' : number(t.mean)],
    ['deviation', t.deviation === null ? '–' : number(t.deviation)],
    ['least', t.least === null ? '–' : number(t.least)],
    ['greatest', t.greatest === null ? '–' : number(t.greatest)],
    ['zeros', t.zeros.toLocaleString('en-US')],
    ['not finite', t.notFinite.toLocaleString('en-US')],
  ]
  const { edges, counts } = t.histogram
  return (
    <>
      <dl class="settings inline">
        {facts.map(([key, value]) => (
          <div key={key}>
            <dt>{key}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      <div class="plots">
        <PlotFigure
          plot={{
            kind: 'curve',
            title: 'Histogram',
            x: { label: 'value' },
            y: { label: 'elements' },
            series: [
              { name: t.name, points: counts.map((y, i) => ({ x: (edges[i] + edges[i + 1]) / 2, y })) },
            ],
          }}
        />
        {t.singularValues && (
          <PlotFigure
            plot={{
              kind: 'curve',
              title: 'Singular values',
              x: { label: 'index' },
              y: { label: 'singular value' },
              series: [{ name: t.name, points: t.singularValues.map((y, i) => ({ x: i + 1, y })) }],
            }}
          />
        )}
      </div>
      {t.singularNote && <p class="muted">{t.singularNote}</p>}
    </>
  )
}

const Row = ({
  tensor,
  chosen,
  onChoose,
}: {
  tensor: TensorRow
  chosen: boolean
  onChoose: () => void
}): JSX.Element => (
  <tr>
    <th scope="row">
      <button class="link" aria-pressed={chosen} onClick={onChoose}>
        {tensor.name}
      </button>
    </th>
    <td>{tensor.dtype}</td>
    <td>[{tensor.shape.join(', ')}]</td>
    <td>{bytes(tensor.bytes)}</td>
  </tr>
)

export const Tensors = ({ checkpoint }: { checkpoint: string }): JSX.Element => {
  const [list, setList] = useState<TensorList>()
  const [filter, setFilter] = useState('')
  const [chosen, setChosen] = useState<string>()
  const [statistics, setStatistics] = useState<TensorStatistics>()
  const [error, setError] = useState<unknown>()
  const choose = (name: string): void => {
    setChosen(name)
    setStatistics(undefined)
    get<TensorStatistics>('/api/tensor', { checkpoint, name }).then(setStatistics, setError)
  }
  const open = (): void => void get<TensorList>('/api/tensors', { checkpoint }).then(setList, setError)
  const matching = list?.tensors.filter(({ name }) => name.includes(filter)) ?? []
  return (
    <details class="tensors" onToggle={(e) => e.currentTarget.open && !list && open()}>
      <summary>Tensors</summary>
      {error !== undefined && <Failure error={error} />}
      {!list && <Waiting what="tensors" />}
      {list && (
        <>
          <label class="choice">
            Name contains
            <input type="search" value={filter} onInput={(e) => setFilter(e.currentTarget.value)} />
          </label>
          <p class="count" role="status">
            {count(matching.length, 'tensor')}
            {matching.length > most && `, the first ${most} shown`}
          </p>
          <div class="scroll tall" tabIndex={0} role="region" aria-label="Tensors">
            <table>
              <thead>
                <tr>
                  <th scope="col">Name</th>
                  <th scope="col">Type</th>
                  <th scope="col">Shape</th>
                  <th scope="col">Size</th>
                </tr>
              </thead>
              <tbody>
                {matching.slice(0, most).map((tensor) => (
                  <Row
                    key={tensor.name}
                    tensor={tensor}
                    chosen={tensor.name === chosen}
                    onChoose={() => choose(tensor.name)}
                  />
                ))}
              </tbody>
            </table>
          </div>
          {chosen && (
            <section aria-labelledby="tensor">
              <h2 id="tensor">{chosen}</h2>
              {statistics ? <Statistics of={statistics} /> : <Waiting what="its numbers" />}
            </section>
          )}
        </>
      )}
    </details>
  )
}
