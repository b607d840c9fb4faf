/** @file `weft adapt compare`: several methods at one budget of trained numbers, and what each gives for its costs. */
import type { OpenOptions } from '../checkpoint/index.js'
import type { DrawnPlot } from '../papers/plot.js'
import type { Run } from '../runs/index.js'
import type { ArmResult } from './compare-arms.js'
import { formatBytes, short } from './progress.js'
import { grouped, table } from './table.js'
import { type Action, action, type Context } from './verb.js'
import { sizeOf } from '../tensor/shape.js'

/** What `weft adapt compare --json` prints. */
export interface AdapterComparison {
  readonly base: string
  /** Numbers that an arm may train. */
  readonly budget: number
  /** Of the base on its own data, where they were given. */
  readonly baseLoss?: number
  /** Best first. */
  readonly arms: readonly ArmResult[]
}

const defaultMethods = ['full', 'lora', 'ia3', 'vera', 'mos', 's2ft']

export const compare: Action = action({
  name: 'compare',
  summary: 'train several methods at one budget of numbers, and compare what they give and cost',
  arguments: [{ name: 'base', summary: 'folder or hub id of the model to adapt', names: 'model' }],
  config: true,
  keepsRun: true,
  examples: [
    'weft adapt compare models/SmolLM2-135M --data train.jsonl --methods full,lora,mos,s2ft --budget 0.5%',
    'weft adapt compare models/SmolLM2-135M --data train.jsonl --base-data old.jsonl --rates 0.0003,0.001',
  ],
  options: async () => {
    const [{ z }, { common, flag }, { trainingOptions }] = await Promise.all([
      import('zod'),
      import('./options.js'),
      import('./training.js'),
    ])
    const { data, out, steps, epochs, schedule, batch, length, evalSplit, evalData } = trainingOptions(2e-4)
    return z.object({
      ...{ data, out },
      methods: flag(z.array(z.string()).default(defaultMethods), 'which methods; full trains all weights', {
        value: 'NAME,...',
      }),
      budget: flag(
        z
          .string()
          .regex(/^\d+(\.\d+)?%?$/, { error: 'expected a number, or a share such as 0.5%' })
          .default('1%'),
        "numbers that each may train: a count, or a share of the base's",
        { value: 'N|SHARE' },
      ),
      rates: flag(z.array(z.number().positive()).default([1e-3]), 'learning rates that each is tried at', {
        value: 'X,...',
      }),
      baseData: flag(z.string().optional(), "the base's own data: what is forgotten of it", {
        value: 'FILE',
        names: 'data',
      }),
      ...{ steps, epochs, schedule, batch, length, evalSplit, evalData },
      seed: common.seed,
      resume: flag(z.boolean().default(false), 'go on: what is trained is not trained again'),
      force: common.force,
      strict: common.strict,
      device: common.device,
      threads: common.threads,
    })
  },
  run: async ({ arguments: { base }, options }, context) => {
    const { recordRun } = await import('../runs/index.js')
    const { out, resume, force, strict, evalData, evalSplit, seed } = options
    if (out === undefined && resume) await refuse('--resume needs the folder of the comparison: --out DIR')
    if (evalData !== undefined && evalSplit !== undefined)
      await refuse('--eval-data and --eval-split exclude each other')
    const plan = await planned(base, options, { strict, onWarning: context.info })
    const { out: _out, resume: _resume, force: _force, strict: _strict, ...config } = options
    const start = { command: 'adapt', subject: 'compare', config: { base, ...config }, seed }
    const work = (run: Run): Promise<AdapterComparison> => compareInto(run, base, plan, options, context)
    const result = await recordRun(
      context.home,
      { ...start, folder: out, resume, replace: force && !resume },
      work,
      {
        signal: context.signal,
      },
    )
    context.result(result, page)
  },
})

const refuse = async (message: string): Promise<never> => {
  const { UsageError } = await import('../errors.js')
  throw new UsageError('BadUsage', message)
}

type Planned = Awaited<ReturnType<typeof planned>>

/** The budget in numbers and every arm, before anything is trained. */
const planned = async (
  folder: string,
  { budget: text, methods: names, rates }: { budget: string; methods: string[]; rates: number[] },
  opening: OpenOptions,
) => {
  const [{ open }, { openModel }, { armsOf }] = await Promise.all([
    import('../checkpoint/index.js'),
    import('../models/index.js'),
    import('./compare-arms.js'),
  ])
  await using checkpoint = await open(folder, opening)
  const base = await openModel(checkpoint)
  const numbers = base.architecture
    .table(base.config)
    .filter(({ tied, kind }) => tied === undefined && kind !== 'buffer')
    .reduce((sum, { shape }) => sum + sizeOf(shape), 0)
  const budget = text.endsWith('%') ? Math.floor((numbers * Number(text.slice(0, -1))) / 100) : Number(text)
  return { budget, arms: await armsOf(base, { names, budget, rates }) }
}

/** Options of the verb, as far as its arms are trained with them. */
interface CompareOptions {
  readonly data: string
  readonly baseData?: string
  readonly steps?: number
  readonly epochs: number
  readonly schedule: string
  readonly batch: number
  readonly length?: number
  readonly evalSplit?: number
  readonly evalData?: string
  readonly seed: number
  readonly resume: boolean
  readonly device: string
  readonly threads?: number
}

