/** @file `npx tsx scripts/docs.ts`: writes docs/methods anew, a page a method from its card and schemas. */
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { methodIndex, methodPages } from '../src/cli/method-page.js'

const folder = new URL('../docs/methods/', import.meta.url)
await rm(folder, { recursive: true, force: true })
await mkdir(folder, { recursive: true })
const pages = await methodPages()
for (const { names, text } of pages) await writeFile(new URL(`${names[0]}.md`, folder), text)
await writeFile(new URL('README.md', folder), methodIndex(pages))
