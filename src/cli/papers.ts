/** @file `weft papers`: the catalogue, listed, searched, shown and kept up to date. */
import type { Claim } from '../papers/index.js'
import { inWords, measuredWords, verdictWords } from '../papers/words.js'
import type { CataloguedPaper, PaperState } from '../catalogue/index.js'
import { clip, widthOf, wrap, wrappedTable } from './columns.js'
import { table } from './table.js'
import { action } from './verb.js'
import type { Context, Verb } from './verb.js'
import { maxOf } from '../tensor/numbers.js'

/** An entry as `--json` prints it. */
type Shown = Omit<CataloguedPaper, 'reproduction'> & { reproducible: boolean }

const states: [PaperState, ...PaperState[]] = ['planned', 'works', 'short', 'baseline', 'listed']

const optionsOf = async () => {
  const [{ z }, { flag }] = await Promise.all([import('zod'), import('./options.js')])
  const listing = [{ query: { not: ['sync'] } }]
  const syncing = [{ query: ['sync'] }]
  return z.object({
    family: flag(z.string().optional(), 'only papers of this family', { value: 'NAME', when: listing }),
    state: flag(z.enum(states).optional(), 'only papers in this state', { when: listing }),
    limit: flag(z.number().int().positive().optional(), 'at most so many (all; 10 for a search)', {
      value: 'N',
      when: listing,
    }),
    embedder: flag(z.string().optional(), 'a BERT sentence-embedding checkpoint to search with', {
      value: 'DIR',
      when: [{ query: { not: ['sync', undefined] } }],
    }),
    days: flag(z.number().int().positive().default(2), 'sync: how many days back', {
      value: 'N',
      when: syncing,
    }),
    arxivUrl: flag(z.url().optional(), "sync: arXiv's API", {
      env: 'WEFT_ARXIV_URL',
      value: 'URL',
      when: syncing,
    }),
    dailyUrl: flag(z.url().optional(), 'sync: a daily-papers API', {
      env: 'WEFT_DAILY_PAPERS_URL',
      when: syncing,
      value: 'URL',
    }),
    category: flag(z.array(z.string()).default(['cs.LG', 'cs.CL']), "sync: arXiv's categories", {
      when: syncing,
      value: 'NAMES',
    }),
  })
}
type Options = Awaited<ReturnType<typeof optionsOf>>['_output']

export const papers: Verb = {
  group: 'Research',
  ...action({
    name: 'papers',
    summary: 'list, search and show the papers whose methods Weft has or plans',
    arguments: [
      { name: 'query', summary: "words to search for, a paper's id, or `sync`", optional: true, many: true },
    ],
    examples: [
      'weft papers',
      'weft papers average the weights of several runs      # finds by meaning',
      'weft papers --family merge --state works',
      'weft papers mos      # summary, claims and what was measured here',
      'weft papers sync --days 7      # what is new on arXiv and Hugging Face',
    ],
    options: optionsOf,
    run: async ({ arguments: { query }, options }, context) => {
      const words = (query ?? []) as string[]
      if (words.length === 1 && words[0] === 'sync') return sync(options, context)
      const library = await import('../catalogue/index.js')
      const listed = await library.readListed(context.home)
      const entries = await library.catalogue({ home: context.home, listed })
      const [id] = words
      const one = words.length === 1 && entries.find((entry) => entry.id === id || entry.arxiv === id)
      if (one) return context.result(shown(one), () => page(one, library, widthOf(context.stdout)))
      const found = await select(entries, words.join(' '), options, library)
      context.result(found.map(shown), () => list(found, library, widthOf(context.stdout)))
    },
  }),
}

type Library = typeof import('../catalogue/index.js')

const shown = ({ reproduction, ...entry }: CataloguedPaper): Shown => ({
  ...entry,
  reproducible: reproduction !== undefined,
})

