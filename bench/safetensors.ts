/** @file Reading every tensor of a 1 GB safetensors file through one buffer, beside `cat FILE > /dev/null`. */
import { spawnSync } from 'node:child_process'
import { closeSync, fsyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Checkpoint, open } from '../src/checkpoint/index.js'
import { layOut, type TensorPlan } from '../src/checkpoint/safetensors.js'
import { fillBytes, keyOf } from '../src/random/index.js'
import { median, row } from './row.js'
import type { Row } from './row.js'

/** A Llama's tensors, 1.0 GB of float32. */
const plans = (): TensorPlan[] => {
  const float = (name: string, shape: number[]): TensorPlan => ({ name, dtype: 'F32', shape })
  const layers = Array.from({ length: 16 }, (_, i) => {
    const at = `model.layers.${i}`
    return [
      float(`${at}.input_layernorm.weight`, [1024]),
      ...['q', 'k', 'v', 'o'].map((part) => float(`${at}.self_attn.${part}_proj.weight`, [1024, 1024])),
      ...['gate', 'up'].map((part) => float(`${at}.mlp.${part}_proj.weight`, [2816, 1024])),
      float(`${at}.mlp.down_proj.weight`, [1024, 2816]),
    ]
  })
  return [float('model.embed_tokens.weight', [48_000, 1024]), ...layers.flat()]
}

const writeFile = (path: string): void => {
  const { header, size } = layOut(plans(), { format: 'pt' }, 'model.safetensors')
  const block = new Uint8Array(8 << 20)
  fillBytes(block, keyOf('bench/safetensors'))
  const file = openSync(path, 'w')
  writeSync(file, header)
  for (let at = header.length; at < size; at += block.length)
    writeSync(file, block, 0, Math.min(block.length, size - at))
  fsyncSync(file)
  closeSync(file)
}

/** What is done with each tensor; gives the bytes that passed. */
type Pass = (checkpoint: Checkpoint, name: string) => Promise<number>

const inBlocks =
  (buffer: Uint8Array): Pass =>
  async (checkpoint, name) => {
    let bytes = 0
    for await (const block of checkpoint.rows(name, { buffer })) bytes += block.bytes.length
    return bytes
  }

const whole =
  (buffer: Uint8Array): Pass =>
  async (checkpoint, name) =>
    (await checkpoint.readRaw(name, buffer)).length

/** Milliseconds to pass every tensor; opening the file included. */
const readAll = async (path: string, pass: Pass): Promise<number> => {
  const start = performance.now()
  await using checkpoint = await open(path)
  let bytes = 0
  for (const name of checkpoint.names()) bytes += await pass(checkpoint, name)
  if (bytes < 1e9) throw new Error(`only ${bytes} bytes were read`)
  return performance.now() - start
}

const cat = (path: string): number => {
  const start = performance.now()
  if (spawnSync('sh', ['-c', 'cat "$0" > /dev/null', path]).status !== 0) throw new Error('cat failed')
  return performance.now() - start
}

/** Asks the system to forget the file's pages; whether it could. */
const forget = (path: string): boolean =>
  spawnSync('dd', [`if=${path}`, 'iflag=nocache', 'count=0'], { stdio: 'ignore' }).status === 0

export const bench = async (): Promise<Row[]> => {
  const folder = mkdtempSync(join(tmpdir(), 'weft-bench-'))
  try {
    const path = join(folder, 'model.safetensors')
    writeFile(path)
    const blocks = inBlocks(new Uint8Array(256 << 10))
    const tensors = whole(new Uint8Array(48_000 * 1024 * 4))
    const [cold, coldCat, warm, large, warmCat]: number[][] = [[], [], [], [], []]
    for (let i = 0; i < 4 && forget(path); i++) {
      if (i % 2) coldCat.push(cat(path))
      else cold.push(await readAll(path, blocks))
      forget(path)
      if (i % 2) cold.push(await readAll(path, blocks))
      else coldCat.push(cat(path))
    }
    for (let i = 0; i < 11; i++) {
      warm.push(await readAll(path, blocks))
      warmCat.push(cat(path))
      large.push(await readAll(path, tensors))
    }
    const peer = 'cat FILE > /dev/null'
    const rows = [
      row('every tensor of 1 GB, through one buffer of 256 KB', median(warm), peer, median(warmCat), 'ms'),
      row('every tensor of 1 GB, whole, in one buffer of 197 MB', median(large), peer, median(warmCat), 'ms'),
    ]
    if (cold.length)
      rows.push(row('the first, not in the page cache', median(cold), peer, median(coldCat), 'ms'))
    return rows
  } finally {
    rmSync(folder, { recursive: true })
  }
}
