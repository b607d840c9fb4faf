/** @file compile: a function of tensors, traced once, becomes a program that runs on ONNX Runtime. */
import {
  defaultDevice,
  mapsFiles,
  openSession,
  type OpenSession,
  saturatesSignedProducts,
  type Session,
} from '#sessions'
import { input } from './create.js'
import { everything, reachable } from './graph.js'
import { type Device, heldAs, isProcessor } from './device.js'
import { interpret, toValue } from './interpreter.js'
import { lower, type Lowered } from './lower.js'
import { encodeModel } from './onnx.js'
import { needsOf, type ProgramNeeds } from './needs.js'
import type { Node, Spec } from './primitives.js'
import { type RandomSource, randomSource, type RunOptions } from './random-source.js'
import type { FileSource } from './source.js'
import { ShapeError, show, sizeOf } from './shape.js'
import { generalised } from './symbolic.js'
import type { Tensor } from './tensor.js'
import { leaves, refill, type Replace } from './tree.js'
import { castValue, value, type Value } from './value.js'
import { WeftError } from '../errors.js'
import { maxOf } from './numbers.js'

/** Options of `compile`. */
export interface CompileOptions {
  /**
   * Device that runs the program. Default: WEFT_DEVICE, else cpu in Node and wasm in browsers. 'reference' runs the
   * interpreter in float64.
   */
  readonly device?: Device | 'reference'
  /** ONNX Runtime's graph optimisation. Default: what was measured to be fastest for the graph on the device. */
  readonly optimization?: 'disabled' | 'basic' | 'extended' | 'all'
  /** Is told what a program needs before it is opened, and may throw. */
  readonly consider?: (needs: ProgramNeeds) => void | Promise<void>
  /** Opener of the sessions. Default: in this thread, which a run blocks; `workerSessions` opens them in a worker. */
  readonly openSession?: OpenSession
}

/** A compiled function: trees of values in, trees of values out. */
export interface Program<I, O> {
  /** Results on `inputs`. Throws ShapeError for other shapes or dtypes, WeftError (MissingInput), EngineError. */
  run(inputs: I, options?: RunOptions): Promise<O>
  /** Number of ONNX nodes, over all sessions. */
  readonly nodes: number
}

/** The shape and dtype of a value or tensor. */
export const specOf = ({ shape, dtype }: Spec): Spec => ({ shape, dtype })

interface Stage {
  readonly session?: Session
  readonly lowered: Lowered
  readonly produces: readonly Tensor[]
  /** Host operations that run after the session. */
  readonly hosts: readonly Node<'host'>[]
}

const sessions = new WeakMap<OpenSession, Map<string, WeakRef<Session>>>()

/** The sessions that `open` has opened and somebody still holds. */
const openedBy = (open: OpenSession): Map<string, WeakRef<Session>> => {
  const known = sessions.get(open) ?? new Map<string, WeakRef<Session>>()
  sessions.set(open, known)
  return known
}

/** Forgets the entries of sessions that are gone. */
const forgotten = new FinalizationRegistry<() => void>((forget) => forget())

const digest = async (bytes: Uint8Array): Promise<string> =>
  [...new Uint8Array(await crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>))]
    .map((b) => b.toString(16).padStart(2, '0'))
    .join('')

const readFile = async (source: FileSource): Promise<Value> => {
  try {
    return await source.read()
  } catch (cause) {
    const { path, offset, length, dtype, shape } = source
    const place = `${dtype} ${show(shape)}, ${length} bytes at ${offset} of ${path}`
    throw new WeftError(
      'BoundTensor',
      `${place}: the bound tensor cannot be read: ${(cause as Error).message}`,
      {
        hint: 'This device does not map files: every bound tensor must fit in memory.',
        cause,
      },
    )
  }
}

/** What a session is given in memory, files read where they cannot be mapped. */
const readSources = async (memory: Lowered['memory'], device: Device): Promise<Map<string, Value>> => {
  const read = new Map<string, Value>()
  for (const [name, source] of memory) {
    const v = source.kind === 'file' ? await readFile(source) : source.value
    read.set(name, castValue(v, heldAs(v.dtype, device)))
  }
  return read
}

/**
 * ONNX Runtime's optimiser takes seconds for a step of some thousand nodes, and graphs of products run no faster for
 * it. Convolutions do, and weights that are widened are widened once by it. Beyond 'basic' it merges what is computed again
 * with what it repeats.
 */
const levelFor = ({ traits }: Lowered, device: Device): NonNullable<CompileOptions['optimization']> => {
  if (isProcessor(device) && !traits.has('convolutions') && !traits.has('widened weights')) return 'disabled'
  return traits.has('recomputation') ? 'basic' : 'all'
}

