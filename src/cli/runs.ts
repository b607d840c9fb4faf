/** @file `weft runs`: what has been run, compared and cleared away. */
import { UsageError } from '../errors.js'
import type { LeftOut, RunDifference, StoredRun } from '../runs/index.js'
import { clip, widthOf, wrappedTable } from './columns.js'
import { formatTime, short } from './progress.js'
import { table } from './table.js'
import { action } from './verb.js'
import type { Context, Verb } from './verb.js'
import { maxOf } from '../tensor/numbers.js'

const optionsOf = async () => {
  const [{ z }, { common, flag, onlyWhen }] = await Promise.all([import('zod'), import('./options.js')])
  const choosing = [{ words: [undefined, 'prune'] }]
  const pruning = [{ words: ['prune'] }]
  const status = z.enum(['running', 'finished', 'failed', 'cancelled', 'interrupted'])
  return z.object({
    status: flag(z.array(status).optional(), 'only runs in these states', {
      value: 'STATES',
      when: choosing,
    }),
    command: flag(z.string().optional(), 'only runs of this verb', { value: 'VERB', when: choosing }),
    limit: flag(z.number().int().positive().default(20), 'list: at most so many', {
      value: 'N',
      when: [{ words: 'absent' }],
    }),
    before: flag(
      z.string().optional(),
      'prune: only runs begun before this date, or so long ago (30d, 12h)',
      {
        value: 'WHEN',
        when: pruning,
      },
    ),
    keep: flag(z.number().int().nonnegative().optional(), 'prune: the newest of them stay', {
      value: 'N',
      when: pruning,
    }),
    dryRun: onlyWhen(common.dryRun, pruning),
  })
}
type Options = Awaited<ReturnType<typeof optionsOf>>['_output']

export const runs: Verb = {
  group: 'Research',
  ...action({
    name: 'runs',
    summary: 'list, show, compare and prune runs',
    arguments: [{ name: 'words', summary: 'a run; `diff A B`; or `prune`', optional: true, many: true }],
    examples: [
      'weft runs',
      'weft runs latest',
      'weft runs diff 20260131-120000-train-gpt2 latest',
      'weft runs prune --status failed,interrupted --before 30d --dry-run',
    ],
    options: optionsOf,
    run: async ({ arguments: { words: wordList }, options }, context) => {
      const [first, ...rest] = (wordList ?? []) as string[]
      if (first === undefined) return list(options, context)
      if (first === 'diff') return diff(rest, context)
      if (first === 'prune' && rest.length === 0) return prune(options, context)
      if (rest.length === 0) return show(first, context)
      throw new UsageError('BadUsage', `weft runs ${first} takes no ${JSON.stringify(rest[0])}`, {
        hint: 'See: weft runs --help',
      })
    },
  }),
}

/** Names what could not be read. */
const warned =
  ({ info }: Context) =>
  ({ path, reason }: LeftOut): void =>
    info(`${path} was left out: ${reason}`)

const list = async ({ status, command, limit }: Options, context: Context): Promise<void> => {
  const { readRuns } = await import('../runs/index.js')
  const all = (await readRuns(context.home, warned(context))).filter(
    (run) => (!status || status.includes(run.status)) && (!command || run.command === command),
  )
  const page = all.slice(0, limit)
  context.result(page, () =>
    all.length === 0
      ? `No runs in ${context.home}.`
      : rows(page, widthOf(context.stdout)) +
        (all.length > page.length ? `\n${all.length - page.length} more: --limit ${all.length}` : ''),
  )
}

const seconds = ({ started, ended }: StoredRun): number =>
  ((ended === undefined ? Date.now() : Date.parse(ended)) - Date.parse(started)) / 1000

/** What a run that is over took; nothing for one whose end nobody saw. */
const duration = (run: StoredRun): string =>
  run.ended !== undefined || run.status === 'running' ? formatTime(seconds(run)) : ''

const rows = (page: readonly StoredRun[], width: number): string => {
  const room =
    width -
    2 * 2 -
    11 -
    maxOf(
      page.map((run) => duration(run).length),
      4,
    )
  return wrappedTable(
    ['run', 'status', 'time'],
    page.map((run) => [clip(run.id, room), run.status, duration(run)]),
    width,
  )
}

