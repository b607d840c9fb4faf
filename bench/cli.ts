/** @file How long the command line takes to print its help, beside Node doing nothing. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { median, row } from './row.js'
import type { Row } from './row.js'

const main = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))

const milliseconds = (args: string[]): number => {
  const start = performance.now()
  if (spawnSync(process.execPath, args).status !== 0) throw new Error(`node ${args.join(' ')} failed`)
  return performance.now() - start
}

export const bench = async (): Promise<Row[]> => {
  const [help, nothing]: [number[], number[]] = [[], []]
  // Alternating, so that a busy machine slows both alike.
  for (let i = 0; i < 21; i++) {
    help.push(milliseconds([main, '--help']))
    nothing.push(milliseconds(['-e', '0']))
  }
  return [row('weft --help', median(help), 'node -e 0', median(nothing), 'ms')]
}
