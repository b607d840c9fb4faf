/**
 * @file Imported before a program: at its end the program writes when its first run of the engine began and ended and how long
 * the second took, in milliseconds since it started, and the resident memory before the first, in bytes.
 */
import { writeFileSync } from 'node:fs'
import { InferenceSession } from 'onnxruntime-node'

const runs = []
const { run } = InferenceSession.prototype

InferenceSession.prototype.run = async function (feeds, fetches, options) {
  const noted = { begun: performance.now(), resident: process.memoryUsage.rss() }
  runs.push(noted)
  const results = await run.call(this, feeds, fetches, options)
  noted.ended = performance.now()
  return results
}

process.on('exit', () => {
  const [first, second] = runs
  const { begun, ended, resident } = first
  const step = second.ended - second.begun
  writeFileSync(process.env.WEFT_BENCH_FIRST, JSON.stringify({ begun, ended, resident, step }))
})