/** The session of a lowered graph: programs of equal structure and bindings share one. */
const sessionOf = async (lowered: Lowered, device: Device, options: CompileOptions): Promise<Session> => {
  const { optimization = levelFor(lowered, device), openSession: open = openSession } = options
  const model = encodeModel(lowered.graph, lowered.opset)
  const key = `${device}:${optimization}:${await digest(model)}`
  const opened = openedBy(open)
  const known = opened.get(key)?.deref()
  if (known) return known
  await options.consider?.(needsOf(lowered.graph, model, lowered.memory))
  const session = await open(model, {
    device,
    optimization,
    memory: await readSources(lowered.memory, device),
    prepack: lowered.traits.has('packed kernels'),
    prepare: async () => {
      const files = new Map([...lowered.files].map((file) => [file.path, file]))
      for (const file of files.values()) await file.prepare?.()
    },
    graph: lowered.graph,
  })
  opened.set(key, new WeakRef(session))
  forgotten.register(session, () => opened.get(key)?.deref() ?? opened.delete(key))
  return session
}

const isHost = ({ node }: Tensor): boolean => node.op === 'host'
const isLeaf = ({ node }: Tensor): boolean =>
  node.op === 'input' || node.op === 'constant' || node.op === 'bound' || node.op === 'random'

/** How many host operations stand before each node: the number of the session that computes it. */
const levelsOf = (outputs: readonly Tensor[]): Map<Node, number> => {
  const levels = new Map<Node, number>()
  for (const n of reachable(outputs, everything))
    levels.set(
      n,
      maxOf(
        everything(n).map((t) => levels.get(t.node)! + Number(isHost(t))),
        0,
      ),
    )
  return levels
}

/** Lowers as the processor multiplies integers exactly: it is asked only where the graph holds such products. */
const lowerFor = async (
  outputs: readonly Tensor[],
  known: ReadonlySet<Tensor>,
  device: Device,
  { openSession: open = openSession }: CompileOptions,
): Promise<Lowered> => {
  const lowered = lower(outputs, known, device, { mapsFiles })
  if (!lowered.traits.has('signed products') || !(await saturatesSignedProducts(open, device))) return lowered
  return lower(outputs, known, device, { mapsFiles, saturates: true })
}

/** The one stage of `outputs` and of `others`, which are the same for another length. */
const openStage = async (
  outputs: readonly Tensor[],
  others: readonly Tensor[],
  device: Device,
  options: CompileOptions,
): Promise<Stage> => {
  if (reachable(outputs, everything).some((n) => n.op === 'host'))
    throw new WeftError('NotSymbolic', 'a host operation takes shapes that are known beforehand', {
      hint: 'Compile the program for each length.',
    })
  const cases = [outputs, others].map((each) => [...new Set(each)])
  const [a, b] = await Promise.all(cases.map((each) => lowerFor(each, new Set(), device, options)))
  const lowered = generalised(a, b)
  const session = await sessionOf(lowered, device, options)
  return { lowered, produces: cases[0], hosts: [], session }
}

/** Splits the graph at its host operations and opens a session for each part. */
const stagesOf = async (
  outputs: readonly Tensor[],
  device: Device,
  options: CompileOptions,
): Promise<Stage[]> => {
  const levels = levelsOf(outputs)
  const nodes = [...levels.keys()]
  const hosts = nodes.filter((n) => n.op === 'host') as unknown as Node<'host'>[]
  const crossing = (level: number): Tensor[] =>
    nodes.flatMap((n) => (levels.get(n)! > level ? everything(n) : []))
  const last = maxOf([0, ...levels.values(), ...outputs.map((t) => levels.get(t.node)! + Number(isHost(t)))])
  const known = new Set<Tensor>()
  const stages: Stage[] = []
  for (let level = 0; level <= last; level++) {
    const here = hosts.filter((h) => levels.get(h as unknown as Node) === level)
    const wanted = new Set([
      ...here.flatMap((h) => h.inputs),
      ...crossing(level).filter((t) => !isLeaf(t)),
      ...outputs,
    ])
    const produces = [...wanted].filter((t) => levels.get(t.node) === level && !isHost(t) && !known.has(t))
    const lowered = await lowerFor(produces, known, device, options)
    stages.push({
      lowered,
      produces,
      hosts: here,
      session: produces.length ? await sessionOf(lowered, device, options) : undefined,
    })
    for (const t of [...produces, ...here.flatMap((h) => h.outputs)]) known.add(t)
  }
  return stages
}

/** The shape and dtype that an input must have, and those of another case: axes in which these differ are of any length. */
interface Expected extends Spec {
  readonly other?: Spec
}

const fits = ({ shape, dtype }: Value, expected: Expected): boolean =>
  dtype === expected.dtype &&
  shape.length === expected.shape.length &&
  shape.every((d, i) => {
    const size = expected.shape[i]
    return d === size || (expected.other?.shape[i] ?? size) !== size
  })

const check = (path: string, v: Value | undefined, expected: Expected): Value => {
  if (!v) throw new WeftError('MissingInput', `the program's input '${path}' was not given`)
  if (!fits(v, expected))
    throw new ShapeError(
      'run',
      `input '${path}' is ${v.dtype} ${show(v.shape)}, compiled for ${expected.dtype} ${show(expected.shape)}`,
    )
  return v
}

