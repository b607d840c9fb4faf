/** @file What differs between a base and a model tuned from it: W' - W of one tensor, after both were found to fit. */
import type { Checkpoint } from '../../checkpoint/index.js'
import { CheckpointError } from '../../errors.js'
import type { Model, WeightSpec } from '../../models/index.js'
import { baseTensor } from '../../models/stored.js'
import { sameShape, type Value, valueOf } from '../../tensor/index.js'
import { tensorInWords } from '../core/recipe/vocabulary.js'

/** Check that both have the same tensors. Throws CheckpointError naming the first that is not there, or of another shape. */
export const checkSame = (base: Model, tuned: Model): void => {
  const types = [base, tuned].map(({ checkpoint }) => String(checkpoint.config.model_type))
  if (types[0] !== types[1])
    throw new CheckpointError(
      'ArchitectureMismatch',
      `${base.checkpoint.folder} is of type ${types[0]}, ${tuned.checkpoint.folder} of type ${types[1]}.`,
    )
  const [ours, theirs] = [base, tuned].map(
    ({ architecture, config }) => new Map(architecture.table(config).map((spec) => [spec.name, spec])),
  )
  for (const name of new Set([...ours.keys(), ...theirs.keys()])) {
    const a = ours.get(name)
    const b = theirs.get(name)
    if (a && b && sameShape(a.shape, b.shape) && (a.tied === undefined) === (b.tied === undefined)) continue
    const place = ({ checkpoint }: Model, spec?: WeightSpec): string =>
      spec ? placed(checkpoint, spec) : `${checkpoint.folder}, which has no ${name}`
    throw new CheckpointError(
      a && b && sameShape(a.shape, b.shape) ? 'TiedAndUntied' : 'ShapeMismatch',
      `${place(base, a)} does not fit ${place(tuned, b)}.`,
      { hint: 'An adapter stands on a base of the same architecture and sizes.' },
    )
  }
}

const placed = (checkpoint: Checkpoint, { name, shape, tied }: WeightSpec): string => {
  const file = checkpoint.has(name) ? checkpoint.info(name).file : 'config.json'
  return `${tensorInWords(checkpoint, { name, shape, file })}${tied === undefined ? '' : ` (tied to ${tied})`}`
}

/** The difference W' - W of a tensor, in its stored layout, and its share of the larger norm. Throws CheckpointError where it is not finite. */
export const differenceOf = async (
  base: Model,
  tuned: Model,
  name: string,
): Promise<{ difference: Value; change: number }> => {
  const { data: a, shape } = await baseTensor(base, name)
  const { data: b } = await baseTensor(tuned, name)
  const old = a as Float32Array
  const fresh = b as Float32Array
  const out = new Float32Array(old.length)
  let before = 0
  let after = 0
  let changed = 0
  for (let i = 0; i < out.length; i++) {
    const ours = old[i]
    const theirs = fresh[i]
    const d = theirs - ours
    if (!Number.isFinite(d)) throw notFinite(base, tuned, name, i, ours)
    out[i] = d
    before += ours * ours
    after += theirs * theirs
    changed += d * d
  }
  return {
    difference: valueOf(out, shape),
    change: changed === 0 ? 0 : Math.sqrt(changed / Math.max(before, after)),
  }
}

const notFinite = (base: Model, tuned: Model, name: string, at: number, ours: number): CheckpointError => {
  const { checkpoint, architecture, config } = Number.isFinite(ours) ? tuned : base
  const spec = architecture.table(config).find((s) => s.name === name)!
  return new CheckpointError(
    'NotFinite',
    `${placed(checkpoint, spec)} holds NaN or an infinity at element ${at}.`,
  )
}
