/** @file Every procedure on the zoo, in a process of its own whose engine has another number of threads. */
import { join } from 'node:path'
import { type Procedure, procedures } from '../src/merge/index.js'
import { saveMerged } from './merge-zoo.js'

const [, , folder, out] = process.argv
for (const procedure of procedures as readonly unknown[] as readonly Procedure<Record<string, unknown>>[])
  await saveMerged(procedure, folder, join(out, procedure.name)).catch((error: unknown) => {
    console.error(procedure.name, error)
    process.exitCode = 1
  })
