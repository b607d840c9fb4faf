/** @file Folding: the base's checkpoint with the adapter's effect in its weights, streamed tensor by tensor. */
import { stat } from 'node:fs/promises'
import {
  type Bytes,
  CheckpointWriter,
  convertValue,
  copyCompanions,
  decode,
  encode,
  type SafetensorsDType,
  valueDType,
} from '../../checkpoint/index.js'
import { UsageError } from '../../errors.js'
import type { Model, Parameters } from '../../models/index.js'
import type { Tensor, Value } from '../../tensor/index.js'
import { sizeOf, value, valueOf } from '../../tensor/index.js'
import { byShape } from '../../train/index.js'
import type { FoldOptions, Named, Plan, PlannedSite } from './spec.js'
import { type Layout, layoutOf, storedOf } from './fold-layout.js'
import { inMemory, isFoldable, replacements, valuesAt } from './plan.js'
import type { TokenRows } from './token-rows.js'
import { cutBytes, cutConfig, cutShape, type Kept, sizesForWeftAlone } from '../../units/index.js'
import { baseTensor, ownerOf, ownTensor, storedName } from '../../models/stored.js'

/** Rows `start` to `end` of a stored tensor. */
interface Rows {
  readonly start: number
  readonly end: number
  readonly bytes: Uint8Array
}

async function* rowsOf(base: Model, name: string, size: number): AsyncGenerator<Rows> {
  const owner = ownerOf(base, name)
  const kept = await ownTensor(base, owner)
  if (kept) yield { start: 0, end: kept.shape[0] ?? 1, bytes: narrowed(kept, storedOf(base, name).dtype) }
  else yield* base.checkpoint.rows(storedName(base, owner) ?? owner, { blockBytes: size })
}

/** A value rounded to a stored dtype. */
const narrowed = (v: Value, dtype: SafetensorsDType): Uint8Array =>
  encode(convertValue(v, valueDType[dtype])).data

/** Rows `start` to `end` along `axis`. */
const cut = ({ data, shape, dtype }: Value, axis: number, start: number, end: number): Value => {
  const outer = sizeOf(shape.slice(0, axis))
  const inner = sizeOf(shape.slice(axis + 1))
  const out = new Float32Array(outer * (end - start) * inner)
  for (let o = 0; o < outer; o++)
    out.set(
      data.subarray((o * shape[axis] + start) * inner, (o * shape[axis] + end) * inner) as Float32Array,
      o * (end - start) * inner,
    )
  return value(out, [...shape.slice(0, axis), end - start, ...shape.slice(axis + 1)], dtype)
}

interface FoldInputs<T> {
  readonly W: T
  readonly p: Named<T>
}

/** The bytes of one adapted bias, folded. */
const foldedBias = async (
  plan: Plan,
  at: PlannedSite,
  parameters: Parameters<Value>,
): Promise<Uint8Array> => {
  const name = `${at.site.name}.bias`
  const p = await inMemory(valuesAt(plan, at, parameters))
  const program = byShape(({ W, p }: FoldInputs<Tensor>) => ({
    b: plan.method.foldBias!(W, p, at.settings),
  }))
  const { b } = await program({ W: await baseTensor(plan.base, name), p })
  return narrowed(value(await b.read(), b.shape, 'float32'), storedOf(plan.base, name).dtype)
}

/** The bytes of one adapted weight, folded. */
async function* foldedRows(
  plan: Plan,
  at: PlannedSite,
  parameters: Parameters<Value>,
  blockBytes: number,
): AsyncGenerator<Uint8Array> {
  const { base, method } = plan
  const { site, settings, parameters: specs } = at
  const name = `${site.name}.weight`
  const { dtype, shape } = storedOf(base, name)
  const along = site.transposed ? 'in' : 'out'
  const inBlocks = method.blocks?.(settings).includes(along) ?? false
  const program = byShape(({ W, p }: FoldInputs<Tensor>) => {
    const folded = method.fold!(site.transposed ? W.t() : W, p, settings)
    return { W: site.transposed ? folded.t() : folded }
  })
  const siteValues = await inMemory(valuesAt(plan, at, parameters))
  for await (const { start, end, bytes } of rowsOf(base, name, inBlocks ? blockBytes : Infinity)) {
    const W = decode(bytes, dtype, [end - start, ...shape.slice(1)], 'float32')
    const p = Object.entries(siteValues).map(([key, v]) => {
      const axis = specs[key]?.axes?.indexOf(along) ?? -1
      return [key, axis < 0 ? v : cut(v, axis, start, end)] as const
    })
    const folded = await program({ W, p: Object.fromEntries(p) })
    yield narrowed(value(await folded.W.read(), W.shape, 'float32'), dtype)
  }
}

/** A base's tensor with the rows of some tokens in place, in the blocks that it is read in. */
async function* withRows(
  base: Model,
  { module, indices }: TokenRows,
  changed: Value,
  blockBytes: number,
): AsyncGenerator<Uint8Array> {
  const name = `${module}.weight`
  const { dtype } = storedOf(base, name)
  const rows = narrowed(await readValue(changed), dtype)
  const size = rows.length / indices.length
  for await (const { start, end, bytes } of rowsOf(base, name, blockBytes)) {
    const block = bytes.slice()
    for (const [i, token] of indices.entries())
      if (token >= start && token < end)
        block.set(rows.subarray(i * size, (i + 1) * size), (token - start) * size)
    yield block
  }
}