const leafValue = (t: Tensor, env: ReadonlyMap<Tensor, Value>, random: RandomSource): Value => {
  if (t.node.op === 'random') {
    const { stream } = (t.node as Node<'random'>).attributes
    return value(random(sizeOf(t.shape), stream), t.shape, 'uint8')
  }
  const known = env.get(t)
  if (known) return known
  throw new WeftError(
    'MissingInput',
    `the program uses input('${(t.node as Node<'input'>).attributes.name}')`,
    {
      hint: 'It is no input of the function that was compiled: take it from its arguments.',
    },
  )
}

/** A result that lies on the device comes to the host. */
const onHost = async (v: Value): Promise<Value> => value(await v.read(), v.shape, v.dtype)

const runStages = async (
  stages: readonly Stage[],
  env: Map<Tensor, Value>,
  random: RandomSource,
  device: Device,
): Promise<void> => {
  for (const { session, lowered, produces, hosts } of stages) {
    const feeds: Record<string, Value> = {}
    for (const [name, t] of lowered.inputs)
      feeds[name] = castValue(leafValue(t, env, random), heldAs(t.dtype, device))
    if (session) {
      const results = await session.run(feeds, lowered.outputs)
      produces.forEach((t, i) => env.set(t, results[i]))
    }
    for (const host of hosts) {
      const given = await Promise.all(host.inputs.map((t) => onHost(leafValue(t, env, random))))
      const results = await host.attributes.run(given)
      host.outputs.forEach((o, i) => env.set(o, check(`${host.attributes.name} output ${i}`, results[i], o)))
    }
  }
}

/** `f` on symbols of the shapes and dtypes in `inputs`. */
const trace = <I, O>(f: (inputs: Replace<I, Spec, Tensor>) => O, inputs: I) => {
  const specs = leaves<Spec>(inputs).map(({ path, leaf }) => ({ path, spec: specOf(leaf) }))
  const symbols = specs.map(({ path, spec }) => input(path, spec.shape, spec.dtype))
  const tree = f(refill<Spec, Tensor, I>(inputs, symbols))
  return { specs, symbols, tree, outputs: leaves<Tensor>(tree).map(({ leaf }) => leaf) }
}

type Compiled<I, O> = Promise<Program<Replace<I, Spec, Value>, Replace<O, Tensor, Value>>>

const compileCases = async <I, O>(
  f: (inputs: Replace<I, Spec, Tensor>) => O,
  [inputs, other]: readonly [I, I?],
  options: CompileOptions,
): Compiled<I, O> => {
  const { specs, symbols, tree, outputs } = trace(f, inputs)
  const another = other === undefined ? undefined : trace(f, other)
  const device = options.device ?? defaultDevice()
  const finish = (values: readonly Value[]): Replace<O, Tensor, Value> =>
    refill<Tensor, Value, O>(tree, values)
  const bind = (given: unknown): Value[] => {
    const values = leaves<Value>(given)
    const byPath = new Map(values.map(({ path, leaf }) => [path, leaf]))
    return specs.map(({ path, spec }, i) =>
      check(path, byPath.get(path), { ...spec, other: another?.specs[i].spec }),
    )
  }
  if (device === 'reference')
    return {
      nodes: 0,
      run: async (given, run = {}) => {
        const values = bind(given)
        const feeds = Object.fromEntries(specs.map(({ path }, i) => [path, values[i]]))
        const wanted = another ? trace(f, refill<Spec, Spec, I>(inputs, values) as I).outputs : outputs
        const numbers = await interpret(wanted, { inputs: feeds, random: randomSource(run) })
        return finish(wanted.map((t, i) => toValue(t, numbers[i])))
      },
    }
  const stages = another
    ? [await openStage(outputs, another.outputs, device, options)]
    : await stagesOf(outputs, device, options)
  return {
    nodes: stages.reduce((n, s) => n + s.lowered.graph.nodes.length, 0),
    run: async (given, run = {}) => {
      const env = new Map<Tensor, Value>()
      bind(given).forEach((v, i) => env.set(symbols[i], v))
      await runStages(stages, env, randomSource(run), device)
      return finish(outputs.map((t) => env.get(t)!))
    },
  }
}

/**
 * Traces `f` once on symbols of the shapes and dtypes in `inputs` (a tree of specs or values) and compiles what it
 * returns (a tree of tensors, [...] each). Programs of equal structure share one compiled session. Throws EngineError
 * where ONNX Runtime refuses the graph, ShapeError where `f` is wrong.
 */
export const compile = <I, O>(
  f: (inputs: Replace<I, Spec, Tensor>) => O,
  inputs: I,
  options: CompileOptions = {},
): Compiled<I, O> => compileCases(f, [inputs], options)

/**
 * The program of `f` for any length: `inputs` and `other`, trees of specs or values, differ in the axes that a run may give
 * of any one length. Throws as `compile` does, and WeftError (NotSymbolic) where anything but shapes depends on the length, a
 * shape does in two places, or a host operation stands in the way.
 */
export const compileAnyLength = <I, O>(
  f: (inputs: Replace<I, Spec, Tensor>) => O,
  inputs: I,
  other: I,
  options: CompileOptions = {},
): Compiled<I, O> => compileCases(f, [inputs, other], options)
