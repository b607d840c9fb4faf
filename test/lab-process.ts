/** @file A lab in a process of its own, to be killed: over the folder of its first argument; its port on standard output. */
import { fileURLToPath } from 'node:url'
import { listen, openLab } from '../src/lab/index.js'
import { loader } from '../src/lab/self.js'

const job = fileURLToPath(new URL('./job.ts', import.meta.url))
const lab = await openLab({
  home: process.argv[2],
  interval: 20,
  command: ({ paper }) => [...loader(), job, paper, 'forever'],
})
const { port } = await listen(lab.app, { host: '127.0.0.1', port: 0 })
process.stdout.write(`${port}\n`)
