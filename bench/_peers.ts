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

/** A Python that imports torch and these: WEFT_PYTHON, else python3; undefined where there is none. */
export const pythonWithTorch = (...others: string[]): string | undefined =>
  [process.env.WEFT_PYTHON, 'python3'].find(
    (python) =>
      python &&
      spawnSync(python, ['-c', `import ${['torch', ...others].join()}`], { stdio: 'ignore' }).status === 0,
  )

export interface Steps {
  /** Milliseconds of each. */
  readonly times: number[]
  /** Before the first. */
  readonly loss: number
  /** Bytes of resident memory at most since it was ready, where it says so. */
  readonly peak?: number
}

/** What a peer says when it is ready. */
export interface Ready {
  /** What it calls itself. */
  readonly label: string
  /** How many numbers train, and how many their optimiser keeps, where it says so. */
  readonly trained?: number
  readonly optimizer?: number
}

export class Peer {
  private constructor(
    private readonly child: ChildProcess,
    private readonly lines: AsyncIterator<string>,
    readonly ready: Ready,
  ) {}

  get label(): string {
    return this.ready.label
  }

  /** Starts `file` of bench/peers with `command` on the problem in `problem`. */
  static start(command: string, file: string, problem: string, ...more: string[]): Promise<Peer> {
    return Peer.spawn(command, [`${folder}${file}`, problem, ...more], file)
  }

  /** Starts a file of this folder, in TypeScript. */
  static own(file: string, ...args: string[]): Promise<Peer> {
    return Peer.spawn(process.execPath, ['--import', 'tsx', `${folder}../${file}`, ...args], file)
  }

  private static async spawn(command: string, args: readonly string[], name: string): Promise<Peer> {
    const child = spawn(command, args, {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, OMP_NUM_THREADS: threads, WEFT_THREADS: threads, WEFT_BENCH_THREADS: threads },
    })
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    return new Peer(child, lines, await Peer.answer<Ready>(lines, name))
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
