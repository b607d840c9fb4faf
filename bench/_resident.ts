/** @file The greatest resident memory of this process. */
import { readFileSync } from 'node:fs'

/** So far, in bytes. */
export const peak = (): number => {
  const line =
    process.platform === 'linux' && /VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))
  return 1024 * (line ? Number(line[1]) : process.resourceUsage().maxRSS)
}
