/** @file `npm run bench [NAME]`: runs the benchmarks, prints a table, keeps the rows under bench/out. */
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { nearest } from '../src/errors.js'
import { short } from '../src/cli/progress.js'
import { table } from '../src/cli/table.js'
import type { Row } from './row.js'

const here = new URL('.', import.meta.url)
const helpers = ['main', 'row']

/** A benchmark is a file of this folder that exports `bench`; one whose name begins with `_` only helps others. */
const names = async (): Promise<string[]> =>
  (await readdir(here))
    .filter((file) => /^[a-z][\w-]*\.ts$/.test(file))
    .map((file) => file.slice(0, -3))
    .filter((name) => !helpers.includes(name))

const runOne = async (name: string): Promise<void> => {
  const { bench } = (await import(new URL(`${name}.ts`, here).href)) as { bench: () => Promise<Row[]> }
  const rows = await bench()
  const cells = rows.map((r) => [r.name, short(r.ours), short(r.theirs), r.unit, short(r.ratio), r.peer])
  console.log(`\n${name}\n${table(['measured', 'ours', 'theirs', 'unit', 'ratio', 'peer'], cells)}`)
  await mkdir(new URL('out/', here), { recursive: true })
  await writeFile(new URL(`out/${name}.json`, here), `${JSON.stringify(rows, null, 2)}\n`)
}

const known = await names()
const wanted = process.argv.slice(2)
const stranger = wanted.find((name) => !known.includes(name))
if (stranger) {
  console.error(`No benchmark ${stranger}. Nearest: ${nearest(stranger, known).join(', ')}.`)
  process.exit(2)
}
for (const name of wanted.length ? wanted : known)
  await runOne(name).catch((error: unknown) => {
    console.error(`\n${name} failed:`, error)
    process.exitCode = 1
  })
