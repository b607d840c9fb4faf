/**
 * @file LoRA at parameters that hold all experts of a layer (PEFT's `target_parameters`; what it makes of adapters for
 * Mixtral under Transformers 5), read as LoRA at each expert's own modules. Of E experts A: [E r, in] has expert e's rows
 * together, B: [out, r E] every E-th column, and `out` runs over the modules that the parameter holds, one behind the other.
 */
import type { Adapter, JsonObject } from '../../checkpoint/index.js'
import { adapterPrefix, encode, layOut, openBytes } from '../../checkpoint/web.js'
import { CheckpointError } from '../../errors.js'
import type { FusedParameter, Model } from '../../models/index.js'
import { sameShape, type Shape, value, type Value } from '../../tensor/index.js'
import { byPattern } from '../core/patterns.js'
import { says, unsupported } from '../core/peft-table.js'

/** A targeted parameter, and what its adapter's tensors begin with in the file. */
interface Target extends FusedParameter {
  readonly prefix: string
  readonly rank: number
  readonly alpha: number
}

const moduleOf = (parameter: string): string => parameter.slice(0, parameter.lastIndexOf('.'))

/** The parameters that the config targets. PEFT wraps a module once for each, the first innermost. */
const targetsIn = (base: Model, config: JsonObject): Target[] => {
  const wanted = config.target_parameters as string[]
  const fused = base.architecture.fused?.(base.config) ?? []
  const isWanted = ({ name }: FusedParameter): boolean =>
    wanted.some((target) => name === target || name.endsWith(`.${target}`))
  const targeted = fused.filter(isWanted)
  for (const target of wanted)
    if (!targeted.some(({ name }) => name === target || name.endsWith(`.${target}`)))
      throw unsupported(
        'lora',
        'target_parameters',
        config.target_parameters,
        `Known in this model: ${[...new Set(fused.map(({ name }) => name.replace(/^.*\.\d+\./, '')))].join(', ') || 'none'}.`,
      )
  const numbers = (key: string, otherwise: number): number =>
    typeof config[key] === 'number' ? config[key] : otherwise
  const pattern = (key: string, name: string): number | undefined =>
    byPattern((config[key] ?? {}) as Record<string, number>, name)
  return targeted.map((parameter) => {
    const { name } = parameter
    const later = targeted.filter((other) => moduleOf(other.name) === moduleOf(name))
    const depth = later.length - 1 - later.indexOf(parameter)
    return {
      ...parameter,
      prefix: `${adapterPrefix}${moduleOf(name)}${'.base_layer'.repeat(depth)}`,
      rank: pattern('rank_pattern', name) ?? numbers('r', 8),
      alpha: pattern('alpha_pattern', name) ?? numbers('lora_alpha', 8),
    }
  })
}

/** Rows `start` to `end` of a matrix. */
const rows = ({ data, shape: [, width] }: Value, start: number, end: number): Value =>
  value(data.slice(start * width, end * width), [end - start, width], 'float32')

/** The columns expert, expert + E, ... of rows `start` to `end`: [end - start, r]. */
const everyNth = (
  { data, shape: [, width] }: Value,
  [start, end]: readonly [number, number],
  expert: number,
  experts: number,
): Value => {
  const rank = width / experts
  const out = new Float32Array((end - start) * rank)
  for (let i = start; i < end; i++)
    for (let k = 0; k < rank; k++)
      out[(i - start) * rank + k] = Number(data[i * width + k * experts + expert])
  return value(out, [end - start, rank], 'float32')
}

const requireShape = ({ folder }: Adapter, name: string, { shape }: Value, expected: Shape): void => {
  if (!sameShape(shape, expected))
    throw new CheckpointError(
      'TensorMismatch',
      `${folder}: ${name} is [${shape.join(', ')}], expected [${expected.join(', ')}].`,
    )
}

