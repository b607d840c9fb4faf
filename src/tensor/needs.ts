/** @file What a program needs of the machine that opens and runs it, in bytes and work, said by its graph alone. */
import { type Footprint, footprintOf } from './liveness.js'
import type { OnnxGraph } from './onnx.js'

/** Needs of a program of the machine that opens it. */
export interface ProgramNeeds {
  readonly footprint: Footprint
  /** Bytes of the model, with what could not lie beside it. */
  readonly model: number
  readonly nodes: number
  /** Bytes of files that it is bound to, by the place where they lie. */
  readonly mapped: ReadonlyMap<string, number>
}

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
/** What the engine comes to once it runs: its library's pages, and what it holds beside values. */
const runningBytes = 45e6
/** Of the memory that an arena takes for values, what lies between them. */
const gaps = 1.04

/** Bytes that the engine holds of open programs, whatever they compute with; the model is there twice when it opens. */
export const engineBytes = (programs: readonly ProgramNeeds[]): number =>
  programs.reduce((sum, { model, nodes }) => sum + 2 * model + nodes * nodeBytes, runningBytes)

/** Bytes of the files that programs are mapped to, each once. */
export const mappedBytes = (programs: readonly ProgramNeeds[]): number =>
  [...new Map(programs.flatMap(({ mapped }) => [...mapped])).values()].reduce((sum, n) => sum + n, 0)

/** Bytes that the engine holds for a program's values, from its first run on: it keeps what a run took for the next. */
export const arenaBytes = ({ footprint: { peak } }: ProgramNeeds): number => gaps * peak

/** Most bytes of one run's values: those that the engine holds, and the copies that it gives back. */
export const valueBytes = (program: ProgramNeeds): number => arenaBytes(program) + program.footprint.outputs
