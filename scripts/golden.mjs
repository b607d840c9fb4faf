/** @file `npm run test:golden [-- NAME]`: the tests against reference outputs alone, or those of one case. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const [name] = process.argv.slice(2)
// A whole name: `lora` is not `lora-all`, nor `llama` `llama3-rope`.
const pattern = name && `(?<![\\w-])${name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}(?![\\w-])`
const vitest = fileURLToPath(new URL('../node_modules/vitest/vitest.mjs', import.meta.url))
const args = ['run', '.golden.test.', ...(pattern ? ['-t', pattern] : [])]
process.exitCode = spawnSync(process.execPath, [vitest, ...args], { stdio: 'inherit' }).status ?? 1
