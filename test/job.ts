/**
 * @file A job for the tests of the lab: a run under WEFT_HOME about the paper of its first argument, with as many rows
 * as its second argument says (`forever` too), or a failure.
 */
import { createRun } from '../src/runs/index.js'

const [paper, count] = process.argv.slice(2)
const say = (event: object): void => void process.stderr.write(`${JSON.stringify(event)}\n`)

const stop = new AbortController()
process.on('SIGTERM', () => stop.abort())
const run = await createRun(process.env.WEFT_HOME!, { command: 'reproduce', subject: paper, config: {} })
say({ status: 'log', text: `begun ${run.id}` })
const total = count === 'forever' ? Infinity : Number(count)
for (let step = 1; step <= total && !stop.signal.aborted; step++) {
  run.log({ loss: 1 / step }, { step })
  say({ status: 'progress', name: 'job', done: step, total, unit: 'steps', metrics: { loss: 1 / step } })
  await new Promise((done) => setTimeout(done, 5))
}
if (count === 'fail') {
  await run.finish('failed', { error: new Error('it went wrong') })
  say({ status: 'error', message: 'it went wrong', exitCode: 1 })
  process.exit(1)
}
await run.finish(stop.signal.aborted ? 'cancelled' : 'finished')