const show = async (name: string, context: Context): Promise<void> => {
  const { artifactsOf, findRun, finalMetrics } = await import('../runs/index.js')
  const run = await findRun(context.home, name)
  const [metrics, artifacts] = await Promise.all([finalMetrics(run.folder), artifactsOf(run.folder)])
  const files = artifacts.map((artifact) => artifact.name)
  context.result({ ...run, metrics, artifacts: files }, () => {
    const facts: [string, string | undefined][] = [
      ['folder', run.folder],
      ['command', ['weft', ...run.argv].join(' ')],
      ['status', run.error ? `${run.status}: ${run.error.message}` : run.status],
      ['started', run.started],
      ['time', duration(run)],
      ['seed', run.seed?.toString()],
      ['commit', run.commit],
      ['machine', run.machine && `${run.machine.cores} x ${run.machine.processor}, ${run.machine.platform}`],
    ]
    return [
      facts.flatMap(([key, value]) => (value ? [`${key.padEnd(8)} ${value}`] : [])).join('\n'),
      Object.keys(metrics).length
        ? table(
            ['metric', 'last value'],
            Object.entries(metrics).map(([key, value]) => [key, short(value)]),
          )
        : '',
      files.length ? `Files: ${files.slice(0, 20).join(', ')}${files.length > 20 ? ', ...' : ''}` : '',
    ]
      .filter(Boolean)
      .join('\n\n')
  })
}

const diff = async (names: readonly string[], context: Context): Promise<void> => {
  if (names.length !== 2)
    throw new UsageError('BadUsage', `weft runs diff compares two runs; ${names.length} were named`)
  const { diffRuns, findRun } = await import('../runs/index.js')
  const [a, b] = await Promise.all(names.map((name) => findRun(context.home, name)))
  context.result(await diffRuns(a, b), (difference) => differences(difference, widthOf(context.stdout)))
}

const say = (value: unknown): string =>
  value === undefined ? '-' : typeof value === 'string' ? value : JSON.stringify(value)

const amount = (value: number | undefined): string => (value === undefined ? '-' : short(value))

const differences = ({ a, b, settings, metrics }: RunDifference, width: number): string =>
  [
    `a: ${a}\nb: ${b}`,
    settings.length
      ? wrappedTable(
          ['setting', 'a', 'b'],
          settings.map((s) => [s.name, say(s.a), say(s.b)]),
          width,
        )
      : 'The settings are the same.',
    metrics.length
      ? wrappedTable(
          ['metric', 'a', 'b', 'b - a'],
          metrics.map((m) => [m.name, amount(m.a), amount(m.b), amount(m.change)]),
          width,
        )
      : 'Neither has metrics.',
  ].join('\n\n')

const units: Record<string, number> = { m: 60e3, h: 3600e3, d: 86_400e3, w: 7 * 86_400e3 }

/** `30d` ago, or a date. Throws UsageError. */
const moment = (text: string): Date => {
  const [, count, unit] = /^(\d+)([mhdw])$/.exec(text) ?? []
  const date = count ? new Date(Date.now() - Number(count) * units[unit]) : new Date(text)
  if (Number.isNaN(date.getTime()))
    throw new UsageError('BadOption', `--before ${text}; expected a date (2026-01-31) or an age (30d, 12h)`)
  return date
}

const prune = async ({ status, command, before, keep, dryRun }: Options, context: Context): Promise<void> => {
  if (!status && !command && before === undefined && keep === undefined)
    throw new UsageError('BadUsage', 'weft runs prune removes nothing unless it is told what', {
      hint: 'Name at least one of --status, --command, --before, --keep; --dry-run shows what would go.',
    })
  const { prunable, removeRun } = await import('../runs/index.js')
  const rules = { status, command, keep, ...(before === undefined ? {} : { before: moment(before) }) }
  const chosen = await prunable(context.home, rules)
  const gone: StoredRun[] = []
  for (const run of chosen) if (dryRun || (await removeRun(run))) gone.push(run)
  const said = `${dryRun ? 'Would remove' : 'Removed'} ${gone.length} ${gone.length === 1 ? 'run' : 'runs'}`
  context.result({ removed: gone.map(({ id }) => id), dryRun }, ({ removed }) =>
    [removed.length ? `${said}:` : `${said}.`, ...removed].join('\n'),
  )
}
