/**
 * @file A process that says what training a small model will need and then trains it: rehearse.test.ts runs it. Argument: all,
 * or adapter. It prints bytes: stated beforehand, those of values among them, and held at most.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { lora } from '../src/adapt/index.js'
import { open } from '../src/checkpoint/index.js'
import { openModel } from '../src/models/index.js'
import { valueOf } from '../src/tensor/index.js'
import { fit, rehearse } from '../src/train/index.js'
import { tinyConfig, writeFilled } from './tiny.js'

const mode = process.argv[2]
const folder = mkdtempSync(join(tmpdir(), 'weft-'))
const sizes = {
  hidden_size: 128,
  intermediate_size: 384,
  num_hidden_layers: 6,
  head_dim: 32,
  num_attention_heads: 4,
}
await writeFilled(folder, tinyConfig(4096, { ...sizes, max_position_embeddings: 256 }), (data) => {
  for (let i = 0; i < data.length; i++) data[i] = Math.sin(i) / 20
})
const checkpoint = await open(folder)
const model =
  mode === 'adapter'
    ? await lora(checkpoint, { targets: 'all-linear' })
    : await openModel(checkpoint, { trainable: true })
const ids = valueOf(
  Int32Array.from({ length: 8 * 256 }, (_, i) => (i * 31) % 4096),
  [8, 256],
  'int32',
)
const options = { clip: 1, steps: 2 }
const data = () => [0, 1].map(() => ({ ids, labels: ids }))
const before = process.memoryUsage.rss()
const { memory, values } = await rehearse(model, data, options)
await fit(model, data, options)
const peak = (): number => {
  try {
    return 1024 * Number(/VmHWM:\s*(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1])
  } catch {
    return 1024 * process.resourceUsage().maxRSS
  }
}
process.stdout.write(JSON.stringify({ stated: before + memory, values, peak: peak() }))
await checkpoint.close()
rmSync(folder, { recursive: true })
