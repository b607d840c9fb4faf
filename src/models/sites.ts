/** @file Where an adapter can stand: the modules of a model, and which of them its targets name. */
import { nearest, UsageError, WeftError } from '../errors.js'
import type { AxisGroup, WeightSpec } from './architecture.js'
import { architectures } from './architectures.js'
import type { Model } from './model.js'

/** A module: one with a weight, an attention module as `attend` names it, or a whole block. */
export interface Site {
  /** Full name: 'model.layers.0.self_attn.q_proj'. */
  readonly name: string
  readonly kind: 'linear' | 'embedding' | 'norm' | 'attention' | 'block'
  /** Width of what comes in; of an embedding the number of rows. Of an attention module both are the width of its keys. */
  readonly in: number
  readonly out: number
  /** The weight is stored [in, out]: GPT-2's Conv1D, and every embedding. */
  readonly transposed: boolean
  /** Whether the model has a bias there. */
  readonly bias: boolean
  /** How many heads an attention module's keys have. */
  readonly heads?: number
  /** Units of its inputs (heads, hidden channels), where they are not the residual stream's. */
  readonly inputUnits?: AxisGroup
  /** The same of its outputs; a fused weight has every unit in each of `parts` equal parts. */
  readonly outputUnits?: AxisGroup & { readonly parts: number }
}

/** The units along the axes of a weight. */
const unitsOf = (
  { axes, parts }: WeightSpec,
  transposed: boolean,
): Pick<Site, 'inputUnits' | 'outputUnits'> => {
  const [outputs, inputs] = (transposed ? [axes[1], axes[0]] : axes).map((axis) =>
    axis?.group === 'residual' ? undefined : axis,
  )
  return {
    ...(inputs && { inputUnits: inputs }),
    ...(outputs && { outputUnits: { ...outputs, parts: parts?.length ?? 1 } }),
  }
}

/** Throws UsageError for a rank (or another inner width, as `what` calls it) that the weight of `site` cannot have. */
export const requireRank = (
  method: string,
  rank: number,
  { name, in: width, out }: Site,
  { what = 'rank', hint = '' }: { readonly what?: string; readonly hint?: string } = {},
): void => {
  const highest = Math.min(width, out)
  if (rank <= highest) return
  throw new UsageError(
    'RankTooHigh',
    `${method}: ${what} ${rank} at ${name}, whose weight is ${out} x ${width}`,
    {
      hint: `The highest there is: ${highest}.${hint && ` ${hint}`}`,
    },
  )
}

/** Modules at which an adapter stands, in PEFT's terms. */
export interface Targets {
  /**
   * Names or dotted suffixes (a list, or one text with commas); or one regular expression for the whole name; or
   * 'all-linear'. Default: the architecture's.
   */
  readonly targets?: string | readonly string[]
  /** Modules left out, written as `targets` are. */
  readonly exclude?: string | readonly string[]
  /** Only in layers of these numbers. */
  readonly layers?: readonly number[]
  /** The name before the layer's number ('layers', 'h'). Default any. */
  readonly layersPattern?: string
}

/**
 * The modules that make a model's output, whichever architecture it has: 'all-linear' leaves them out, and a classifier
 * trains them whole. The last two are those of tasks that no architecture here has.
 */
export const heads: ReadonlySet<string> = new Set([
  ...architectures.flatMap((architecture) => architecture.heads ?? []),
  'score',
  'qa_outputs',
])

const attentionSites = ({ architecture, config }: Model): Site[] =>
  (architecture.attention?.(config) ?? architecture.cache?.(config) ?? []).map(({ module, heads, size }) => ({
    name: module,
    kind: 'attention',
    in: heads * size,
    out: heads * size,
    heads,
    transposed: false,
    bias: false,
  }))

/** Modules that are numbered and have norms of the residual stream, as wide as these. */
const blockSites = ({ architecture, config }: Model): Site[] => {
  const widths = new Map<string, number>()
  for (const { name, kind, axes, shape } of architecture.table(config)) {
    const block = /^.*?\.\d+(?=\.)/.exec(name)?.[0]
    if (block !== undefined && kind === 'norm' && axes[0]?.group === 'residual') widths.set(block, shape[0])
  }
  return [...widths].map(([name, width]) => ({
    name,
    kind: 'block',
    in: width,
    out: width,
    transposed: false,
    bias: false,
  }))
}

