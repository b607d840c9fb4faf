/** @file What config.json and the tensors of a checkpoint say together, strictly compared. */
import { checkNames, type Checkpoint, type TensorInfo } from '../checkpoint/web.js'
import { CheckpointError } from '../errors.js'
import type { Architecture, WeightSpec } from './architecture.js'
import { canonicalNames, configOf, retied } from './canonical.js'

/** The tensors of a checkpoint under the architecture's names. */
export interface Stored {
  readonly table: readonly WeightSpec[]
  /** Names in the files of scalars and empty tensors that the table has no line for. */
  readonly idle: readonly string[]
  /** Where the tensor `name` lies. */
  info(name: string): TensorInfo
  has(name: string): boolean
}

/** The numbers of a quantised weight, beside its integers. */
const scales = /\.(weight_)?(scales?(_inv)?|qzeros|g_idx|SCB|absmax|quant_\w+|\w+_scale)$/

/** Throws CheckpointError for a weight that is stored in integers, or in 8-bit floats with a scale. */
const refuseQuantised = ({ table, info, has }: Stored, checkpoint: Checkpoint): void => {
  for (const spec of table) {
    const { name, dtype, file } = has(spec.name) ? info(spec.name) : {}
    if (name === undefined || spec.dtype === 'int64' || /^(F64|F32|F16|BF16)$/.test(dtype!)) continue
    const module = name.replace(/\.weight$/, '')
    const scale = checkpoint.names().find((other) => other.startsWith(`${module}.`) && scales.test(other))
    if (scale === undefined && dtype!.startsWith('F8')) continue
    throw new CheckpointError(
      'QuantisedWeights',
      scale === undefined
        ? `${checkpoint.folder}: ${name} in ${file} is stored as ${dtype}, without the scales that say what its numbers mean.`
        : `${checkpoint.folder}: ${name} in ${file} is quantised (${dtype}, scaled by ${scale}), which Weft does not open.`,
      { hint: 'Open the model that it was quantised from.' },
    )
  }
}

/** Compares the checkpoint's tensors with the architecture's table. Throws one CheckpointError that lists every difference. */
const check = (architecture: Architecture, table: readonly WeightSpec[], checkpoint: Checkpoint): Stored => {
  const { stored, idle, unexpected } = canonicalNames(architecture, table, checkpoint)
  const info = (name: string): TensorInfo => checkpoint.info(stored.get(name) ?? name)
  const has = (name: string): boolean => stored.has(name)
  const result = { table, idle, info, has }
  refuseQuantised(result, checkpoint)
  checkNames(
    table.filter(({ name, tied }) => tied === undefined || has(name)),
    {
      folder: checkpoint.folder,
      warnings: checkpoint.warnings,
      names: () => [...stored.keys(), ...unexpected],
      has,
      info,
    },
  )
  return result
}

const sameBytes = async (checkpoint: Checkpoint, a: TensorInfo, b: TensorInfo): Promise<boolean> => {
  if (a.length !== b.length) return false
  const others = checkpoint.rows(b.name)
  for await (const { bytes } of checkpoint.rows(a.name)) {
    const other = (await others.next()).value?.bytes
    for (let i = 0; i < bytes.length; i++) if (bytes[i] !== other?.[i]) return false
  }
  return true
}

/** The tied tensors that the checkpoint holds all the same, with other numbers than the ones they are tied to. */
const loose = async (checkpoint: Checkpoint, { table, info, has }: Stored): Promise<string[]> => {
  const unlike: string[] = []
  for (const { name, tied } of table)
    if (tied !== undefined && has(name) && !(await sameBytes(checkpoint, info(name), info(tied))))
      unlike.push(name)
  return unlike
}

/**
 * What config.json and the tensors say together: a head that was stored with numbers of its own is not tied, whatever
 * config.json says (as Transformers has it). Throws CheckpointError for tensors that are missing, unexpected, of another
 * shape or quantised, and where another tied tensor differs from its owner.
 */
export const reconcile = async (
  architecture: Architecture,
  checkpoint: Checkpoint,
): Promise<{ config: unknown; stored: Stored }> => {
  const json = configOf(architecture, checkpoint)
  const config = architecture.readConfig(json)
  const stored = check(architecture, architecture.table(config), checkpoint)
  const names = await loose(checkpoint, stored)
  if (names.length === 0) return { config, stored }
  const untied = architecture.readConfig(retied(architecture, json, false))
  const table = architecture.table(untied)
  const still = names.filter((name) => table.some((spec) => spec.name === name && spec.tied !== undefined))
  if (still.length === 0) return { config: untied, stored: check(architecture, table, checkpoint) }
  throw new CheckpointError(
    'TiedTensorsDiffer',
    `${checkpoint.folder}: ${still.join(', ')} should be the same as the tensors they are tied to, but hold other numbers.`,
    { hint: `Remove them from the checkpoint, if it is meant to be ${architecture.name}.` },
  )
}
