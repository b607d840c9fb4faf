/** @file Programs that are compiled and run without any engine: what they would need is noted, and nothing is computed. */
import type { OpenSession } from '#sessions'
import { allocate, arrayLength, type DType, type TypedArray } from './dtype.js'
import { type Footprint, footprintOf } from './liveness.js'
import { type OnnxGraph, onnxType } from './onnx.js'
import { type Shape, sizeOf } from './shape.js'
import type { Value } from './value.js'

/** What a program needs of the machine that opens it. */
export interface ProgramNeeds {
  readonly footprint: Footprint
  /** Bytes of the model, with what could not lie beside it. */
  readonly model: number
  readonly nodes: number
  /** Bytes of files that it is bound to, by the place where they lie. */
  readonly mapped: ReadonlyMap<string, number>
}

/** One run of a program. */
export interface RehearsedRun {
  readonly session: ProgramNeeds
  readonly given: readonly Value[]
}

/** What was noted. */
export interface Rehearsal {
  /** Gives programs that run nothing: for `compile`'s options. Their results are zeros, made when they are read. */
  readonly openSession: OpenSession
  readonly sessions: readonly ProgramNeeds[]
  readonly runs: readonly RehearsedRun[]
}

const dtypes = new Map<number, DType>(
  (['float32', 'float64', 'int32', 'int64', 'bool', 'uint8', 'int8', 'float16', 'bfloat16'] as const).map(
    (dtype) => [onnxType[dtype], dtype],
  ),
)

/** A value whose numbers nobody has computed: zeros, once somebody reads them. */
export const blankValue = (shape: Shape, dtype: DType = 'float32'): Value => ({
  shape,
  dtype,
  get data(): TypedArray {
    return allocate(dtype, arrayLength(dtype, sizeOf(shape)))
  },
  async read() {
    return allocate(dtype, arrayLength(dtype, sizeOf(shape)))
  },
})

const mappedBy = ({ initializers }: OnnxGraph, memory: ReadonlyMap<string, unknown>): Map<string, number> => {
  const mapped = new Map<string, number>()
  for (const { external } of initializers)
    if (external && !memory.has(external.location))
      mapped.set(`${external.location}:${external.offset}`, external.length)
  return mapped
}

/** What the program needs that `graph` is, `model` in bytes, with `memory` beside it. */
export const needsOf = (
  graph: OnnxGraph,
  model: Uint8Array,
  memory: ReadonlyMap<string, unknown>,
): ProgramNeeds => ({
  footprint: footprintOf(graph),
  model: model.length,
  nodes: graph.nodes.length,
  mapped: mappedBy(graph, memory),
})

/** What ONNX Runtime keeps of each node of an open program, in bytes. */
const nodeBytes = 3_000
/** What the engine and our own code come to once they run. */
const runningBytes = 25e6
/** Of the memory that an arena takes for values, what lies between them. */
const gaps = 1.04

/** Bytes that the engine holds of open programs, whatever they compute with; the model is there twice when it opens. */
export const engineBytes = (programs: readonly ProgramNeeds[]): number =>
  programs.reduce((sum, { model, nodes }) => sum + 2 * model + nodes * nodeBytes, runningBytes)

/** Bytes of the files that programs are mapped to, each once. */
export const mappedBytes = (programs: readonly ProgramNeeds[]): number =>
  [...new Map(programs.flatMap(({ mapped }) => [...mapped])).values()].reduce((sum, n) => sum + n, 0)

/** Most bytes of a run's values: what it gives back lies in the engine and, copied, with us. */
export const valueBytes = ({ footprint: { peak, outputs } }: ProgramNeeds): number =>
  Math.max(gaps * peak, 2 * outputs)

/** A stage on which programs are rehearsed: give its `openSession` to `compile`. */
export const rehearsal = (): Rehearsal => {
  const sessions: ProgramNeeds[] = []
  const runs: RehearsedRun[] = []
  const openSession: OpenSession = async (model, { graph, memory }) => {
    const session = needsOf(graph!, model, memory)
    const blanks = new Map(
      graph!.outputs.map(({ name, shape, type }) => [name, { shape, dtype: dtypes.get(type) ?? 'float32' }]),
    )
    sessions.push(session)
    return {
      run: async (feeds, names) => {
        runs.push({ session, given: Object.values(feeds) })
        return names.map((name) => blankValue(blanks.get(name)!.shape, blanks.get(name)!.dtype))
      },
    }
  }
  return { openSession, sessions, runs }
}
