/**
 * @file Training models of the sizes that people have, beside PEFT and PyTorch in the same run: peak memory over all steps, time a
 * step, what a dry run says of both, and the way from the command to the first step. Each is a process of its own; their steps
 * alternate. WEFT_BENCH_CASES names some of the cases, with commas; WEFT_BENCH_MODELS a folder that keeps the models.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Peer, pythonWithTorch, type Steps, threads } from './_peers.js'
import { append } from '../src/tensor/numbers.js'
import { median, type Row, row } from './row.js'

/** Steps that both take in turn; the first compiles, and counts in the peaks alone. */
const steps = 6

/** Training that is compared: Weft's mode and PyTorch's, on the same batch. */
interface Case {
  readonly shape: 'llama135m' | 'qwen500m'
  readonly mode: 'lora' | 'recomputed' | 'full'
  readonly peer: 'lora' | 'full'
  readonly batch: number
  readonly time: number
}

const cases: Readonly<Record<string, Case>> = {
  lora: { shape: 'llama135m', mode: 'lora', peer: 'lora', batch: 4, time: 256 },
  full: { shape: 'llama135m', mode: 'full', peer: 'full', batch: 4, time: 256 },
  vocabulary: { shape: 'qwen500m', mode: 'lora', peer: 'lora', batch: 1, time: 512 },
  recomputed: { shape: 'qwen500m', mode: 'recomputed', peer: 'lora', batch: 2, time: 512 },
}

const source = (file: string): string => fileURLToPath(new URL(file, import.meta.url))

/** What a program of Node prints. */
const node = (args: readonly string[], env: Readonly<Record<string, string>> = {}): string => {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    env: { ...process.env, WEFT_THREADS: threads, ...env },
    encoding: 'utf8',
  })
  if (status !== 0) throw new Error(`${args.join(' ')} failed: ${stderr}`)
  return stdout
}

const real = (...args: (string | number)[]): string =>
  node(['--import', 'tsx', source('_real.ts'), ...args.map(String)])

/** The folder of a model, written unless it is there. */
const modelIn = (folder: string, shape: string): string => {
  const path = join(folder, shape)
  if (existsSync(join(path, 'problem.json'))) return path
  mkdirSync(path, { recursive: true })
  real('write', shape, path)
  return path
}

/** All steps of one side. */
interface Course {
  readonly milliseconds: number
  readonly peak: number
}

const courseOf = (taken: readonly Steps[]): Course => ({
  milliseconds: median(taken.slice(1).flatMap(({ times }) => times)),
  peak: taken.at(-1)!.peak!,
})

/** Both take their steps in turn. Throws where they do not compute the same. */
const race = async (ours: Peer, theirs: Peer): Promise<readonly [Course, Course]> => {
  if (ours.ready.trained !== theirs.ready.trained)
    throw new Error(`${theirs.label} trains ${theirs.ready.trained} numbers, Weft ${ours.ready.trained}`)
  const taken: readonly [Steps[], Steps[]] = [[], []]
  for (let i = 0; i < steps; i++) {
    taken[0].push(await ours.steps(1))
    taken[1].push(await theirs.steps(1))
  }
  const [first, other] = taken.map(([{ loss }]) => loss)
  if (!(Math.abs(first - other) < 1e-3)) throw new Error(`first losses: ${first}, ${theirs.label} ${other}`)
  return [courseOf(taken[0]), courseOf(taken[1])]
}

const megabytes = (bytes: number): number => bytes / 1e6

const rowsOf = async (name: string, models: string, python: string): Promise<Row[]> => {
  const { shape, mode, peer, batch, time } = cases[name]
  const model = modelIn(models, shape)
  const where = [model, String(batch), String(time)] as const
  const stated = JSON.parse(real('state', mode, ...where)) as { memory: number; stepSeconds: number }
  const ours = await Peer.own('_real.ts', mode, ...where)
  const theirs = await Peer.start(python, 'lora_peft.py', model, peer, String(batch), String(time))
  try {
    const [own, other] = await race(ours, theirs)
    const job = `${mode} ${shape}, ${batch} x ${time}`
    const memory = [megabytes(own.peak), megabytes(other.peak)] as const
    return [
      row(`${job}: peak over ${steps} steps`, memory[0], theirs.label, memory[1], 'MB'),
      row(`${job}: a step`, own.milliseconds, theirs.label, other.milliseconds, 'ms'),
      row(`${job}: stated peak`, megabytes(stated.memory), 'the peak', memory[0], 'MB'),
      row(`${job}: stated step`, 1000 * stated.stepSeconds, 'the step', own.milliseconds, 'ms'),
    ]
  } finally {
    ours.stop()
    theirs.stop()
  }
}

/** What a command of one short step noted of its beginning. */
interface Beginning {
  /** Milliseconds from the command to the end of its first step. */
  readonly ended: number
  /** Bytes before that step. */
  readonly resident: number
  /** Milliseconds of a later step. */
  readonly step: number
}

const beginning = (model: string, scratch: string): Beginning => {
  const data = join(scratch, 'data.jsonl')
  const noted = join(scratch, 'first.json')
  writeFileSync(data, `${JSON.stringify({ text: 'A method answers by name.' })}\n`.repeat(8))
  const flags = ['--targets', 'all-linear', '--batch', '1', '--length', '16', '--steps', '2', '--force']
  const command = [weft, 'adapt', 'lora', model, '--data', data, ...flags]
  node(['--import', source('_first.mjs'), ...command, '--out', join(scratch, 'adapter')], {
    WEFT_HOME: join(scratch, 'home'),
    WEFT_CACHE: join(scratch, 'cache'),
    WEFT_BENCH_FIRST: noted,
  })
  return JSON.parse(readFileSync(noted, 'utf8')) as Beginning
}

const weft = source('../dist/cli/main.js')

/** From the command to its first step: over a file of 32 bits, and over one of 16 whose copy is in the cache. */
const start = (models: string, scratch: string): Row[] => {
  const model = modelIn(models, 'llama135m')
  const narrow = join(scratch, 'bfloat16')
  node([weft, 'convert', model, '--dtype', 'bfloat16', '--out', narrow])
  const { ended: cold } = beginning(narrow, scratch)
  console.log(`with a copy to make: ${(cold / 1000).toFixed(1)} s from the command to its first step`)
  return [
    ['a file of 32 bits', model],
    ['16 bits, copy cached', narrow],
  ].flatMap(([what, folder]) => {
    const { ended, resident, step } = beginning(folder, scratch)
    return [
      row(`${what}: to the first step done`, ended, 'the budget: 3 s and a step', 3000 + step, 'ms'),
      row(`${what}: resident before it`, megabytes(resident), 'the budget', 400, 'MB'),
    ]
  })
}

export const bench = async (): Promise<Row[]> => {
  const scratch = mkdtempSync(join(tmpdir(), 'weft-bench-'))
  const models = process.env.WEFT_BENCH_MODELS ?? join(scratch, 'models')
  const chosen = process.env.WEFT_BENCH_CASES?.split(',') ?? ['start', ...Object.keys(cases)]
  const python = pythonWithTorch('peft')
  if (!python) console.log('No Python that imports torch and peft (WEFT_PYTHON, python3): no rows beside it.')
  console.log(`${cpus()[0].model}, ${threads} threads`)
  try {
    const rows = chosen.includes('start') ? start(models, scratch) : []
    for (const name of Object.keys(cases).filter((name) => python && chosen.includes(name)))
      append(rows, await rowsOf(name, models, python!))
    return rows
  } finally {
    rmSync(scratch, { recursive: true })
  }
}
