/** @file Which modules of a model an adapter's targets name, in PEFT's terms. */
import { nearest, UsageError, type WeftError } from '../errors.js'
import { pythonPattern } from '../text/python-pattern.js'
import type { Model } from './model.js'
import { heads, type Site, sitesOf } from './sites.js'

/** Modules at which an adapter stands, in PEFT's terms. */
export interface Targets {
  /**
   * Names or dotted suffixes (a list, or one text with commas); or one regular expression of Python's for the whole name;
   * or 'all-linear'. Default: the architecture's.
   */
  readonly targets?: string | readonly string[]
  /** Modules left out, written as `targets` are. */
  readonly exclude?: string | readonly string[]
  /** Numbers of the layers that are adapted. Default: all. */
  readonly layers?: readonly number[]
  /** Names before the layer's number ('layers', 'h'), as regular expressions. Default: any. */
  readonly layersPattern?: string | readonly string[]
}

/** What is done about a name that matches nothing, where others of its list do. */
export type OnUnmatched = (error: WeftError) => void

/** The word for every linear module but the heads. */
export const allLinear = 'all-linear'

const endsWith = (target: string) => (name: string) => name === target || name.endsWith(`.${target}`)

/** Targets as a list of names where they are names, else the regular expression. */
export const listed = (targets: string | readonly string[]): string | readonly string[] =>
  typeof targets === 'string' && targets !== allLinear && /^[\w.]+(,\s*[\w.]+)*$/.test(targets)
    ? targets.split(/,\s*/)
    : targets

/** The test for names among these targets. Throws UsageError `BadPattern` for a text that is no regular expression. */
export const matcher = (targets: string | readonly string[]): ((name: string) => boolean) => {
  const names = listed(targets)
  if (typeof names === 'string') return pythonPattern(names)
  const each = names.map(endsWith)
  return (name) => each.some((matches) => matches(name))
}

/**
 * The number of the layer that a module is in: the first numbered part of its name behind what the first of `patterns` that
 * matches anywhere names.
 */
const layerOf = (name: string, patterns: readonly ((path: string) => boolean)[]): number | undefined => {
  const numbered = [...name.matchAll(/(?<=\.)\d+(?=\.)/g)]
  for (const matches of patterns)
    for (const { 0: number, index } of numbered) if (matches(name.slice(0, index - 1))) return Number(number)
  return undefined
}

/** The test for names in the layers asked for. */
export const inLayers = ({ layers, layersPattern = [] }: Targets): ((name: string) => boolean) => {
  if (layers === undefined || layers.length === 0) return () => true
  const names = [layersPattern].flat()
  const patterns = (names.length ? names : ['[^.]*']).map((name) => pythonPattern(`.*?\\.${name}`))
  return (name) => {
    const layer = layerOf(name, patterns)
    return layer !== undefined && layers.includes(layer)
  }
}

/** 'q_proj (30 layers)' for each of the last parts of names that are nearest to `target`. */
const nearestModules = (target: string, names: readonly string[]): string => {
  const counts = new Map<string, number>()
  for (const name of names) {
    const last = name.slice(name.lastIndexOf('.') + 1)
    counts.set(last, (counts.get(last) ?? 0) + 1)
  }
  const shown = nearest(target, counts.keys()).map((last) => {
    const count = counts.get(last)!
    return count === 1 ? last : `${last} (${count} layers)`
  })
  return shown.join(', ')
}

/** The error of a target that names nothing. */
export const noSuchModule = (
  method: string,
  model: Model,
  what: string,
  target: string,
  names: readonly string[],
): WeftError =>
  new UsageError(
    'NoSuchModule',
    `${method}: no ${what} matches target "${target}" in ${model.checkpoint.folder}.`,
    {
      hint: `Nearest: ${nearestModules(target, names) || 'there is none'}. List them all: weft inspect ${model.checkpoint.folder} --modules`,
    },
  )

/** The test for the modules wanted. Throws UsageError `NoSuchModule` where none is; an entry that names none is `unmatched`. */
const wantedAmong = (
  sites: readonly Site[],
  wanted: string | readonly string[],
  noSuch: (target: string) => WeftError,
  unmatched: OnUnmatched,
): ((name: string) => boolean) => {
  const linear = new Set(sites.filter(({ kind }) => kind === 'linear').map(({ name }) => name))
  const isWanted =
    wanted === allLinear ? (name: string) => linear.has(name) && !heads.has(name) : matcher(wanted)
  const names = sites.map(({ name }) => name)
  const lost = typeof wanted === 'string' ? [] : wanted.filter((target) => !names.some(endsWith(target)))
  if (!names.some(isWanted)) throw noSuch(lost[0] ?? String(wanted))
  for (const target of lost) unmatched(noSuch(target))
  return isWanted
}

/**
 * The sites that `options` name, in the model's order. Throws UsageError `NoSuchModule` for targets that match none, for an
 * entry of a list that matches none (but where `unmatched` is given: it is told), and `NoTarget` where nothing is left of
 * what they match.
 */
export const targetSites = (
  method: string,
  model: Model,
  kinds: readonly Site['kind'][],
  options: Targets,
  unmatched: OnUnmatched = (error) => {
    throw error
  },
): Site[] => {
  const { targets, exclude, layers } = options
  const sites = sitesOf(model, kinds)
  const names = sites.map(({ name }) => name)
  // Of an architecture's variants none has all the names.
  const usual = model.architecture.targets?.usual?.filter((target) => names.some(endsWith(target)))
  const wanted = listed(targets ?? (usual?.length ? usual : allLinear))
  const noSuch = (target: string): WeftError =>
    noSuchModule(method, model, `${kinds.join(' or ')} module`, target, names)
  const isWanted = wantedAmong(sites, wanted, noSuch, unmatched)
  const isExcluded = exclude === undefined || exclude.length === 0 ? () => false : matcher(exclude)
  const isInLayers = inLayers(options)
  const chosen = sites.filter(({ name }) => isWanted(name) && !isExcluded(name) && isInLayers(name))
  if (chosen.length > 0) return chosen
  throw new UsageError(
    'NoTarget',
    `${method}: exclude and layers leave none of the ${names.filter(isWanted).length} modules that the targets match`,
    layers && { hint: `The layers asked for: ${layers.join(', ')}.` },
  )
}
