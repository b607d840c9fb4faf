/** @file The process of one job. Its output goes to a file, so that it outlives the lab, whatever becomes of that. */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdir, open } from 'node:fs/promises'
import { dirname } from 'node:path'

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

  private constructor(private readonly child: ChildProcess) {
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

  get pid(): number | undefined {
    return this.child.pid
  }

  /** Asks it to stop, as Ctrl-C does; after a while it is stopped. */
  async stop(): Promise<void> {
    this.child.kill('SIGTERM')
    const timer = setTimeout(() => this.child.kill('SIGKILL'), grace)
    await this.exit
    clearTimeout(timer)
  }
}
