/**
 * @file Tensors of one or several checkpoints as float32 blocks, and computed blocks as stored bytes. Files are read
 * straight into the memory that the kernels work on, and what is computed there is written from there.
 */
// From where they are, here and in what this imports: a thread begins sooner without the rest of their folders.
import { convertValue, decode, encode, valueDType } from '../checkpoint/convert.js'
import { type SafetensorsDType, tensorBytes } from '../checkpoint/safetensors.js'
import { CheckpointError } from '../errors.js'
import { keyOf } from '../random/index.js'
import { sizeOf } from '../tensor/shape.js'
import { value } from '../tensor/value.js'
import { isFinite, KernelMemory, narrow, widen } from './kernels/index.js'
import { type Block, blockMethod, type BlockMethod, type StreamedTensor } from './method.js'
import { type Input, readInput, type Task, type TensorJob, unitOf, wholeTask } from './task.js'

/** Elements of a block: all inputs' blocks fit a core's cache. */
const blockElements = 1 << 15
/** Elements read, or written, at once: enough that the call costs nothing beside its copy. */
const runElements = 1 << 17
/** A tensor whose inputs take less is in memory from its first pass to its last, unless a desk says otherwise. */
const keptBytes = 64 << 20

/** Called between runs: reports, lets others in, throws where the work is to stop. */
export type Turn = () => Promise<void> | void

/** Where a thread works: nothing else uses its memory meanwhile. */
export interface Desk {
  readonly memory: KernelMemory
  /** Bytes of inputs that may stay in memory between passes. */
  readonly kept?: number
  readonly turn?: Turn
}

/** How a task goes through its tensor, and the memory that it takes. */
export interface Layout {
  readonly block: number
  readonly run: number
  readonly kept: boolean
  /** Of everything: stored and widened inputs, output, what the method works with. */
  readonly bytes: number
}

/** Histograms of a method that looks for thresholds, for each input. */
const histogramBytes = 3 << 18

/** The blocks and runs that `method` goes through a task in. `most`: bytes of inputs that may stay in memory between passes. */
export const layoutOf = (task: Task, method: BlockMethod, most: number = keptBytes): Layout => {
  const { inputs } = task
  const unit = unitOf(task.shape, method)
  const block = Math.max(1, Math.floor(blockElements / unit)) * unit
  const elements = task.to - task.from
  const elementBytes = inputs.reduce((sum, { info }) => sum + tensorBytes(info.dtype, [1]), 0)
  const kept = method.prepare !== undefined && elements * elementBytes <= most
  const run = Math.min(elements, Math.max(1, Math.floor(runElements / block)) * block)
  const size = Math.min(block, elements)
  const floats = 4 * size * (4 * inputs.length + 4)
  const histograms = method.prepare ? histogramBytes * inputs.length : 0
  const stored = (kept ? elements : run) * elementBytes + run * tensorBytes(task.dtype, [1])
  return { block, run, kept, bytes: stored + floats + histograms + (1 << 16) }
}

const refuse = (numbers: Float32Array, { folder, info }: Input, first: number): never => {
  const at = numbers.findIndex((x) => !Number.isFinite(x))
  throw new CheckpointError(
    'NotFinite',
    `${folder}/${info.file}: ${info.name} [${info.shape.join(', ')}] holds ${numbers[at]} at element ${first + at}.`,
    { hint: 'A model with such numbers is broken, and would break what is made of it.' },
  )
}

const halves = (bytes: Uint8Array): Uint16Array =>
  new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2)

/** One input's stored bytes, a run of them at a time, and a block of its numbers. */
class Lane {
  readonly #elementBytes: number
  readonly #stored: Uint8Array
  readonly #numbers: Float32Array

  constructor(
    readonly input: Input,
    private readonly first: number,
    { kept, run, block }: Layout,
    elements: number,
    memory: KernelMemory,
  ) {
    const { dtype } = input.info
    this.#elementBytes = tensorBytes(dtype, [1])
    this.#stored = memory.bytes((kept ? elements : run) * this.#elementBytes)
    this.#numbers = dtype === 'F32' ? new Float32Array() : memory.floats(Math.min(block, elements))
  }