/** With words: those that are nearest in meaning. Without: all but what sync has listed, unless asked for. */
const select = async (
  entries: readonly CataloguedPaper[],
  query: string,
  { family, state, limit, embedder: folder }: Options,
  { openEmbedder, PaperIndex, searchPapers }: Library,
): Promise<CataloguedPaper[]> => {
  const fits = entries.filter(
    (entry) =>
      (!family || entry.family === family) &&
      (state ? entry.state === state : query !== '' || entry.state !== 'listed'),
  )
  if (!query) return fits.slice(0, limit)
  const most = { limit: limit ?? 10 }
  if (folder === undefined) return searchPapers(fits, query, most).map(({ paper }) => paper)
  await using embedder = await openEmbedder(folder)
  return (await new PaperIndex(fits, embedder.embed).searchEmbedded(query, most)).map(({ paper }) => paper)
}

const list = (entries: readonly CataloguedPaper[], { stateWords }: Library, width: number): string => {
  if (entries.length === 0) return 'No paper fits. See all of them: weft papers'
  const wide = width >= 90
  const cells = entries.map((entry) => [
    entry.id,
    entry.date,
    ...(wide ? [entry.family] : []),
    stateWords[entry.state],
  ])
  const head = ['id', 'date', ...(wide ? ['family'] : []), 'state']
  const used = head.reduce(
    (n, title, i) =>
      n +
      2 +
      maxOf(
        cells.map((row) => row[i].length),
        title.length,
      ),
    0,
  )
  const rows = cells.map((row, i) => [...row, clip(entries[i].title, Math.max(width - used, 12))])
  return table([...head, 'title'], rows)
}

const page = (entry: CataloguedPaper, library: Library, width: number): string => {
  const { title, arxiv, code, authors, latest } = entry
  const facts: [string, string][] = [
    ['id', entry.id],
    ['state', library.stateWords[entry.state]],
    ['family', entry.family],
    ['date', entry.date],
    ...(authors === undefined ? [] : [['authors', String(authors)] as [string, string]]),
    ['arXiv', `https://arxiv.org/abs/${arxiv}`],
    ...(code === undefined ? [] : [['code', code] as [string, string]]),
    ...(entry.source === undefined ? [] : [['source', entry.source] as [string, string]]),
    ...(entry.reproduction ? [['reproduce', `weft reproduce ${entry.id}`] as [string, string]] : []),
  ]
  return [
    wrap(title, width).join('\n'),
    facts.map(([name, value]) => `${name.padEnd(9)}  ${value}`).join('\n'),
    wrap(entry.summary, width).join('\n'),
    entry.claims.length ? claimTable(entry.claims, width) : '',
    latest
      ? `Measured ${latest.result.quick ? '(quickly) ' : ''}in ${latest.run}:\n${resultTable(latest.result, width)}`
      : '',
  ]
    .filter(Boolean)
    .join('\n\n')
}

const claimTable = (claims: readonly Claim[], width: number): string =>
  wrappedTable(
    ['the paper claims', 'value', 'where'],
    claims.map((claim) => [
      claim.quantity,
      inWords(claim) ?? (claim.baseline ? `against ${claim.baseline}` : ''),
      claim.condition ?? '',
    ]),
    width,
  )

type Result = NonNullable<CataloguedPaper['latest']>['result']

/** The claims of a reproduction: claim, paper, here, verdict. */
export const resultTable = ({ claims }: Result, width: number): string =>
  wrappedTable(
    ['claim', 'paper', 'here', 'verdict'],
    claims.map((claim) => [
      claim.why && claim.verdict !== 'holds' ? `${claim.text} (${claim.why})` : claim.text,
      claim.paper ?? '',
      measuredWords(claim) ?? '',
      verdictWords[claim.verdict],
    ]),
    width,
  )

const sync = async (options: Options, context: Context): Promise<void> => {
  const { syncPapers } = await import('../catalogue/index.js')
  const { days, arxivUrl, dailyUrl, category } = options
  const { home, signal, progress, info } = context
  const found = await syncPapers(home, {
    ...{ days, arxivUrl, dailyUrl, categories: category },
    ...{ signal, onProgress: progress, onWarning: info },
  })
  context.result(
    found,
    ({ added, known }) =>
      `${added.length} new ${added.length === 1 ? 'paper' : 'papers'}, ${known} known. See them: weft papers --state listed`,
  )
}
