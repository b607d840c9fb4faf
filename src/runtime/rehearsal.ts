/** @file Programs that are compiled and run without any engine: what they would need is noted, and nothing is computed. */
import { allocate, arrayLength, type DType, type TypedArray } from '../tensor/dtype.js'
import { needsOf, type ProgramNeeds } from '../tensor/needs.js'
import { onnxType } from '../tensor/onnx.js'
import { type Shape, sizeOf } from '../tensor/shape.js'
import type { Value } from '../tensor/value.js'
import type { OpenSession } from './session.js'

/** One run of a program. */
export interface RehearsedRun {
  readonly session: ProgramNeeds
  readonly given: readonly Value[]
  readonly made: readonly Value[]
}

/** Stage that programs are rehearsed on, and its notes. */
export interface Rehearsal {
  /** Opener of programs that run nothing, for `compile`'s options: of the encoded model [bytes]. Their results are zeros, made when they are read. */
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

/** A stage on which programs are rehearsed: give its `openSession` to `compile`. */
export const rehearsal = (): Rehearsal => {
  const sessions: ProgramNeeds[] = []
  const runs: RehearsedRun[] = []
  const openSession: OpenSession = async (model, { graph, memory }) => {
    // What only tries the processor is no program of the run.
    if (!graph) return { run: async (_, names) => names.map(() => blankValue([1])) }
    const session = needsOf(graph, model, memory)
    const blanks = new Map(
      graph.outputs.map(({ name, shape, type }) => [name, { shape, dtype: dtypes.get(type) ?? 'float32' }]),
    )
    sessions.push(session)
    return {
      run: async (feeds, names) => {
        const made = names.map((name) => blankValue(blanks.get(name)!.shape, blanks.get(name)!.dtype))
        runs.push({ session, given: Object.values(feeds), made })
        return made
      },
    }
  }
  return { openSession, sessions, runs }
}