  /** Reads `count` elements from `at` on to the place `to` (both in elements). */
  read(at: number, count: number, to: number): Promise<void> | void {
    const size = this.#elementBytes
    return readInput(
      this.input,
      this.#stored.subarray(to * size, (to + count) * size),
      (this.first + at) * size,
    )
  }

  /** The numbers that lie at the place `from`; those at `at` in the task. What is not finite is refused. */
  numbers(from: number, count: number, at: number, checked: boolean): Float32Array {
    const { dtype } = this.input.info
    const size = this.#elementBytes
    const bytes = this.#stored.subarray(from * size, (from + count) * size)
    const numbers =
      dtype === 'F32'
        ? new Float32Array(bytes.buffer, bytes.byteOffset, count)
        : this.#numbers.subarray(0, count)
    if (dtype === 'BF16' || dtype === 'F16') {
      if (!widen(dtype, halves(bytes), numbers)) refuse(numbers, this.input, this.first + at)
      return numbers
    }
    if (dtype !== 'F32') numbers.set(decode(bytes, dtype, [count], 'float32').data as Float32Array)
    if (!checked && !isFinite(numbers)) refuse(numbers, this.input, this.first + at)
    return numbers
  }
}

/** Goes through the blocks of a task. `memory` must have room for its layout. */
const blocksOf = (task: Task, layout: Layout, { memory, turn }: Desk): (() => AsyncGenerator<Block>) => {
  const elements = task.to - task.from
  const lanes = task.inputs.map((input) => new Lane(input, task.from, layout, elements, memory))
  let read = 0
  let checked = false
  return async function* () {
    for (let run = 0; run < elements; run += layout.run) {
      const size = Math.min(layout.run, elements - run)
      const place = layout.kept ? run : 0
      if (!layout.kept || read <= run)
        for (const lane of lanes) {
          const pending = lane.read(run, size, place)
          if (pending) await pending
        }
      read = Math.max(read, run + size)
      for (let at = 0; at < size; at += layout.block) {
        const count = Math.min(layout.block, size - at)
        yield {
          first: task.from + run + at,
          inputs: lanes.map((lane) => lane.numbers(place + at, count, run + at, checked)),
        }
      }
      const pending = turn?.()
      if (pending) await pending
    }
    checked = true
  }
}

/** Rounds blocks to stored bytes, a run of them at a time. */
class Narrower {
  readonly #bytes: Uint8Array
  #filled = 0
  constructor(
    private readonly dtype: SafetensorsDType,
    elements: number,
    memory: KernelMemory,
  ) {
    this.#bytes = memory.bytes(tensorBytes(dtype, [elements]))
  }

