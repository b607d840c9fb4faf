/** @file `npm run test:golden [-- NAME]`: the tests against reference outputs alone, or those of one name. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { argv } from 'node:process'
import { fileURLToPath } from 'node:url'

/** The pattern of the tests of `name`, as a whole name: `lora` is not `lora-all`, nor `llama` `llama3-rope`. */
export const patternFor = (name) => `(?<![\\w-])${name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}(?![\\w-])`

/** Runs the tests of `name`, or all, and gives the exit status: 2 where no test has that name. */
const runGolden = (name, report) => {
  const args = [
    fileURLToPath(new URL('../node_modules/vitest/vitest.mjs', import.meta.url)),
    ...['run', '.golden.test.', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`],
    ...(name ? ['-t', patternFor(name)] : []),
  ]
  const { status } = spawnSync(process.execPath, args, { stdio: 'inherit' })
  if (status !== 0 || !name) return status ?? 1
  // A name that matches nothing must not look like success.
  const { numPassedTests, testResults } = JSON.parse(readFileSync(report, 'utf8'))
  if (numPassedTests > 0) return 0
  const cases = testResults.flatMap((file) =>
    file.assertionResults.map((test) => test.ancestorTitles.join(' ')),
  )
  console.error(`No golden test is named ${name}. There are:\n  ${[...new Set(cases)].join('\n  ')}`)
  return 2
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  const folder = mkdtempSync(join(tmpdir(), 'weft-golden-'))
  try {
    process.exitCode = runGolden(argv[2], join(folder, 'report.json'))
  } finally {
    rmSync(folder, { recursive: true })
  }
}
