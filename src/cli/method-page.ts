/** @file The page of a method, as Markdown: what its card says, when to choose it, its commands, options and claims. */
import type { AdapterMethod } from '../adapt/index.js'
import * as adapt from '../adapt/index.js'
import type { CataloguedPaper } from '../catalogue/index.js'
import { catalogueOf, knownPapers } from '../catalogue/catalogue.js'
import * as merge from '../merge/index.js'
import type { Procedure } from '../merge/index.js'
import { inWords, measuredWords, verdictWords } from '../papers/words.js'
import { methodNames, parameterRows } from './merge-methods.js'
import { flagsOf } from './options.js'

/** A page by the names that it answers to: its file's name first, then those of its methods. */
export interface MethodPage {
  readonly names: readonly string[]
  readonly title: string
  readonly family: string
  /** When to choose it; empty where it has no guide. */
  readonly choose: string
  readonly text: string
}

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ')

const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => '---'), ...rows].map((row) => `| ${row.map(cell).join(' | ')} |`).join('\n')

const commands = (lines: readonly string[]): string => ['```sh', ...lines, '```'].join('\n')

/** The name under which an entry of the package exports a method. */
const exportedAs = (entry: object, method: unknown): string =>
  Object.entries(entry).find(([, exported]) => exported === method)![0]

const adapterUse = (method: AdapterMethod<never>): string[] => {
  const { id } = method.paper
  const shown = flagsOf(method.options).filter(({ hidden }) => !hidden)
  const last = method.folds
    ? `weft fold models/base adapters/${id} --out models/${id}`
    : `weft generate models/base --adapter adapters/${id} --prompt 'Once upon'`
  return [
    '## Use',
    commands([`weft adapt ${id} models/base --data train.jsonl --out adapters/${id}`, last]),
    `In code: \`${exportedAs(adapt, method)}(base, options)\` of \`weft-ml/adapt\`. ` +
      (method.folds
        ? 'It folds into plain weights.'
        : 'It has no plain weights that do the same, and stays beside its base.'),
    `Options of its own and of all adapters (those of the training: \`weft adapt ${id} --help\`):`,
    table(
      ['option', 'says'],
      shown.map(({ flags, description }) => [`\`${flags}\``, description]),
    ),
  ]
}

const parameterTable = (name: string): string[] => {
  const rows = parameterRows(name).map(({ key, description, fallback }) => [
    `\`-p ${key}=\``,
    description,
    fallback === undefined ? '' : `\`${JSON.stringify(fallback)}\``,
  ])
  return rows.length ? [table(['parameter', 'says', 'default'], rows)] : ['It has no parameters.']
}

/** Parameters that nothing decides unless they are given; each model's weight is equal. */
const requiredParameters = ({ perModel, global, unlessGiven, example }: merge.MergeMethod): string[] =>
  Object.entries({ ...perModel, ...global })
    .filter(
      ([key, schema]) => key !== 'weight' && !(key in unlessGiven) && !schema.safeParse(undefined).success,
    )
    .map(([key]) => `-p ${key}=${example?.[key] ?? 0.3}`)

const mergeCommand = (
  { name, base, data, counts }: Pick<Procedure<never>, 'name' | 'base' | 'data' | 'counts'>,
  parameters: readonly string[] = [],
): string => {
  const models = ['a', 'b', 'c'].slice(0, Math.max(counts[0], Math.min(counts[1], 2)))
  return [
    `weft merge --method ${name}`,
    ...models.map((model) => `models/${model}`),
    ...(base === 'none' ? [] : ['--base models/base']),
    ...(data === 'none' ? [] : ['--data train.jsonl']),
    ...parameters,
    `--out models/${name}`,
  ].join(' ')
}

const procedureUse = (procedure: Procedure<never>): string[] => [
  `## \`${procedure.name}\``,
  `${procedure.summary[0].toUpperCase()}${procedure.summary.slice(1)}.`,
  commands([mergeCommand(procedure)]),
  `In code: \`${exportedAs(merge, procedure)}(models, options)\` of \`weft-ml/merge\`.`,
  ...parameterTable(procedure.name),
]

