/** @file `weft papers`: the catalogue, listed, searched, shown and kept up to date. */
import type { Claim, Paper, ReproductionResult } from '../papers/index.js'
import { inWords, measuredWords, verdictWords } from '../papers/words.js'
import type { CataloguedPaper, Outcome, PaperState } from '../catalogue/index.js'
import type { LeftOut } from '../runs/index.js'
import { clip, widthOf, wrap, wrappedTable } from './columns.js'
import { table } from './table.js'
import { action } from './verb.js'
import type { Context, Verb } from './verb.js'
import { maxOf } from '../tensor/numbers.js'

/** An entry as `--json` prints it. */
type Shown = Omit<CataloguedPaper, 'reproduction'> & { reproducible: boolean }

const states: [PaperState, ...PaperState[]] = [
  'planned',
  'unmeasured',
  'works',
  'short',
  'baseline',
  'listed',
]

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
      const papers = await chosen(words, options, context)
      const width = widthOf(context.stdout)
      const { stateWords } = await import('../catalogue/catalogue.js')
      if (!Array.isArray(papers)) return context.result(shown(papers), () => page(papers, stateWords, width))
      context.result(papers.map(shown), () => list(papers, stateWords, width))
    },
  }),
}

type StateWords = typeof import('../catalogue/catalogue.js').stateWords

/**
 * The paper that is named, or those that fit. States come last, of the papers that are shown: a state may need the paper's
 * experiment, and of the others only cards are loaded.
 */
const chosen = async (
  words: readonly string[],
  options: Options,
  { home, info }: Context,
): Promise<CataloguedPaper | CataloguedPaper[]> => {
  const [{ catalogueOf, knownPapers }, { readListed }] = await Promise.all([
    import('../catalogue/catalogue.js'),
    import('../catalogue/sync/listed.js'),
  ])
  const leftOut = ({ path, reason }: LeftOut): void => info(`${path} was left out: ${reason}`)
  const sources = { home, listed: await readListed(home, leftOut), leftOut }
  const known = await knownPapers(sources)
  const [id] = words
  const one = words.length === 1 ? known.find((paper) => paper.id === id || paper.arxiv === id) : undefined
  if (one) return (await catalogueOf([one], sources))[0]
  const { family, state } = options
  const query = words.join(' ')
  const kept = known.filter(
    (paper) =>
      (!family || paper.family === family) &&
      (state !== undefined || query !== '' || paper.origin !== 'listed'),
  )
  if (state === undefined) return catalogueOf(await select(kept, query, options), sources)
  const fits = (await catalogueOf(kept, sources)).filter((paper) => paper.state === state)
  return select(fits, query, options)
}

const shown = ({ reproduction, ...entry }: CataloguedPaper): Shown => ({
  ...entry,
  reproducible: reproduction !== undefined,
})

/** At most so many of the papers: with words, those that are nearest in meaning. */
const select = async <T extends Paper>(
  papers: readonly T[],
  query: string,
  { limit, embedder: folder }: Options,
): Promise<T[]> => {
  if (!query) return papers.slice(0, limit)
  const { openEmbedder, PaperIndex, searchPapers } = await import('../catalogue/search/index.js')
  const most = { limit: limit ?? 10 }
  if (folder === undefined) return searchPapers(papers, query, most).map(({ paper }) => paper)
  await using embedder = await openEmbedder(folder)
  return (await new PaperIndex(papers, embedder.embed).searchEmbedded(query, most)).map(({ paper }) => paper)
}

const list = (entries: readonly CataloguedPaper[], stateWords: StateWords, width: number): string => {
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

const page = (entry: CataloguedPaper, stateWords: StateWords, width: number): string => {
  const { title, arxiv, code, authors, latest } = entry
  const facts: [string, string][] = [
    ['id', entry.id],
    ['state', stateWords[entry.state]],
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
    latest ? measured(entry.id, latest, width) : '',
  ]
    .filter(Boolean)
    .join('\n\n')
}

/** What was measured here. A quick run decides no verdict, and none is shown. */
const measured = (id: string, { run = `reference/${id}.json`, result }: Outcome, width: number): string =>
  result.quick
    ? `Measured (quickly) in ${run}; verdicts need a full run:\n${resultTable(result, width, false)}`
    : `Measured in ${run}:\n${resultTable(result, width)}`

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

/** The claims of a reproduction: claim, paper, here and, unless it decides none, verdict. */
export const resultTable = ({ claims }: ReproductionResult, width: number, decides = true): string =>
  wrappedTable(
    ['claim', 'paper', 'here', ...(decides ? ['verdict'] : [])],
    claims.map((claim) => [
      claim.why && claim.verdict !== 'holds' ? `${claim.text} (${claim.why})` : claim.text,
      claim.paper ?? '',
      measuredWords(claim) ?? '',
      ...(decides ? [verdictWords[claim.verdict]] : []),
    ]),
    width,
  )

const sync = async (options: Options, context: Context): Promise<void> => {
  const { syncPapers } = await import('../catalogue/sync/index.js')
  const { days, arxivUrl, dailyUrl, category } = options
  const { home, signal, progress, info } = context
  const news = await syncPapers(home, {
    ...{ days, arxivUrl, dailyUrl, categories: category },
    ...{ signal, onProgress: progress, onWarning: info },
  })
  context.result(
    news,
    ({ added, known }) =>
      `${added.length} new ${added.length === 1 ? 'paper' : 'papers'}, ${known} known. See them: weft papers --state listed`,
  )
}
