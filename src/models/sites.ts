/** @file Where an adapter can stand: the modules of a model. */
import { UsageError } from '../errors.js'
import { type AxisGroup, outputAxis, runsAlong, type UnitRun, type WeightSpec } from './architecture.js'
import { architectures } from './architectures.js'
import type { Model } from './model.js'
import { isResidual } from './specs.js'

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
  /** Outputs of each logical matrix of a fused weight, in order; absent where the weight is one. */
  readonly parts?: readonly number[]
  /** How many heads an attention module's keys have. */
  readonly heads?: number
  /** Units of its inputs (heads, hidden channels), where they are not the residual stream's. */
  readonly inputUnits?: AxisGroup
  /** The same of its outputs: where they lie, in one run or one for each part of a fused weight. */
  readonly outputUnits?: { readonly group: string; readonly runs: readonly UnitRun[] }
}

/** The units along the axes of a weight. */
const unitsOf = (spec: WeightSpec): Pick<Site, 'inputUnits' | 'outputUnits'> => {
  const along = (axis: number): AxisGroup | undefined =>
    isResidual(spec.axes[axis]) ? undefined : spec.axes[axis]
  const axis = outputAxis(spec)
  const inputs = along(1 - axis)
  const outputs = along(axis)
  return {
    ...(inputs && { inputUnits: inputs }),
    ...(outputs && { outputUnits: { group: outputs.group, runs: runsAlong(spec, axis) } }),
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
    if (block !== undefined && kind === 'norm' && isResidual(axes[0])) widths.set(block, shape[0])
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
        ...(spec.parts && { parts: spec.parts.map(({ size }) => size) }),
        ...(kind === 'linear' && unitsOf(spec)),
      },
    ]
  })
}