/** The factors at each module that the parameter holds, under the names that they have in a file. */
const factorsOf = async (
  adapter: Adapter,
  { prefix, rank, experts }: Target,
  shapes: ReadonlyMap<string, Shape>,
): Promise<[string, Value][]> => {
  const read = (part: string): Promise<Value> =>
    adapter.tensors.read(`${prefix}.lora_${part}.weight`, 'float32')
  const [A, B] = await Promise.all([read('A'), read('B')])
  const sizes = experts[0].map((module) => shapes.get(`${module}.weight`)!)
  const out = sizes.reduce((sum, [size]) => sum + size, 0)
  const all = rank * experts.length
  requireShape(adapter, `${prefix}.lora_A.weight`, A, [all, sizes[0][1]])
  requireShape(adapter, `${prefix}.lora_B.weight`, B, [out, all])
  const factors: [string, Value][] = []
  for (const [expert, modules] of experts.entries()) {
    let start = 0
    for (const [i, module] of modules.entries()) {
      const end = start + sizes[i][0]
      factors.push([`${adapterPrefix}${module}.lora_A.weight`, rows(A, expert * rank, (expert + 1) * rank)])
      factors.push([
        `${adapterPrefix}${module}.lora_B.weight`,
        everyNth(B, [start, end], expert, experts.length),
      ])
      start = end
    }
  }
  return factors
}

const inMemory = async (
  adapter: Adapter,
  tensors: readonly [string, Value][],
): Promise<Adapter['tensors']> => {
  const encoded = new Map(tensors.map(([name, tensor]) => [name, encode(tensor)]))
  const plans = [...encoded].map(([name, { dtype, shape }]) => ({ name, dtype, shape }))
  const { header, tensors: places, size } = layOut(plans, adapter.tensors.metadata, adapter.folder)
  const bytes = new Uint8Array(size)
  bytes.set(header)
  for (const { name, offset } of places) bytes.set(encoded.get(name)!.data, offset)
  return openBytes(bytes, adapter.folder)
}

/** One pattern that matches these modules and no others, with the number that they have. */
const patternFor = (
  targets: readonly Target[],
  number: (target: Target) => number,
): Record<string, number> => {
  const groups = new Map<number, string[]>()
  for (const target of targets)
    groups.set(number(target), [...(groups.get(number(target)) ?? []), ...target.experts.flat()])
  return Object.fromEntries(
    [...groups].map(([n, modules]) => [modules.map((module) => module.replaceAll('.', '\\.')).join('|'), n]),
  )
}

/** The config with the experts' modules as targets in the place of the parameters. */
const withoutParameters = (config: JsonObject, targets: readonly Target[]): JsonObject => {
  const modules = targets.flatMap(({ experts }) => experts.flat())
  const { target_modules: named } = config
  return {
    ...config,
    target_parameters: null,
    target_modules:
      typeof named === 'string'
        ? [named, ...modules.map((module) => module.replaceAll('.', '\\.'))]
            .map((part) => `(?:${part})`)
            .join('|')
        : [...((named ?? []) as string[]), ...modules],
    rank_pattern: { ...patternFor(targets, ({ rank }) => rank), ...(config.rank_pattern as JsonObject) },
    alpha_pattern: { ...patternFor(targets, ({ alpha }) => alpha), ...(config.alpha_pattern as JsonObject) },
  }
}

/**
 * The adapter with LoRA at experts' own modules in the place of that at `target_parameters`; the adapter itself where it has
 * none. Throws CheckpointError for a parameter that Weft does not know of this architecture, and for tensors of other shapes.
 */
export const atExperts = async (base: Model, adapter: Adapter): Promise<Adapter> => {
  const { config, tensors } = adapter
  if (!says(config.target_parameters)) return adapter
  const targets = targetsIn(base, config)
  const shapes = new Map(base.architecture.table(base.config).map(({ name, shape }) => [name, shape]))
  const fused = new Set(
    targets.flatMap(({ prefix }) => [`${prefix}.lora_A.weight`, `${prefix}.lora_B.weight`]),
  )
  const kept: [string, Value][] = []
  for (const name of tensors.names()) if (!fused.has(name)) kept.push([name, await tensors.read(name)])
  const factors = await Promise.all(targets.map((target) => factorsOf(adapter, target, shapes)))
  const { peft_type } = config
  return {
    folder: adapter.folder,
    config: { ...withoutParameters(config, targets), peft_type },
    tensors: await inMemory(adapter, [...kept, ...factors.flat()]),
  }
}