const claims = ({ claims: all }: CataloguedPaper): string[] =>
  all.length === 0
    ? []
    : [
        '## What the paper claims',
        table(
          ['claim', 'value', 'where'],
          all.map((claim) => [
            claim.quantity,
            inWords(claim) ?? (claim.baseline ? `against ${claim.baseline}` : ''),
            claim.condition ?? '',
          ]),
        ),
      ]

/** Measurements of a full run that is kept; else how to make one. */
const measured = ({ id, latest, reproduction }: CataloguedPaper): string[] => {
  if (!reproduction) return []
  const again = `\`weft reproduce ${id}\``
  if (!latest || latest.result.quick)
    return ['## What was measured here', `No full run is kept yet. Measure it: ${again}.`]
  return [
    '## What was measured here',
    table(
      ['claim', 'paper', 'here', 'verdict'],
      latest.result.claims.map((claim) => [
        claim.text,
        claim.paper ?? '',
        measuredWords(claim) ?? '',
        verdictWords[claim.verdict],
      ]),
    ),
    `Again: ${again}.`,
  ]
}

const pageOf = (paper: CataloguedPaper, use: readonly string[]): string => {
  const { id, title, arxiv, code, source, guide, summary } = paper
  const links = [`[arXiv ${arxiv}](https://arxiv.org/abs/${arxiv})`, ...(code ? [`[code](${code})`] : [])]
  const advice = guide
    ? [
        `**When to choose it.** ${guide.choose}`,
        `**When not.** ${guide.avoid}`,
        `**What it costs.** ${guide.costs}`,
      ]
    : []
  const facts = [`\`${id}\``, ...links, ...(source ? [`[source](../../${source})`] : [])].join(' · ')
  const parts = [`# ${title}`, facts, ...advice, summary, ...use, ...claims(paper), ...measured(paper)]
  return `${parts.join('\n\n')}\n`
}

/** The one page of the methods that recipes name. */
const recipePage = (): MethodPage => {
  const { methods } = merge
  const sections = methods.flatMap((method) => [
    `## \`${method.name}\``,
    ...(method.summary ? [`${method.summary[0].toUpperCase()}${method.summary.slice(1)}.`] : []),
    commands([mergeCommand({ ...method, data: 'none' }, requiredParameters(method))]),
    ...parameterTable(method.name),
  ])
  const title = 'Methods that recipes name'
  const intro =
    "Functions of aligned tensors, with mergekit's names and parameters: no data, no training, memory of a block of rows."
  const text = `${[`# ${title}`, intro, ...sections].join('\n\n')}\n`
  const choose =
    'For fine-tunings of one base, when there are no data: a recipe says it all, and anybody may run it again.'
  return { names: ['recipes', ...methodNames.tensor], title, family: 'merge', choose, text }
}

/** The pages of all methods, in the order of the families' lists. */
export const methodPages = async (): Promise<MethodPage[]> => {
  const papers = await catalogueOf((await knownPapers()).filter(({ origin }) => typeof origin === 'object'))
  const page = (id: string, methods: readonly string[], use: readonly string[]): MethodPage => {
    const paper = papers.find((one) => one.id === id)!
    const names = [id, ...methods.filter((name) => name !== id)]
    const { title, family, guide } = paper
    return { names, title, family, choose: guide?.choose ?? '', text: pageOf(paper, use) }
  }
  const ids = [...new Set(merge.procedures.map(({ paper }) => paper.id))]
  return [
    ...adapt.methods.map((method) => page(method.paper.id, [], adapterUse(method))),
    ...ids.map((id) => {
      const procedures = merge.procedures.filter(({ paper }) => paper.id === id)
      return page(
        id,
        procedures.map(({ name }) => name),
        procedures.flatMap(procedureUse),
      )
    }),
    recipePage(),
  ]
}

/** The list of pages, a line each with the first sentence of when to choose the method. */
export const methodIndex = (pages: readonly MethodPage[]): string => {
  const families = [...new Set(pages.map(({ family }) => family))]
  const sections = families.flatMap((family) => [
    `## ${family}`,
    table(
      ['page', 'about', 'choose it'],
      pages
        .filter((page) => page.family === family)
        .map(({ names: [name], title, choose }) => [`[${name}](${name}.md)`, title, choose]),
    ),
  ])
  return `${['# Methods', 'Written from the cards and schemas by `npx tsx scripts/docs.ts`.', ...sections].join('\n\n')}\n`
}
