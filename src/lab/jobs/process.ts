/** @file The process of one job. Its output goes to a file, so that it outlives the lab, whatever becomes of that. */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdir, open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { processOf } from '../../runs/index.js'
import type { RunProcess } from '../../runs/index.js'

/** How a process ended. */
export interface Exit {
  code: number | null
  signal: NodeJS.Signals | null
}

/** Variables that are the lab's business alone. */
const secrets = ['DATABASE_URL', 'SMTP_URL', 'SMTP_FROM']

/** Time between asking a process to stop and stopping it. */
const grace = 5000

/** A running `weft reproduce`. */
export class JobProcess {
  readonly exit: Promise<Exit>
  /** Absent where it could not be started. */
  private readonly identity: RunProcess | undefined

  private constructor(private readonly child: ChildProcess) {
    this.identity = child.pid === undefined ? undefined : processOf(child.pid)
    this.exit = new Promise((done) => {
      child.once('error', () => done({ code: 1, signal: null }))
      child.once('exit', (code, signal) => done({ code, signal }))
    })
  }

  /** Starts `node ARGUMENTS`, with runs under `home` and events and errors in `log`. */
  static async start(args: readonly string[], home: string, log: string): Promise<JobProcess> {
    await mkdir(dirname(log), { recursive: true })
    const file = await open(log, 'w')
    try {
      const env: NodeJS.ProcessEnv = { ...process.env, WEFT_HOME: home, NO_COLOR: '1' }
      for (const name of secrets) delete env[name]
      const child = spawn(process.execPath, args, {
        env,
        stdio: ['ignore', 'ignore', file.fd],
        windowsHide: true,
      })
      return new JobProcess(child)
    } finally {
      await file.close()
    }
  }

  /** Whether `writer`, as a run's record names it, is this process. */
  wrote({ host, pid, born }: RunProcess): boolean {
    const { identity } = this
    return identity !== undefined && host === identity.host && pid === identity.pid && born === identity.born
  }

  /** Asks it to stop, as Ctrl-C does; after a while it is stopped. */
  async stop(): Promise<void> {
    this.child.kill('SIGTERM')
    const timer = setTimeout(() => this.child.kill('SIGKILL'), grace)
    await this.exit
    clearTimeout(timer)
  }
}
