/**
 * @file `npx tsx scripts/documented.ts [--room src/text] [--rule shape] [--summary]`: what the docstrings of the public
 * surface lack, as file:line name, of all rules or of those that are named. Exit status 1 when anything is missing.
 */
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { inspectSurface, type Lack, rules } from './documented/rules.js'
import { openProject } from './documented/surface.js'

const { values } = parseArgs({
  options: {
    room: { type: 'string' },
    rule: { type: 'string', multiple: true },
    summary: { type: 'boolean' },
  },
})
const room = values.room?.replace(/\/+$/, '')
const isWanted = ({ file }: { file: string }): boolean =>
  room === undefined || file === room || file.startsWith(`${room}/`)

const roomOf = (file: string): string => file.split('/').slice(0, 2).join('/')

/** One line a room: how many items it has, and how many lacks of each kind. */
const table = (files: readonly string[], lacks: readonly Lack[]): string => {
  const rooms = [...new Set(files.map(roomOf))].sort()
  const rows = rooms.map((name) => {
    const counts = rules.map(
      (rule) => lacks.filter((lack) => lack.rule === rule && roomOf(lack.file) === name).length,
    )
    return [name, files.filter((file) => roomOf(file) === name).length, ...counts]
  })
  const total = rules.map((rule) => lacks.filter((lack) => lack.rule === rule).length)
  return [['room', 'items', ...rules], ...rows, ['all', files.length, ...total]]
    .map(([first, ...rest]) =>
      [String(first).padEnd(20), ...rest.map((x) => String(x).padStart(10))].join(''),
    )
    .join('\n')
}

const { items, lacks } = inspectSurface(openProject(fileURLToPath(new URL('..', import.meta.url))))
const files = items.filter(isWanted).map(({ file }) => file)
const asked = (lack: Lack): boolean => values.rule === undefined || values.rule.includes(lack.rule)
const wanted = lacks.filter((lack) => isWanted(lack) && asked(lack))
if (!values.summary)
  for (const { file, line, name, rule, message } of wanted)
    console.log(`${file}:${line} ${name}: ${message} (${rule})`)
console.log(table(files, wanted))
process.exitCode = wanted.length || !files.length ? 1 : 0
