#!/usr/bin/env node
/** @file The `weft` binary: connects the program to the process. */
import { run } from './program.js'
import { abortOnSignals } from './signals.js'

// A reader that has had enough (`weft inspect DIR | head`) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))

const { stdout, stderr, stdin, env } = process
process.exitCode = await run(process.argv.slice(2), { stdout, stderr, stdin, env, signal: abortOnSignals() })
