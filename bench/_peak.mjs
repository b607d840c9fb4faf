/** @file Imported before a program: at its end the program writes the greatest resident memory it had, in bytes. */
import { readFileSync, writeFileSync } from 'node:fs'

process.on('exit', () => {
  const line =
    process.platform === 'linux' && /VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))
  const kilobytes = line ? Number(line[1]) : process.resourceUsage().maxRSS
  writeFileSync(process.env.WEFT_BENCH_PEAK, String(1024 * kilobytes))
})
