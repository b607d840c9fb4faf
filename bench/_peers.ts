/** @file The libraries compared with: each a process of its own, asked for some training steps at a time. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const folder = fileURLToPath(new URL('peers/', import.meta.url))

/** How many threads Weft and PyTorch use: WEFT_THREADS, else one a core. */
export const threads: string = process.env.WEFT_THREADS || String(availableParallelism())

/** Installs the JavaScript peers under bench/peers unless they are there. */
export const installPeers = (): void => {
  if (existsSync(`${folder}node_modules/@tensorflow/tfjs`)) return
  console.log('Installing TensorFlow.js and jax-js under bench/peers ...')
  const { status } = spawnSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], {
    cwd: folder,
    stdio: 'inherit',
    shell: process.platform === 'win32',
  })
  if (status !== 0) throw new Error('the peers could not be installed: npm ci failed in bench/peers')
}

/** A Python that imports torch: WEFT_PYTHON, else python3; undefined where there is none. */
export const pythonWithTorch = (): string | undefined =>
  [process.env.WEFT_PYTHON, 'python3'].find(
    (python) => python && spawnSync(python, ['-c', 'import torch'], { stdio: 'ignore' }).status === 0,
  )

export interface Steps {
  /** Milliseconds of each. */
  readonly times: number[]
  /** Before the first. */
  readonly loss: number
}

export class Peer {
  private constructor(
    private readonly child: ChildProcess,
    private readonly lines: AsyncIterator<string>,
    /** What it calls itself. */
    readonly label: string,
  ) {}

  /** Starts `file` of bench/peers with `command` on the problem in `problem`. */
  static async start(command: string, file: string, problem: string): Promise<Peer> {
    const child = spawn(command, [`${folder}${file}`, problem], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, OMP_NUM_THREADS: threads, WEFT_BENCH_THREADS: threads },
    })
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    const { label } = await Peer.answer<{ label: string }>(lines, file)
    return new Peer(child, lines, label)
  }

  private static async answer<T>(lines: AsyncIterator<string>, name: string): Promise<T> {
    const { value, done } = await lines.next()
    if (done) throw new Error(`${name} ended before it answered`)
    return JSON.parse(value) as T
  }

  /** Takes `count` training steps. */
  steps(count: number): Promise<Steps> {
    this.child.stdin!.write(`${count}\n`)
    return Peer.answer(this.lines, this.label)
  }

  stop(): void {
    this.child.kill()
  }
}
