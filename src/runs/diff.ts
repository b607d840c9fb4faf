/** @file What differs between runs. */
import { finalMetrics } from './metrics.js'
import type { StoredRun } from './read.js'
import type { Json } from './run.js'

/** A setting that two runs have differently; undefined where a run lacks it. */
export interface SettingDifference {
  readonly name: string
  readonly a?: Json
  readonly b?: Json
}

/** The last value of a metric in each of two runs. */
export interface MetricDifference {
  readonly name: string
  readonly a?: number
  readonly b?: number
  /** b - a, where both have it. */
  readonly change?: number
}

/** Two runs side by side. */
export interface RunDifference {
  readonly a: string
  readonly b: string
  readonly settings: SettingDifference[]
  readonly metrics: MetricDifference[]
}

/** `{ a: { b: 1 } }` -> `a.b: 1`; lists are values. */
const flat = (value: Json, name = ''): [string, Json][] =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? Object.entries(value).flatMap(([key, inner]) => flat(inner, name ? `${name}.${key}` : key))
    : [[name, value]]

const settingsOf = (run: StoredRun): Map<string, Json> =>
  new Map([
    ['command', run.command],
    ...(run.subject === undefined ? [] : [['subject', run.subject] as [string, Json]]),
    ...(run.seed === undefined ? [] : [['seed', run.seed] as [string, Json]]),
    ...(run.commit === undefined ? [] : [['commit', run.commit] as [string, Json]]),
    ...Object.entries(run.versions).map(([name, v]): [string, Json] => [`version of ${name}`, v]),
    ...flat(run.config),
  ])

const union = <T>(a: Iterable<T>, b: Iterable<T>): T[] => [...new Set([...a, ...b])]

/** The settings in which two runs differ, and their final metrics. */
export const diffRuns = async (a: StoredRun, b: StoredRun): Promise<RunDifference> => {
  const left = settingsOf(a)
  const right = settingsOf(b)
  const settings = union(left.keys(), right.keys())
    .filter((name) => JSON.stringify(left.get(name)) !== JSON.stringify(right.get(name)))
    .map((name) => ({ name, a: left.get(name), b: right.get(name) }))
  const [first, second] = await Promise.all([finalMetrics(a.folder), finalMetrics(b.folder)])
  const metrics = union(Object.keys(first), Object.keys(second))
    .sort()
    .map((name): MetricDifference => {
      const pair = { name, a: first[name], b: second[name] }
      return name in first && name in second ? { ...pair, change: second[name] - first[name] } : pair
    })
  return { a: a.id, b: b.id, settings, metrics }
}
