/** @file A training step of a small GPT beside the same step in TensorFlow.js, jax-js and PyTorch; compiling; overheads. */
import { rm } from 'node:fs/promises'
import { gpt, gptBatch, trainer, writeProblem } from './_gpt.js'
import { compileRow, overheadRows } from './_overhead.js'
import { installPeers, Peer, pythonWithTorch, threads } from './_peers.js'
import { median, row } from './row.js'
import type { Row } from './row.js'
import { append } from '../src/tensor/numbers.js'

interface Racer {
  readonly peer: Peer
  /** Steps before the first that counts, and in each round. */
  readonly warmup: number
  readonly steps: number
  readonly times: number[]
}

const ours = { warmup: 10, steps: 10 }
const rounds = 5

const startPeers = async (problem: string): Promise<Racer[]> => {
  installPeers()
  const racers: Racer[] = [
    {
      peer: await Peer.start(process.execPath, 'gpt_tfjs.mjs', problem),
      warmup: 1,
      steps: 1,
      times: [],
    },
    { peer: await Peer.start(process.execPath, 'gpt_jax.mjs', problem), warmup: 2, steps: 3, times: [] },
  ]
  const python = pythonWithTorch()
  if (!python) console.log('PyTorch: no Python that imports torch (WEFT_PYTHON, python3), so no row for it.')
  else
    racers.push({
      peer: await Peer.start(python, 'gpt_torch.py', problem),
      warmup: 10,
      steps: 10,
      times: [],
    })
  return racers
}

const timed = async (step: () => Promise<number>, count: number): Promise<number[]> => {
  const times: number[] = []
  for (let i = 0; i < count; i++) {
    const start = performance.now()
    await step()
    times.push(performance.now() - start)
  }
  return times
}

const checkLoss = (loss: number, theirs: number, label: string): void => {
  const apart = Math.abs(loss - theirs)
  console.log(`${label}: first loss ${theirs.toFixed(6)}, Weft's ${loss.toFixed(6)}`)
  if (!(apart < 1e-3)) throw new Error(`${label} computes something else: the losses are ${apart} apart`)
}

/** A step of each in turn: ours, theirs, ours, theirs, ... */
const race = async (): Promise<Row[]> => {
  const model = await gpt()
  const problem = await writeProblem(model)
  const racers = await startPeers(problem)
  try {
    const step = trainer(model, gptBatch())
    const loss = await step()
    await timed(step, ours.warmup)
    for (const { peer, warmup } of racers) checkLoss(loss, (await peer.steps(warmup)).loss, peer.label)
    const times: number[] = []
    for (let round = 0; round < rounds; round++)
      for (const racer of racers) {
        append(times, await timed(step, ours.steps))
        append(racer.times, (await racer.peer.steps(racer.steps)).times)
      }
    return racers.map((r) =>
      row(`GPT training step (threads: ${threads})`, median(times), r.peer.label, median(r.times), 'ms'),
    )
  } finally {
    for (const { peer } of racers) peer.stop()
    await rm(problem, { recursive: true })
  }
}

export const bench = async (): Promise<Row[]> => {
  process.env.WEFT_THREADS = threads
  return [...(await race()), await compileRow(), ...(await overheadRows())]
}
