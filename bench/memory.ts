/** @file Peak resident memory of training, of recomputation, and of verbs that pass large files, each in its own process. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { row } from './row.js'
import type { Row } from './row.js'

const source = (file: string): string => fileURLToPath(new URL(file, import.meta.url))

const node = (args: string[], env: Record<string, string> = {}): string => {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--import', 'tsx', ...args], {
    env: { ...process.env, ...env },
    encoding: 'utf8',
  })
  if (status !== 0) throw new Error(`${args.join(' ')} failed: ${stderr}`)
  return stdout
}

const task = <K extends string>(name: string, folder = ''): Record<K, number> =>
  JSON.parse(node([source('_memory.ts'), name, folder])) as Record<K, number>

const megabytes = (bytes: number): number => bytes / 1e6

const training = (folder: string): Row => {
  task('write', folder)
  const { baseline, peak, parameters } = task<'baseline' | 'peak' | 'parameters'>('train', folder)
  console.log(
    `training ${parameters} parameters: peak ${megabytes(peak).toFixed()} MB, of which the runtime ${megabytes(baseline).toFixed()} MB`,
  )
  const measured = 'peak of training with AdamW above the runtime, a parameter'
  return row(measured, (peak - baseline) / parameters, 'the budget', 48, 'bytes')
}

const steady = (): Row => {
  const { early, late } = task<'early' | 'late'>('steady')
  const measured = 'peak over steps 500 to 1,000'
  return row(measured, megabytes(late), 'over steps 50 to 500', megabytes(early), 'MB')
}

const recomputation = (): Row => {
  const kept = task<'baseline' | 'peak' | 'loss'>('kept')
  const again = task<'baseline' | 'peak' | 'loss'>('recomputed')
  if (Math.abs(kept.loss - again.loss) > 1e-4)
    throw new Error(`recomputation changed the loss from ${kept.loss} to ${again.loss}`)
  console.log(`recomputation: the runtime takes ${megabytes(kept.baseline).toFixed()} MB of both peaks`)
  const measured = 'peak of training 12 blocks, recomputed'
  return row(measured, megabytes(again.peak), 'their values kept', megabytes(kept.peak), 'MB')
}

/** The greatest resident memory of `weft ...args`, in bytes. */
const peakOf = (args: string[], folder: string): number => {
  const file = join(folder, 'peak')
  node(['--import', source('_peak.mjs'), source('../src/cli/main.ts'), ...args], { WEFT_BENCH_PEAK: file })
  return Number(readFileSync(file, 'utf8'))
}

/** The peak on 2 GB above the peak on next to nothing, which is the runtime's own. */
const verb = (name: string, args: (at: string) => string[], large: string, small: string): Row => {
  const [on, own] = [peakOf(args(large), large), peakOf(args(small), small)]
  console.log(
    `${name}: peak ${megabytes(on).toFixed()} MB, of which the runtime ${megabytes(own).toFixed()} MB`,
  )
  const measured = `peak of ${name} on 2 GB above the runtime`
  return row(measured, megabytes(on - own), 'its largest tensor', 600, 'MB')
}

const verbs = (large: string, small: string): Row[] => {
  task('writeLarge', large)
  task('writeSmall', small)
  const fold = (at: string): string[] => ['fold', `${at}/base`, `${at}/adapter`, '--out', `${at}/folded`]
  return [
    verb('weft inspect', (at) => ['inspect', `${at}/base`], large, small),
    verb('weft fold', fold, large, small),
  ]
}

export const bench = async (): Promise<Row[]> => {
  const folder = mkdtempSync(join(tmpdir(), 'weft-bench-'))
  const [model, large, small] = ['model', 'large', 'small'].map((name) => join(folder, name))
  try {
    for (const made of [large, small]) mkdirSync(made)
    return [training(model), steady(), recomputation(), ...verbs(large, small)]
  } finally {
    rmSync(folder, { recursive: true })
  }
}
