/**
 * @file A training step of every adapter beside one of full fine-tuning, and LoRA's beside PEFT's: time, peak memory, what
 * the optimiser keeps. Each is a process of its own, and their steps alternate.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { methods } from '../src/adapt/index.js'
import { Peer, pythonWithTorch, threads } from './_peers.js'
import { median, row } from './row.js'
import type { Row } from './row.js'
import { append } from '../src/tensor/numbers.js'

const [warmup, rounds, steps] = [3, 8, 2]

interface Race {
  readonly ours: number
  readonly theirs: number
  readonly peaks: readonly [number | undefined, number | undefined]
  /** Before the first step of each. */
  readonly losses: readonly [number, number]
}

/** Steps of two in turn: milliseconds of the middle one of each. */
const race = async (a: Peer, b: Peer): Promise<Race> => {
  const first = [await a.steps(warmup), await b.steps(warmup)] as const
  const times: [number[], number[]] = [[], []]
  const peaks: [number | undefined, number | undefined] = [undefined, undefined]
  for (let round = 0; round < rounds; round++)
    for (const [i, peer] of [a, b].entries()) {
      const { times: taken, peak } = await peer.steps(steps)
      append(times[i], taken)
      peaks[i] = peak
    }
  return {
    ours: median(times[0]),
    theirs: median(times[1]),
    peaks,
    losses: [first[0].loss, first[1].loss],
  }
}

const megabytes = (bytes: number): number => bytes / 1e6

const rowsOf = async (id: string, folder: string, full: Peer): Promise<Row[]> => {
  const own = await Peer.own('_adapt.ts', folder, id)
  try {
    const { ours, theirs, peaks } = await race(own, full)
    const peer = 'full fine-tuning'
    return [
      row(`${id}: a step (threads: ${threads})`, ours, peer, theirs, 'ms'),
      row(`${id}: peak memory of training`, megabytes(peaks[0]!), peer, megabytes(peaks[1]!), 'MB'),
      row(`${id}: numbers the optimiser keeps`, own.ready.optimizer!, peer, full.ready.optimizer!, ''),
    ]
  } finally {
    own.stop()
  }
}

/** Methods that stand around LoRA beside LoRA itself: the same adapter, data and steps. */
const besideLora = async (id: string, folder: string): Promise<Row[]> => {
  const peers = [await Peer.own('_adapt.ts', folder, id), await Peer.own('_adapt.ts', folder, 'lora')]
  try {
    const { ours, theirs, peaks, losses } = await race(peers[0], peers[1])
    if (losses[0] !== losses[1]) throw new Error(`${id} begins at ${losses[0]}, LoRA at ${losses[1]}`)
    return [
      row(`${id}: a step (threads: ${threads})`, ours, 'lora', theirs, 'ms'),
      row(`${id}: peak memory of training`, megabytes(peaks[0]!), 'lora', megabytes(peaks[1]!), 'MB'),
    ]
  } finally {
    for (const peer of peers) peer.stop()
  }
}

/** LoRA in PEFT, where a Python has it. */
const besidePeft = async (folder: string): Promise<Row[]> => {
  const python = pythonWithTorch('peft')
  if (!python) {
    console.log('PEFT: no Python that imports torch and peft (WEFT_PYTHON, python3), so no row for it.')
    return []
  }
  const peers = [
    await Peer.own('_adapt.ts', folder, 'lora'),
    await Peer.start(python, 'lora_peft.py', folder),
  ]
  const [own, peft] = peers
  try {
    if (peft.ready.trained !== own.ready.trained)
      throw new Error(`PEFT trains ${peft.ready.trained} numbers, Weft ${own.ready.trained}`)
    const { ours, theirs, losses } = await race(own, peft)
    console.log(`PEFT: first loss ${losses[1].toFixed(6)}, Weft's ${losses[0].toFixed(6)}`)
    if (!(Math.abs(losses[0] - losses[1]) < 1e-3)) throw new Error('PEFT computes something else')
    return [row(`lora: a step (threads: ${threads})`, ours, peft.label, theirs, 'ms')]
  } finally {
    for (const peer of peers) peer.stop()
  }
}

/** WEFT_BENCH_METHODS: which of them, with commas; default all. */
const wanted = (): string[] => {
  const all = methods.map(({ paper }) => paper.id)
  const chosen = process.env.WEFT_BENCH_METHODS?.split(',')
  return all.filter((id) => chosen?.includes(id) ?? true)
}

export const bench = async (): Promise<Row[]> => {
  const folder = await mkdtemp(join(tmpdir(), 'weft-bench-'))
  const full = await Peer.own('_adapt.ts', folder)
  try {
    const rows: Row[] = []
    const around = methods.filter((method) => method.around).map(({ paper }) => paper.id)
    for (const id of wanted()) {
      append(rows, await rowsOf(id, folder, full))
      if (around.includes(id)) append(rows, await besideLora(id, folder))
    }
    return [...rows, ...(await besidePeft(folder))]
  } finally {
    full.stop()
    await rm(folder, { recursive: true })
  }
}
