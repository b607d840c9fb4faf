/** @file Peak resident memory of training on a Parquet file of 1 GB in row groups of 64 MB, above that on a few rows. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { fileWriter, ParquetWriter, schemaFromColumnData } from 'hyparquet-writer'
import { writeTinyLlama } from '../test/tiny.js'
import { Stream } from '../src/random/index.js'
import { row } from './row.js'
import type { Row } from './row.js'

const source = (file: string): string => fileURLToPath(new URL(file, import.meta.url))

const rowBytes = 2048
const rowGroup = 64e6
const fileBytes = 1e9

/** Texts of words that do not repeat, so that nothing makes the file smaller than what it holds. */
const texts = (count: number, random: Stream): string[] =>
  Array.from({ length: count }, () => {
    const words: string[] = []
    for (let length = 0; length < rowBytes; length += 9)
      words.push(random.uniform().toString(36).slice(2, 10))
    return words.join(' ')
  })

const writeParquet = async (path: string): Promise<void> => {
  const random = new Stream(0)
  const columnOf = (data: string[]) => [{ name: 'text', data, type: 'STRING' as const, offsetIndex: false }]
  const writer = new ParquetWriter({
    writer: fileWriter(path),
    schema: schemaFromColumnData({ columnData: columnOf(['a']) }),
    codec: 'UNCOMPRESSED',
  })
  const rows = Math.floor(rowGroup / rowBytes)
  for (let bytes = 0; bytes < fileBytes; bytes += rowGroup)
    await writer.write({ columnData: columnOf(texts(rows, random)), rowGroupSize: rows })
  await writer.finish()
}

/** The greatest resident memory of `weft train` on these data, in bytes. */
const peakOn = (data: string, folder: string, name: string): number => {
  const peak = join(folder, `${name}.peak`)
  const program = ['--import', 'tsx', '--import', source('_peak.mjs'), source('../src/cli/main.ts')]
  const what = ['train', '--model', join(folder, 'model'), '--data', data, '--out', join(folder, name)]
  const { status, stderr } = spawnSync(
    process.execPath,
    [...program, ...what, '--steps', '20', '--batch', '4', '--length', '64'],
    { env: { ...process.env, WEFT_BENCH_PEAK: peak }, encoding: 'utf8' },
  )
  if (status !== 0) throw new Error(`weft train on ${name} failed: ${stderr}`)
  return Number(readFileSync(peak, 'utf8'))
}

export const bench = async (): Promise<Row[]> => {
  const folder = mkdtempSync(join(tmpdir(), 'weft-bench-'))
  try {
    await writeTinyLlama(join(folder, 'model'))
    const large = join(folder, 'large.parquet')
    await writeParquet(large)
    const small = join(folder, 'small.jsonl')
    const few = texts(8, new Stream(1)).map((text) => JSON.stringify({ text }))
    writeFileSync(small, few.join('\n'))
    const [on, own] = [peakOn(large, folder, 'large'), peakOn(small, folder, 'small')]
    const size = (statSync(large).size / 1e6).toFixed()
    console.log(
      `${size} MB of Parquet: peak ${(on / 1e6).toFixed()} MB, on 8 rows ${(own / 1e6).toFixed()} MB`,
    )
    const measured = 'peak of training on 1 GB of Parquet above that on 8 rows'
    return [row(measured, (on - own) / 1e6, 'the budget', 300, 'MB')]
  } finally {
    rmSync(folder, { recursive: true })
  }
}
