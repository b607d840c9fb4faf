/** @file `weft docs`: the pages of the documentation, those of tasks from files and those of methods from their cards. */
import { readdir, readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { nearest, UsageError } from '../errors.js'
import { table } from './table.js'
import { action, type Verb } from './verb.js'

const folder = new URL('../../docs/', import.meta.url)

/** A page as the list shows it. */
interface Listed {
  readonly name: string
  readonly title: string
}

const titleOf = (text: string): string => /^# (.*)$/m.exec(text)?.[1] ?? ''

/** The pages of tasks, by name. */
const taskPages = async (): Promise<(Listed & { readonly text: string })[]> => {
  const files = (await readdir(folder)).filter((file) => file.endsWith('.md')).sort()
  return Promise.all(
    files.map(async (file) => {
      const text = await readFile(new URL(file, folder), 'utf8')
      return { name: basename(file, '.md'), title: titleOf(text), text }
    }),
  )
}

export const docs: Verb = {
  group: 'Start',
  ...action({
    name: 'docs',
    summary: 'print a page of the documentation: a task or a method',
    arguments: [
      { name: 'page', summary: 'a task or a method; without it, all pages are listed', optional: true },
    ],
    examples: [
      'weft docs',
      'weft docs adapt',
      'weft docs lora      # when to choose it, when not, what it costs',
    ],
    run: async ({ arguments: { page } }, context) => {
      const tasks = await taskPages()
      const task = tasks.find(({ name }) => name === page)
      if (task) return context.result(task, ({ text }) => text.trimEnd())
      const { methodPages } = await import('./method-page.js')
      const methods = await methodPages()
      if (page === undefined) {
        const rows = [...tasks, ...methods.map(({ names, title }) => ({ name: names[0], title }))]
        const pages = rows.map(({ name, title }) => ({ name, title }))
        return context.result(pages, (all) =>
          table(
            ['page', 'about'],
            all.map(({ name, title }) => [name, title]),
          ),
        )
      }
      const method = methods.find(({ names }) => names.includes(page))
      if (method) return context.result(method, ({ text }) => text.trimEnd())
      const names = [...tasks.map(({ name }) => name), ...methods.flatMap((one) => one.names)]
      throw new UsageError('UnknownPage', `no page ${JSON.stringify(page)} in the documentation`, {
        hint: `Nearest: ${nearest(page, names).join(', ')}. List them all: weft docs`,
      })
    },
  }),
}