/** Flags that every arm is trained with. Without a word on evaluation a tenth of the data is held out. */
const flagsOf = (options: CompareOptions): string[] => {
  const { data, steps, epochs, schedule, batch, length, seed, device, threads, evalData } = options
  const evalSplit = evalData === undefined ? (options.evalSplit ?? 0.1) : undefined
  const shared = { data, steps, epochs, schedule, batch, length, seed, device, threads, evalData, evalSplit }
  return Object.entries(shared).flatMap(([key, value]) =>
    value === undefined ? [] : [`--${key.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`, String(value)],
  )
}

const lossOf = async (base: string, data: string, { signal }: Context): Promise<number> => {
  const { weftChild } = await import('./child.js')
  return ((await weftChild(['eval', base, '--data', data], { signal })) as { loss: number }).loss
}

const compareInto = async (
  run: Run,
  base: string,
  { budget, arms }: Planned,
  options: CompareOptions,
  context: Context,
): Promise<AdapterComparison> => {
  const { runArm } = await import('./compare-arms.js')
  const { baseData, resume } = options
  const { progress } = context
  const flags = flagsOf(options)
  const baseLoss = baseData === undefined ? undefined : await lossOf(base, baseData, context)
  const results: ArmResult[] = []
  for (const arm of arms) {
    const armFlags = { base, out: run.folder, flags, baseData, baseLoss, resume }
    const result = await runArm(arm, armFlags, context)
    if (result.error !== undefined) context.info(`${arm.name}: ${result.error}`)
    results.push(result)
    for (const { step, loss } of result.curve) run.log({ loss }, { step, series: arm.name })
    progress({
      status: 'progress_total',
      name: 'compare',
      done: results.length,
      total: arms.length,
      unit: 'arms',
    })
  }
  const best = [...results].sort((a, b) => (a.loss ?? Infinity) - (b.loss ?? Infinity))
  await run.artifact('plots.json', JSON.stringify(plotsOf(best)))
  return { base, budget, ...(baseLoss === undefined ? {} : { baseLoss }), arms: best.map(withoutCurve) }
}

/** A curve is in the metrics already. */
const withoutCurve = (arm: ArmResult): ArmResult => ({ ...arm, curve: [] })

/** What a practitioner looks at: curves, score against size, and the costs. */
const plotsOf = (arms: readonly ArmResult[]): DrawnPlot[] => {
  const trained = arms.filter(({ error }) => error === undefined)
  const front = (y: 'loss' | 'forgetting', title: string, label: string): DrawnPlot => ({
    kind: 'pareto',
    title,
    x: { label: 'trained numbers', log: true },
    y: { label },
    series: trained.flatMap(({ name, parameters, [y]: value }) =>
      value === undefined ? [] : [{ name, points: [{ x: parameters, y: value }] }],
    ),
  })
  const bars = (y: 'stepSeconds' | 'peakMemory', title: string, label: string, scale: number): DrawnPlot => ({
    kind: 'bars',
    title,
    x: { label: 'method' },
    y: { label },
    series: [
      {
        name: label,
        points: trained.flatMap(({ name, [y]: value }) =>
          value === undefined ? [] : [{ x: name, y: value * scale }],
        ),
      },
    ],
  })
  const plots: DrawnPlot[] = [
    front('loss', 'Held-out loss by trained numbers', 'held-out loss'),
    front('forgetting', "Loss gained on the base's own data by trained numbers", 'forgetting'),
    bars('stepSeconds', 'Time of a step', 'milliseconds', 1000),
    bars('peakMemory', 'Peak memory', 'MB', 1e-6),
  ]
  return plots.filter(({ series }) => series.some(({ points }) => points.length > 0))
}

const page = ({ base, budget, baseLoss, arms }: AdapterComparison): string => {
  const known = (key: keyof ArmResult): boolean => arms.some((arm) => arm[key] !== undefined)
  const columns: [string, (arm: ArmResult) => string][] = [
    ['method', ({ name }) => name],
    ['trained', ({ parameters }) => grouped(parameters)],
    ['loss', ({ loss }) => (loss === undefined ? '' : short(loss))],
    ['accuracy', ({ accuracy }) => (accuracy === undefined ? '' : `${(100 * accuracy).toFixed(1)} %`)],
    ['forgetting', ({ forgetting }) => (forgetting === undefined ? '' : short(forgetting))],
    ['step', ({ stepSeconds }) => (stepSeconds === undefined ? '' : `${short(1000 * stepSeconds)} ms`)],
    ['memory', ({ peakMemory }) => (peakMemory === undefined ? '' : formatBytes(peakMemory))],
  ]
  const optional: Readonly<Record<string, keyof ArmResult>> = {
    accuracy: 'accuracy',
    forgetting: 'forgetting',
  }
  const shown = columns.filter(([name]) => !(name in optional) || known(optional[name]))
  const trained = arms.filter(({ error }) => error === undefined)
  const failed = arms.filter(({ error }) => error !== undefined)
  return [
    `${base}, at most ${grouped(budget)} trained numbers each${baseLoss === undefined ? '' : `; loss on its own data ${short(baseLoss)}`}`,
    '',
    table(
      shown.map(([name]) => name),
      trained.map((arm) => shown.map(([, text]) => text(arm))),
    ),
    ...failed.map(({ name, error }) => `${name} was left out: ${error}`),
  ].join('\n')
}
