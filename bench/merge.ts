/** @file `weft merge` on folders of 2 GB, the whole command timed, beside reading them and copying one; and its memory. */
import { spawnSync } from 'node:child_process'
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, statfsSync } from 'node:fs'
import { writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { float32ToBfloat16, layOut, type TensorPlan } from '../src/checkpoint/index.js'
import { keyOf, normal } from '../src/random/index.js'
import { median, row } from './row.js'
import type { Row } from './row.js'

const rounds = 3
const width = 2048
const feedForward = 5632
/** Rows of an embedding of 600 MB. */
const vocabulary = 146_484
/** Bytes of a layer. */
const layerBytes = 2 * width * (2 * width + 2 * 512 + 3 * feedForward + 2)

const layersFor = (bytes: number): number => Math.ceil((bytes - 2 * width * vocabulary) / layerBytes)

const plans = (layers: number): TensorPlan[] => {
  const half = (name: string, shape: number[]): TensorPlan => ({ name, dtype: 'BF16', shape })
  const layer = (i: number): TensorPlan[] => {
    const at = `model.layers.${i}`
    return [
      ...['q', 'o'].map((part) => half(`${at}.self_attn.${part}_proj.weight`, [width, width])),
      ...['k', 'v'].map((part) => half(`${at}.self_attn.${part}_proj.weight`, [512, width])),
      ...['gate', 'up'].map((part) => half(`${at}.mlp.${part}_proj.weight`, [feedForward, width])),
      half(`${at}.mlp.down_proj.weight`, [width, feedForward]),
      ...['input', 'post_attention'].map((part) => half(`${at}.${part}_layernorm.weight`, [width])),
    ]
  }
  return [
    half('model.embed_tokens.weight', [vocabulary, width]),
    ...Array.from({ length: layers }, (_, i) => layer(i)).flat(),
  ]
}

/** 8 MB of weights: common ones, and a fine-tuning's small change of them. */
const weights = (seed: number): Uint8Array => {
  const [common, change] = [new Float32Array(1 << 22), new Float32Array(1 << 22)]
  normal(common, keyOf('bench/merge'))
  normal(change, keyOf(`bench/merge ${seed}`))
  const bits = float32ToBfloat16(common.map((x, i) => 0.02 * x + (seed ? 0.002 * change[i] : 0)))
  return new Uint8Array(bits.buffer)
}

/** Writes a model of about `bytes`, in which 8 MB of weights come again and again. */
const writeModel = (folder: string, bytes: number, seed: number): void => {
  const layers = layersFor(bytes)
  const { header, size } = layOut(plans(layers), { format: 'pt' }, 'model.safetensors')
  const block = weights(seed)
  mkdirSync(folder)
  const file = openSync(join(folder, 'model.safetensors'), 'w')
  writeSync(file, header)
  for (let at = header.length; at < size; at += block.length)
    writeSync(file, block, 0, Math.min(block.length, size - at))
  closeSync(file)
  const config = {
    ...{ model_type: 'llama', hidden_size: width, intermediate_size: feedForward, num_hidden_layers: layers },
    ...{ num_attention_heads: 16, num_key_value_heads: 4, vocab_size: vocabulary },
    ...{ tie_word_embeddings: true, torch_dtype: 'bfloat16' },
  }
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config))
}

const weft = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
const peakModule = new URL('_peak.mjs', import.meta.url).href

/** Seconds that the command takes in `folder`. */
const timed = (folder: string, command: string, args: string[], env: Record<string, string> = {}): number => {
  const start = performance.now()
  const { status, stderr } = spawnSync(command, args, {
    ...{ cwd: folder, encoding: 'utf8', env: { ...process.env, ...env } },
  })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed: ${stderr}`)
  return (performance.now() - start) / 1000
}

const methods = {
  linear: ['--method', 'linear', 'a', 'b'],
  ties: ['--method', 'ties', '--base', 'base', 'a', 'b', '-p', 'density=0.5'],
}

const merge = (folder: string, method: readonly string[]): number => {
  rmSync(join(folder, 'out'), { recursive: true, force: true })
  return timed(folder, process.execPath, [weft, 'merge', ...method, '--out', 'out', '--quiet'])
}

/** Reads two folders and copies one. */
const copy = (folder: string): number => {
  rmSync(join(folder, 'c'), { recursive: true, force: true })
  mkdirSync(join(folder, 'c'))
  return timed(folder, 'sh', [
    '-c',
    'cat a/*.safetensors b/*.safetensors > /dev/null && cp a/*.safetensors c',
  ])
}

/** The greatest resident memory of the command, in MB. */
const peak = (folder: string, method: readonly string[]): number => {
  const file = join(folder, 'peak')
  rmSync(join(folder, 'out'), { recursive: true, force: true })
  const args = ['--import', peakModule, weft, 'merge', ...method, '--out', 'out', '--quiet']
  timed(folder, process.execPath, args, { WEFT_BENCH_PEAK: file })
  return Number(readFileSync(file, 'utf8')) / 1e6
}

const speed = (folder: string): Row[] => {
  const times = { copy: [] as number[], linear: [] as number[], ties: [] as number[] }
  for (let round = 0; round < rounds; round++) {
    times.copy.push(copy(folder))
    times.linear.push(merge(folder, methods.linear))
    times.ties.push(merge(folder, methods.ties))
  }
  rmSync(join(folder, 'c'), { recursive: true })
  const peer = 'cat A B > /dev/null && cp A C'
  const theirs = median(times.copy)
  return [
    row('linear merge of two folders of 2 GB (at most 2)', median(times.linear), peer, theirs, 's'),
    row('TIES merge of these and their base (at most 4)', median(times.ties), peer, theirs, 's'),
  ]
}

const names = ['base', 'a', 'b']

/** Of each method, the peak on folders of so many bytes. */
const peaks = (folder: string): number[] => Object.values(methods).map((method) => peak(folder, method))

const inFolder = <T>(bytes: number, work: (folder: string) => T): T => {
  const folder = mkdtempSync(join(tmpdir(), 'weft-bench-'))
  try {
    names.forEach((name, seed) => writeModel(join(folder, name), bytes, seed))
    return work(folder)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

const [small, large] = [2e9, 8e9]

export const bench = async (): Promise<Row[]> => {
  const measured = inFolder(small, (folder) => ({ speed: speed(folder), peaks: peaks(folder) }))
  const { bavail, bsize } = statfsSync(tmpdir())
  const room = bavail * bsize > 5 * large
  if (!room) console.log('folders of 8 GB are left out: the disk has no room for four of them')
  const onLarge = room ? inFolder(large, peaks) : []
  return [
    ...measured.speed,
    ...Object.keys(methods).flatMap((method, i) => [
      row(`peak memory of ${method} on 2 GB`, measured.peaks[i], 'the budget', 1000, 'MB'),
      ...(room
        ? [row(`peak memory of ${method} on 8 GB`, onLarge[i], 'on 2 GB', measured.peaks[i], 'MB')]
        : []),
    ]),
  ]
}
