/** @file Tensors of several checkpoints as aligned float32 blocks, and merged blocks as stored bytes. */
import {
  decode,
  encode,
  convertValue,
  type SafetensorsDType,
  tensorBytes,
  valueDType,
} from '../checkpoint/index.js'
import { CheckpointError } from '../errors.js'
import { keyOf } from '../random/index.js'
import { value, viewBytes } from '../tensor/index.js'
import type { SourceTensor } from './align.js'
import type { AlignedTensor, Block, MergeMethod } from './method.js'
import type { PlannedTensor } from './plan.js'

/** Elements that all models' blocks may take together while a tensor is kept for its second pass. */
const keptElements = 1 << 25
/** Elements of a block: small enough for a processor's cache. */
const blockElements = 1 << 17

/** Throws CheckpointError where `numbers` holds NaN or an infinity. */
const checkFinite = (numbers: Float32Array, { checkpoint, info }: SourceTensor, first: number): void => {
  let sum = 0
  for (let i = 0; i < numbers.length; i++) sum += numbers[i] - numbers[i]
  if (sum === 0) return
  const at = numbers.findIndex((x) => !Number.isFinite(x))
  throw new CheckpointError(
    'NotFinite',
    `${checkpoint.folder}/${info.file}: ${info.name} [${info.shape.join(', ')}] holds ${numbers[at]} at element ${first + at}.`,
    { hint: 'A model with such numbers is broken; a merge would spread them.' },
  )
}

/** Turns stored bytes into float32 numbers, in memory that its next call uses again where that saves time. */
const widener = (
  dtype: SafetensorsDType,
  step: number,
): ((bytes: Uint8Array, count: number) => Float32Array) => {
  if (dtype === 'F32') return (bytes, count) => viewBytes(bytes, 'float32', count) as Float32Array
  if (dtype !== 'BF16') return (bytes, count) => decode(bytes, dtype, [count], 'float32').data as Float32Array
  let words = new Uint32Array(step)
  return (bytes, count) => {
    if (words.length < count) words = new Uint32Array(count)
    const bits = viewBytes(bytes, 'bfloat16', count) as Uint16Array
    for (let i = 0; i < count; i++) words[i] = bits[i] << 16
    return new Float32Array(words.buffer, 0, count)
  }
}

/**
 * The numbers of a source in runs of `step` elements (whole rows of its first axis; a vector may be cut anywhere), each
 * valid until the next one is asked for. Numbers that are not finite are refused, unless they were `checked` before.
 */
async function* runs(source: SourceTensor, step: number, checked = false): AsyncGenerator<Float32Array> {
  const { checkpoint, info } = source
  const elementBytes = tensorBytes(info.dtype, [1])
  const widen = widener(info.dtype, step)
  let first = 0
  for await (const { bytes } of checkpoint.rows(info.name, { blockBytes: step * elementBytes })) {
    const count = bytes.length / elementBytes
    const numbers = widen(bytes, count)
    if (!checked) checkFinite(numbers, source, first)
    yield numbers
    first += count
  }
}

/** Runs of several sources side by side. */
async function* together(
  sources: readonly SourceTensor[],
  step: number,
  checked: boolean,
): AsyncGenerator<readonly Float32Array[]> {
  const all = sources.map((source) => runs(source, step, checked))
  for (;;) {
    const next = await Promise.all(all.map((run) => run.next()))
    if (next[0].done) return
    yield next.map(({ value: numbers }) => numbers as Float32Array)
  }
}

const countOf = (shape: readonly number[]): number => shape.reduce((n, size) => n * size, 1)

/** Cuts a run of whole rows into blocks that fit the cache. */
function* cut(
  run: readonly Float32Array[],
  first: number,
  width: number,
  hasBase: boolean,
): Generator<Block> {
  const step = Math.max(1, Math.floor(blockElements / width)) * width
  for (let at = 0; at < run[0].length; at += step) {
    const parts = run.map((numbers) => numbers.subarray(at, at + step))
    yield {
      first: first + at,
      ...(hasBase ? { base: parts[0], models: parts.slice(1) } : { models: parts }),
    }
  }
}

/** The aligned tensors of `plan`, as a method sees them. `seed`: of its random numbers. */
export const alignedTensor = (
  { name, shape, base, models }: PlannedTensor,
  method: MergeMethod,
  seed: number,
): AlignedTensor => {
  const count = countOf(shape)
  const width = shape.at(-1) ?? 1
  const unit = method.rows ? width : 1
  const sources = base ? [base, ...models] : models
  const keep = method.prepare !== undefined && count * sources.length <= keptElements
  const step = keep || (method.rows && shape.length < 2) ? count : blockElements << 3
  let kept: readonly Float32Array[] | undefined
  let checked = false
  async function* blocks(): AsyncGenerator<Block> {
    if (kept) return yield* cut(kept, 0, unit, base !== undefined)
    let first = 0
    for await (const run of together(sources, step, checked)) {
      if (keep) kept = run
      yield* cut(run, first, unit, base !== undefined)
      first += run[0].length
    }
    checked = true
  }
  const key = (index: number): ReturnType<AlignedTensor['key']> => keyOf(`merge ${seed} ${name} ${index}`)
  return { name, shape, count, width, models: models.length, blocks, key }
}

const narrowed = (numbers: Float32Array, dtype: SafetensorsDType): Uint8Array =>
  encode(convertValue(value(numbers, [numbers.length], 'float32'), valueDType[dtype])).data

async function* copied({ models: [source], dtype }: PlannedTensor): AsyncGenerator<Uint8Array> {
  const { checkpoint, info } = source
  if (info.dtype === dtype) for await (const { bytes } of checkpoint.rows(info.name)) yield bytes
  else for await (const numbers of runs(source, blockElements)) yield narrowed(numbers, dtype)
}

/** The stored bytes of a planned tensor, block by block: computed in float32, rounded once to the nearest, ties to even. */
export async function* mergedBytes(
  plan: PlannedTensor,
  method: MergeMethod,
  seed: number,
): AsyncGenerator<Uint8Array> {
  if (plan.action === 'copy') return yield* copied(plan)
  const tensor = alignedTensor(plan, method, seed)
  const statistics = await method.prepare?.(tensor, plan.parameters)
  let buffer = new Float32Array(0)
  for await (const block of tensor.blocks()) {
    const { length } = block.models[0]
    if (buffer.length < length) buffer = new Float32Array(length)
    const out = buffer.subarray(0, length)
    method.tensor(out, block, plan.parameters, statistics)
    yield narrowed(out, plan.dtype)
  }
}

/** Reads every number of the sources of `plan`. Throws CheckpointError at the first that is not finite. */
export const checkNumbers = async (plan: PlannedTensor): Promise<void> => {
  if (plan.action === 'copy') return
  for (const source of plan.base ? [plan.base, ...plan.models] : plan.models)
    for await (const _numbers of runs(source, blockElements << 3));
}