  /** Where a block of `count` numbers is computed: in place, where they are stored as they are. */
  target(count: number, scratch: Float32Array): Float32Array {
    return this.dtype === 'F32'
      ? new Float32Array(this.#bytes.buffer, this.#bytes.byteOffset + this.#filled, count)
      : scratch.subarray(0, count)
  }

  /** Takes a block; gives the run's bytes when it is full. */
  take(numbers: Float32Array): Uint8Array | undefined {
    const size = tensorBytes(this.dtype, [numbers.length])
    const bytes = this.#bytes.subarray(this.#filled, this.#filled + size)
    if (this.dtype === 'BF16' || this.dtype === 'F16') narrow(this.dtype, numbers, halves(bytes))
    else if (this.dtype !== 'F32')
      bytes.set(
        encode(convertValue(value(numbers, [numbers.length], 'float32'), valueDType[this.dtype])).data,
      )
    this.#filled += size
    return this.#filled === this.#bytes.length ? this.rest() : undefined
  }

  /** What a last run, which is not full, has. */
  rest(): Uint8Array | undefined {
    const bytes = this.#bytes.subarray(0, this.#filled)
    this.#filled = 0
    return bytes.length ? bytes : undefined
  }
}

/** Takes the numbers of its one input as they are. */
export const asIs: BlockMethod = blockMethod({
  name: 'copy',
  module: import.meta.url,
  rows: false,
  block: (out, { inputs: [numbers] }) => out.set(numbers),
})

/** Whether a copy passes through float32 without loss, where numbers that are not finite are found. */
const isChecked = ({ inputs: [{ info }] }: Task): boolean => ['F32', 'F16', 'BF16'].includes(info.dtype)

async function* copied(task: Task, { memory, turn }: Desk): AsyncGenerator<Uint8Array> {
  const [input] = task.inputs
  const size = tensorBytes(input.info.dtype, [1])
  const step = runElements * size
  memory.begin(step)
  const buffer = memory.bytes(step)
  for (let at = task.from * size; at < task.to * size; at += step) {
    const bytes = buffer.subarray(0, Math.min(step, task.to * size - at))
    await readInput(input, bytes, at)
    yield bytes
    await turn?.()
  }
}

/** The tensor of a task as its method sees it. */
const streamedTask = (task: Task, seed: string, blocks: StreamedTensor['blocks']): StreamedTensor => {
  const { name, shape, inputs } = task
  return {
    name,
    shape,
    count: sizeOf(shape),
    width: shape.at(-1) ?? 1,
    inputs: inputs.length,
    blocks,
    key: (index) => keyOf(`${seed} ${name} ${index}`),
  }
}

/**
 * The stored bytes of a task, run by run, each valid until the next is asked for: computed in float32, rounded once to
 * the nearest, ties to even. They depend on nothing but the task and the seed. Throws CheckpointError (NotFinite) at the
 * first number that is not finite.
 */
export async function* runsOf(
  task: Task,
  method: BlockMethod,
  seed: string,
  desk: Desk,
): AsyncGenerator<Uint8Array> {
  const { dtype, parameters, action } = task
  const keeps = task.inputs[0].info.dtype === dtype
  if (action === 'copy' && keeps && !isChecked(task)) return yield* copied(task, desk)
  const used = action === 'copy' ? asIs : method
  const layout = layoutOf(task, used, desk.kept)
  const { memory } = desk
  memory.begin(layout.bytes)
  const blocks = blocksOf(task, layout, desk)
  const scratch = memory.floats(dtype === 'F32' ? 0 : Math.min(layout.block, task.to - task.from))
  const narrower = new Narrower(dtype, layout.run, memory)
  const statistics = await used.prepare?.(streamedTask(task, seed, blocks), parameters)
  for await (const block of blocks()) {
    const out = narrower.target(block.inputs[0].length, scratch)
    used.block(out, block, parameters, statistics)
    const full = narrower.take(out)
    if (full) yield full
  }
  const rest = narrower.rest()
  if (rest) yield rest
}

/** Reads all that a task reads. Throws CheckpointError (NotFinite) at the first number that is not finite. */
export const check = async (task: Task, desk: Desk): Promise<void> => {
  if (task.action === 'copy' && !isChecked(task)) return
  const layout = layoutOf(task, asIs)
  desk.memory.begin(layout.bytes)
  for await (const _block of blocksOf(task, layout, desk)());
}

/** The inputs of `job`, as `method` sees them. `seed`: of its random numbers. */
export const streamedTensor = (job: TensorJob, method: BlockMethod, seed: string): StreamedTensor => {
  const task = wholeTask(job)
  const layout = layoutOf(task, method)
  const memory = new KernelMemory()
  memory.begin(layout.bytes)
  return streamedTask(task, seed, blocksOf(task, layout, { memory }))
}

const spare: KernelMemory[] = []

/** The stored bytes of the tensor that `job` describes, in pieces that are valid until the next is asked for. */
export async function* streamedBytes(
  job: TensorJob,
  method: BlockMethod,
  seed: string,
): AsyncGenerator<Uint8Array> {
  const memory = spare.pop() ?? new KernelMemory()
  try {
    yield* runsOf(wholeTask(job), method, seed, { memory })
  } finally {
    spare.push(memory)
  }
}
