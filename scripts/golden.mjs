/** @file `npm run test:golden [-- NAME]`: the tests against reference outputs alone, or those of one case. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const [name] = process.argv.slice(2)
// A whole name: `lora` is not `lora-all`, nor `llama` `llama3-rope`.
const pattern = name && `(?<![\\w-])${name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}(?![\\w-])`
const folder = mkdtempSync(join(tmpdir(), 'weft-golden-'))
const report = join(folder, 'report.json')
const args = [
  fileURLToPath(new URL('../node_modules/vitest/vitest.mjs', import.meta.url)),
  ...['run', '.golden.test.', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`],
  ...(pattern ? ['-t', pattern] : []),
]
const { status } = spawnSync(process.execPath, args, { stdio: 'inherit' })
process.exitCode = status ?? 1

// A name that matches nothing must not look like success.
if (status === 0 && name) {
  const { numPassedTests, testResults } = JSON.parse(readFileSync(report, 'utf8'))
  const cases = testResults.flatMap((file) =>
    file.assertionResults.map((test) => test.ancestorTitles.join(' ')),
  )
  if (numPassedTests === 0) {
    console.error(`No golden test is named ${name}. There are:\n  ${[...new Set(cases)].join('\n  ')}`)
    process.exitCode = 2
  }
}
rmSync(folder, { recursive: true })