/** The modules of `model` of these kinds: attention modules, blocks, and those with a weight in the order of its table. */
export const sitesOf = (model: Model, kinds: readonly Site['kind'][]): Site[] => [
  ...(kinds.includes('attention') ? attentionSites(model) : []),
  ...(kinds.includes('block') ? blockSites(model) : []),
  ...weightSites(model, kinds),
]

const weightSites = (model: Model, kinds: readonly Site['kind'][]): Site[] => {
  const table = model.architecture.table(model.config)
  const biases = new Set(table.map(({ name }) => name).filter((name) => name.endsWith('.bias')))
  return table.flatMap((spec): Site[] => {
    const { name, kind, shape, layout } = spec
    const rank = kind === 'norm' ? 1 : 2
    if (!kinds.includes(kind as Site['kind']) || !name.endsWith('.weight') || shape.length !== rank) return []
    const transposed = kind === 'embedding' || layout === 'in-out'
    const [rows, columns = rows] = shape
    const module = name.slice(0, -'.weight'.length)
    return [
      {
        name: module,
        kind: kind as Site['kind'],
        in: transposed ? rows : columns,
        out: transposed ? columns : rows,
        transposed,
        bias: biases.has(`${module}.bias`),
        ...(kind === 'linear' && unitsOf(spec, transposed)),
      },
    ]
  })
}

/** Throws UsageError when `pattern` is no regular expression. */
export const fullMatch = (pattern: string): ((name: string) => boolean) => {
  try {
    const expression = new RegExp(`^(?:${pattern})$`)
    return (name) => expression.test(name)
  } catch (cause) {
    throw new UsageError('BadPattern', `'${pattern}' is no regular expression: ${(cause as Error).message}`)
  }
}

const named = (target: string) => (name: string) => name === target || name.endsWith(`.${target}`)

/** Targets as a list of names where they are names, else the regular expression. */
export const listed = (targets: string | readonly string[]): string | readonly string[] =>
  typeof targets === 'string' && targets !== 'all-linear' && /^[\w.]+(,\s*[\w.]+)*$/.test(targets)
    ? targets.split(/,\s*/)
    : targets

/** Whether a name is among these targets. Throws UsageError for a text that is no regular expression. */
export const matcher = (targets: string | readonly string[]): ((name: string) => boolean) => {
  const names = listed(targets)
  if (typeof names === 'string') return fullMatch(names)
  const each = names.map(named)
  return (name) => each.some((matches) => matches(name))
}

/** The number of the layer that a module is in, as PEFT finds it. */
const layerOf = (name: string, pattern?: string): number | undefined => {
  const found = new RegExp(`(?:^|.*\\.)${pattern ?? '[^.]*'}\\.(\\d+)\\.`).exec(name)
  return found ? Number(found[1]) : undefined
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

/**
 * The sites that `options` name. Throws UsageError `NoSuchModule` for a target that matches none (each of a list must
 * match), and `NoTarget` when the architecture has no default.
 */
export const targetSites = (
  method: string,
  model: Model,
  kinds: readonly Site['kind'][],
  { targets, exclude, layers, layersPattern }: Targets,
): Site[] => {
  const all = sitesOf(model, kinds)
  const wanted = listed(targets ?? model.architecture.targets?.usual ?? 'all-linear')
  const isWanted =
    wanted === 'all-linear'
      ? (name: string) => all.some((s) => s.name === name && s.kind === 'linear') && !heads.has(name)
      : matcher(wanted)
  const names = all.map(({ name }) => name)
  const fail = (target: string): never => {
    throw noSuchModule(method, model, `${kinds.join(' or ')} module`, target, names)
  }
  if (typeof wanted !== 'string') for (const target of wanted) if (!names.some(named(target))) fail(target)
  if (!names.some(isWanted)) fail(String(wanted))
  const isExcluded = exclude === undefined || exclude.length === 0 ? () => false : matcher(exclude)
  const inLayers = (name: string): boolean => {
    const layer = layers && layerOf(name, layersPattern)
    return layers === undefined || (layer !== undefined && layers.includes(layer))
  }
  const chosen = all.filter(({ name }) => isWanted(name) && !isExcluded(name) && inLayers(name))
  if (chosen.length === 0)
    throw new UsageError(
      'NoTarget',
      `${method}: exclude and layers leave none of the ${names.filter(isWanted).length} modules that the targets match`,
      layers && { hint: `The layers asked for: ${layers.join(', ')}.` },
    )
  return chosen
}
