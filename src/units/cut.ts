/**
 * @file Heads and hidden channels left out of a checkpoint: shapes, config.json and bytes of its tensors without them. The
 * axis groups of the table of weights say what goes together.
 */
import type { Bytes, JsonObject } from '../checkpoint/index.js'
import { type Model, runsAlong, type WeightSpec } from '../models/index.js'
import { type Shape, sizeOf } from '../tensor/index.js'
import { entriesOf } from './units.js'
import { requireShapes, resizedConfig } from './widths.js'

/** Units that stay, ascending, by the name of their axis group. */
export type Kept = ReadonlyMap<string, readonly number[]>

/** The entries of each axis that stay; undefined for an axis that stays whole. */
const entriesKept = (spec: WeightSpec, kept: Kept): (readonly number[] | undefined)[] =>
  spec.axes.map((axis, i) => {
    const units = axis && kept.get(axis.group)
    if (!units) return undefined
    return entriesOf({ runs: runsAlong(spec, i) }, units)
  })

/** The shape of a tensor without the units that go. */
export const cutShape = (spec: WeightSpec, kept: Kept): Shape => {
  const entries = entriesKept(spec, kept)
  return spec.shape.map((size, axis) => entries[axis]?.length ?? size)
}

/**
 * `config`, by default the model's, when it has the units `kept` alone. Throws UsageError where config.json cannot say so:
 * layers that differ, in an architecture that has one size for all.
 */
export const cutConfig = (
  model: Model,
  kept: Kept,
  config: JsonObject = model.checkpoint.config,
): JsonObject => {
  const widths = new Map([...kept].map(([group, units]) => [group, units.length]))
  const { architecture } = model
  const shapes = architecture.table(model.config).map((spec) => [spec.name, cutShape(spec, kept)] as const)
  requireShapes(
    architecture,
    resizedConfig(model, widths),
    new Map(shapes),
    'Leave as many out of every layer: without exclude and layers.',
  )
  return resizedConfig(model, widths, config)
}

/** The widest words of which `bytes`, at this step, are whole numbers. */
const wordsOf = (bytes: Uint8Array, step: number): Uint8Array | Uint16Array | Uint32Array => {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice()
  const { buffer, byteOffset, byteLength } = aligned
  if (step % 4 === 0) return new Uint32Array(buffer, byteOffset, byteLength / 4)
  if (step % 2 === 0) return new Uint16Array(buffer, byteOffset, byteLength / 2)
  return aligned
}

/** Rows of a tensor shorter than this many words are copied word by word. */
const short = 32

/** The slices `entries` of one axis of a tensor's bytes. */
const takenAlong = (
  bytes: Uint8Array,
  shape: Shape,
  axis: number,
  entries: readonly number[],
): Uint8Array => {
  const outer = sizeOf(shape.slice(0, axis))
  const step = bytes.length / outer / shape[axis]
  const from = wordsOf(bytes, step)
  const inner = from.length / outer / shape[axis]
  const out = new Uint8Array(outer * entries.length * step)
  const to = wordsOf(out, step)
  for (let o = 0, next = 0; o < outer; o++)
    for (let i = 0; i < entries.length; i++, next += inner) {
      const start = (o * shape[axis] + entries[i]) * inner
      if (inner >= short) to.set(from.subarray(start, start + inner), next)
      else for (let j = 0; j < inner; j++) to[next + j] = from[start + j]
    }
  return out
}

/** All bytes of a tensor that comes in blocks. */
const gathered = async (bytes: Bytes): Promise<Uint8Array> => {
  if (bytes instanceof Uint8Array) return bytes
  const blocks: Uint8Array[] = []
  for await (const block of bytes) blocks.push(Uint8Array.from(block))
  const all = new Uint8Array(blocks.reduce((n, { length }) => n + length, 0))
  blocks.reduce((at, block) => (all.set(block, at), at + block.length), 0)
  return all
}

/** A tensor's bytes without the units that go; as they are where none of its axes has any. */
export const cutBytes = async (bytes: Bytes, spec: WeightSpec, kept: Kept): Promise<Bytes> => {
  const entries = entriesKept(spec, kept)
  if (entries.every((own) => !own)) return bytes
  let left = await gathered(bytes)
  let { shape } = spec
  for (const [axis, own] of entries.entries()) {
    if (!own) continue
    left = takenAlong(left, shape, axis, own)
    shape = shape.map((size, i) => (i === axis ? own.length : size))
  }
  return left
}