const readValue = async (v: Value): Promise<Value> => value(await v.read(), v.shape, v.dtype)

async function* copiedRows(base: Model, name: string, size: number): AsyncGenerator<Uint8Array> {
  for await (const { bytes } of rowsOf(base, name, size)) yield bytes
}

/** Throws UsageError where something would be lost that is wanted, or else says so. */
const checkLosses = async (
  plan: Plan,
  parameters: Parameters<Value>,
  { keepZeros = false, onWarning = console.warn }: FoldOptions,
): Promise<void> => {
  const lost = await plan.method.loses?.(plan, parameters)
  if (lost === undefined) return
  if (!keepZeros) return onWarning(lost)
  throw new UsageError('ZerosLost', lost, {
    hint: 'No one matrix has both: keep the adapter beside its base, which stays sparse there, or fold without keepZeros.',
  })
}

/** Throws UsageError for what has no plain weights that do the same. */
const requireFoldable = ({ base, method, sites }: Plan): void => {
  const beside = { hint: 'Keep the adapter beside its base.' }
  if (!isFoldable(method))
    throw new UsageError('CannotFold', `${method.paper.id} has no plain weights that do the same`, beside)
  if ('plan' in base)
    throw new UsageError('AdapterOnAdapter', 'the base is itself an adapted model', {
      hint: 'Fold the first adapter, and put the second on the result.',
    })
  for (const { site, settings } of sites) {
    const obstacle = method.obstacle?.(site, settings)
    if (obstacle !== undefined) throw new UsageError('CannotFold', `${method.paper.id}: ${obstacle}`, beside)
  }
}

/** The bytes of each tensor of the folded checkpoint, by its name. */
const foldedTensors = (
  plan: Plan,
  parameters: Parameters<Value>,
  { added }: Layout,
  blockBytes: number,
): ((name: string) => Promise<Bytes>) => {
  const { base, sites, method, rows } = plan
  const replaced = replacements(plan)
  const tokens = new Map(rows.map((row) => [`${row.module}.weight`, row]))
  const planned = new Map(method.fold && sites.map((at) => [`${at.site.name}.weight`, at]))
  const biased = new Map(method.foldBias && sites.map((at) => [`${at.site.name}.bias`, at]))
  return async (name) => {
    const at = planned.get(name)
    if (at) return foldedRows(plan, at, parameters, blockBytes)
    const { dtype, shape } = added.get(name) ?? storedOf(base, name)
    const parameter = replaced.get(name)
    if (parameter !== undefined) return narrowed(await readValue(parameters[parameter]), dtype)
    const tokenRows = tokens.get(name)
    if (tokenRows) return withRows(base, tokenRows, parameters[tokenRows.parameter], blockBytes)
    if (added.has(name)) return narrowed(valueOf(new Float32Array(sizeOf(shape)), shape), dtype)
    const withBias = biased.get(name)
    return withBias ? foldedBias(plan, withBias, parameters) : copiedRows(base, name, blockBytes)
  }
}

/**
 * Writes the base with the adapter folded in to `folder`: every tensor in the dtype that the base has it in, in blocks
 * of rows (where a method needs whole weights: a tensor at a time), config, tokenizer. Nothing appears under a final
 * name before all of it is written. Throws UsageError when the folder holds weights, the base is itself an adapter, or no
 * plain weights do the same.
 */
export const foldInto = async (
  plan: Plan,
  parameters: Parameters<Value>,
  folder: string,
  { onProgress, signal, blockBytes = 16 << 20, ...options }: FoldOptions = {},
): Promise<void> => {
  const { base, method } = plan
  requireFoldable(plan)
  await checkLosses(plan, parameters, options)
  const kept: Kept = (await method.cut?.(plan, parameters)) ?? new Map()
  const layout = layoutOf(plan)
  const { written, added } = layout
  const config = cutConfig(base, kept, layout.config)
  const unread = kept.size > 0 ? sizesForWeftAlone(base.architecture, config) : undefined
  if (unread !== undefined) (options.onWarning ?? console.warn)(unread)
  const bytesOf = foldedTensors(plan, parameters, layout, blockBytes)
  const tensors = written.map((spec) => ({
    name: spec.name,
    dtype: (added.get(spec.name) ?? storedOf(base, spec.name)).dtype,
    shape: cutShape(spec, kept),
  }))
  await using writer = await CheckpointWriter.create(folder, tensors, options)
  for (const [i, spec] of written.entries()) {
    signal?.throwIfAborted()
    await writer.write(spec.name, async () => cutBytes(await bytesOf(spec.name), spec, kept))
    onProgress?.({ status: 'progress', name: 'fold', done: i + 1, total: written.length, unit: 'tensors' })
  }
  await writer.finish({ 'config.json': config })
  const source = await stat(base.checkpoint.folder).catch(() => undefined)
  if (source?.isDirectory()) await copyCompanions(base.checkpoint.folder, folder)
}
