#!/usr/bin/env node
/** @file The `weft` binary: connects the program to the process. */
import { run } from './program.js'

const controller = new AbortController()

// `once` restores the system's own handling, so a second Ctrl-C ends the process even while native code holds the thread.
process.once('SIGINT', () => controller.abort('SIGINT'))
process.once('SIGTERM', () => controller.abort('SIGTERM'))

// A reader that has had enough (`weft inspect DIR | head`) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))

process.exitCode = await run(process.argv.slice(2), {
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  signal: controller.signal,
})
