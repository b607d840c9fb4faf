/** @file What every page has around its content. */
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { html, raw } from 'hono/html'
import type { LeftOutSummary } from '../api.js'

/** HTML, escaped where it was not written by us. */
export type Html = ReturnType<typeof html>

/** What the script of a page is told about where it runs. */
export type PageName = 'papers' | 'paper' | 'runs' | 'run' | 'compare' | 'playground' | 'subscribe' | 'notice'

export interface Page {
  name: PageName
  title: string
  content: Html
  /** What the page begins with; see api.ts. */
  data?: unknown
}

/** Script and styles of the build. */
interface Assets {
  script?: string
  styles: string[]
}

interface Chunk {
  file: string
  isEntry?: boolean
  css?: string[]
}

let read: { path: string; modified: number; assets: Assets } | undefined

/** What Vite's manifest in `folder` says to load; nothing where the page has not been built. */
const assetsIn = async (folder: string): Promise<Assets> => {
  const path = join(folder, '.vite', 'manifest.json')
  const modified = (await stat(path).catch(() => undefined))?.mtimeMs
  if (modified === undefined) return { styles: [] }
  if (read?.path === path && read.modified === modified) return read.assets
  const manifest = JSON.parse(await readFile(path, 'utf8')) as Record<string, Chunk>
  const entry = Object.values(manifest).find(({ isEntry }) => isEntry)
  const assets = { script: entry?.file, styles: entry?.css ?? [] }
  read = { path, modified, assets }
  return assets
}

const links: [PageName, string, string][] = [
  ['papers', '/', 'Papers'],
  ['runs', '/runs', 'Runs'],
  ['playground', '/playground', 'Playground'],
  ['subscribe', '/subscribe', 'Subscribe'],
]

const sections: Partial<Record<PageName, PageName>> = { paper: 'papers', run: 'runs', compare: 'runs' }

const navigation = (name: PageName): Html[] =>
  links.map(([page, path, label]) => {
    const current =
      page === name ? html` aria-current="page"` : page === sections[name] ? html` aria-current="true"` : ''
    return html`<li><a href="${path}" ${current}>${label}</a></li>`
  })

/** JSON that may stand in a script element. */
const island = (data: unknown): string =>
  JSON.stringify(data).replace(
    /[<\u2028\u2029]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )

/** What a page needs of the lab that shows it. */
export interface Surroundings {
  /** Holds the build. */
  readonly folder: string
  /** What the page's script changes things with. */
  readonly token: string
  /** What the lab could not use. */
  readonly leftOut: LeftOutSummary
}

/** Names what was found and could not be used. */
const banner = ({ total, first }: LeftOutSummary): Html | string =>
  total === 0
    ? ''
    : html`<aside class="left-out" aria-label="Left out">
        <details>
          <summary>
            ${total === 1 ? 'One thing was' : `${total} things were`} left out: ${first[0].path}
          </summary>
          <ul>
            ${first.map(({ path, reason }) => html`<li><code>${path}</code> ${reason}</li>`)}
            ${total > first.length ? html`<li>and ${total - first.length} more</li>` : ''}
          </ul>
        </details>
      </aside>`

/** The whole page. */
export const layout = async (page: Page, { folder, token, leftOut }: Surroundings): Promise<string> => {
  const { script, styles } = await assetsIn(folder)
  const { name, title, content, data } = page
  return String(
    await html`<!doctype html>
      <html lang="en">
        <head>
          <meta charset="utf-8" />
          <meta name="viewport" content="width=device-width, initial-scale=1" />
          <meta name="color-scheme" content="light dark" />
          <meta name="weft-token" content="${token}" />
          <title>${title === '' ? '' : `${title} · `}Weft lab</title>
          <link rel="icon" href="/favicon.svg" type="image/svg+xml" />
          <link rel="alternate" type="application/atom+xml" title="New papers" href="/feed.atom" />
          <link rel="alternate" type="application/feed+json" title="New papers" href="/feed.json" />
          ${styles.map((file) => html`<link rel="stylesheet" href="/${file}" />`)}
          ${script === undefined ? '' : html`<script type="module" src="/${script}"></script>`}
        </head>
        <body>
          <a class="skip" href="#app">Skip to content</a>
          <header class="top">
            <a class="brand" href="/">Weft lab</a>
            <nav aria-label="Main">
              <ul>
                ${navigation(name)}
              </ul>
            </nav>
          </header>
          ${banner(leftOut)}
          <main id="app" data-page="${name}" tabindex="-1">${content}</main>
          <footer class="bottom"><a href="/feed.atom">Atom</a> <a href="/feed.json">JSON feed</a></footer>
          ${
            data === undefined
              ? ''
              : html`<script type="application/json" id="data">
                  ${raw(island(data))}
                </script>`
          }
        </body>
      </html>`,
  )
}
