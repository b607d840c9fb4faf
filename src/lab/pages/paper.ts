/** @file One paper as HTML that needs no script: what it claims, what was measured here, its source, its runs. */
import { html } from 'hono/html'
import type { PaperPage, Plot } from '../api.js'
import type { Html } from './layout.js'
import { cards, claimWords, dayOf, facts, plural } from './papers.js'

/** A section with its heading; nothing where there is no `content`. */
const section = (id: string, title: string, content: unknown): Html | string =>
  content
    ? html`<section aria-labelledby="${id}">
        <h2 id="${id}">${title}</h2>
        ${content}
      </section>`
    : ''

const claimTable = ({ claimList }: PaperPage): Html =>
  claimList.length === 0
    ? html`<p class="empty">Its claims are not written down yet.</p>`
    : html`<div class="scroll" tabindex="0" role="region" aria-label="Claims">
        <table>
          <thead>
            <tr>
              <th scope="col">Claim</th>
              <th scope="col">Paper</th>
              <th scope="col">Here</th>
              <th scope="col">Verdict</th>
            </tr>
          </thead>
          <tbody>
            ${claimList.map(
              ({ text, paper, here, why, state }) =>
                html`<tr>
                  <th scope="row">${text}${why === null ? '' : html`<br /><small>${why}</small>`}</th>
                  <td>${paper ?? '–'}</td>
                  <td>${here ?? '–'}</td>
                  <td><span data-state="${state}">${claimWords[state]}</span></td>
                </tr>`,
            )}
          </tbody>
        </table>
      </div>`

const shown = (value: number | string): string =>
  typeof value === 'string' ? value : String(Number(value.toPrecision(5)))

/** A plot's last points as numbers: what it shows, for those to whom nothing is drawn. */
const plotTable = ({ title, x, y, series }: Plot): Html =>
  html`<figure class="plot">
    <figcaption>${title}</figcaption>
    <table>
      <thead>
        <tr>
          <th scope="col">Series</th>
          <th scope="col">${x.label}</th>
          <th scope="col">${y.label}</th>
        </tr>
      </thead>
      <tbody>
        ${series.map(({ name, points }) => {
          const point = points.at(-1)
          if (!point) return ''
          const spread = point.spread ? ` ± ${shown(point.spread)}` : ''
          return html`<tr>
            <th scope="row">${name}</th>
            <td>${shown(point.x)}</td>
            <td>${shown(point.y)}${spread}</td>
          </tr>`
        })}
      </tbody>
    </table>
  </figure>`

const measured = ({ measurement }: PaperPage): Html | string => {
  if (!measurement) return ''
  const { run, at, quick, seeds } = measurement
  return html`<p class="facts">
    Measured <time datetime="${at}">${dayOf(at.slice(0, 10))}</time>,
    ${plural(seeds, 'seed')}${quick ? ', quick form (verdicts need a full run)' : ''}:
    ${run === null ? 'kept in reference/' : html`<a href="/runs/${encodeURIComponent(run)}">${run}</a>`}
  </p>`
}

const runList = ({ recent }: PaperPage): Html | undefined =>
  recent.length === 0
    ? undefined
    : html`<ul>
        ${recent.map(
          ({ id, status }) =>
            html`<li>
              <a href="/runs/${encodeURIComponent(id)}">${id}</a>
              <span data-state="${status}">${status}</span>
            </li>`,
        )}
      </ul>`

const sourceText = ({ source }: PaperPage): Html | null =>
  source &&
  html`<details>
    <summary>${source.path}</summary>
    <pre tabindex="0"><code>${source.text}</code></pre>
  </details>`

const links = ({ arxiv, code }: PaperPage): Html =>
  html`${arxiv === null ? '' : html`<a href="https://arxiv.org/abs/${arxiv}" rel="noreferrer">arXiv ${arxiv}</a>`}
  ${code !== null && /^https?:/.test(code) ? html`<a href="${code}" rel="noreferrer">Authors’ code</a>` : ''}`

/** One paper. */
export const paperPage = (paper: PaperPage): Html => {
  const { id, title, summary, plots, command, similar } = paper
  return html`<article class="paper" data-paper="${id}">
    <h1>${title}</h1>
    ${facts(paper, links(paper))}
    <p class="summary">${summary}</p>
    ${section('claims', 'Claims', html`${measured(paper)} ${claimTable(paper)}`)}
    ${section('plots', 'Measurements', plots.length > 0 && plots.map(plotTable))}
    ${section('run', 'Run it', command && html`<pre><code>${command}</code></pre>`)}
    ${section('source', 'Source', sourceText(paper))} ${section('runs', 'Runs', runList(paper))}
    ${section('similar', 'Similar papers', similar.length > 0 && cards(similar))}
  </article>`
}
