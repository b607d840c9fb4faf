/** @file `weft cache`: the float32 copies of 16-bit weights that programs map, listed, counted and removed. */
import type { StoredCopy } from '../checkpoint/index.js'
import { wrappedTable, widthOf } from './columns.js'
import { formatBytes } from './progress.js'
import { action } from './verb.js'
import type { Action, Context, Verb } from './verb.js'

export const cache: Verb = {
  group: 'Research',
  name: 'cache',
  noun: 'action',
  summary: 'list, size and clear the float32 copies of 16-bit models',
  examples: ['weft cache list', 'weft cache size', 'weft cache clear'],
  members: async () => [list, size, clear],
}

/** The copies, and the folder that they lie in. */
const found = async ({ env }: Context): Promise<{ folder?: string; copies: StoredCopy[] }> => {
  const { floatCopiesFolder, listFloatCopies } = await import('../checkpoint/index.js')
  const folder = floatCopiesFolder(env)
  return { folder, copies: folder === undefined ? [] : await listFloatCopies(folder) }
}

const total = (copies: readonly StoredCopy[]): number => copies.reduce((sum, { bytes }) => sum + bytes, 0)

const counted = (copies: readonly StoredCopy[]): string =>
  `${copies.length} ${copies.length === 1 ? 'copy' : 'copies'}, ${formatBytes(total(copies))}`

const where = (folder: string | undefined): string => folder ?? 'no folder: WEFT_CACHE is off'

const list: Action = action({
  name: 'list',
  summary: 'each copy: its size, when it was last used, the file that it was made from',
  arguments: [],
  examples: ['weft cache list', 'weft cache list --json'],
  run: async (_, context: Context) => {
    const { folder, copies } = await found(context)
    context.result(copies, () =>
      copies.length === 0
        ? `No copies (${where(folder)}).`
        : wrappedTable(
            ['size', 'last used', 'copy of'],
            copies.map(({ bytes, used, source }) => [
              formatBytes(bytes),
              new Date(used).toISOString().slice(0, 10),
              source ?? 'unfinished',
            ]),
            widthOf(context.stdout),
          ),
    )
  },
})

const size: Action = action({
  name: 'size',
  summary: 'how many copies there are, and the bytes that they take',
  arguments: [],
  examples: ['weft cache size'],
  run: async (_, context) => {
    const { folder, copies } = await found(context)
    context.result({ folder, copies: copies.length, bytes: total(copies) }, () => {
      return `${counted(copies)} (${where(folder)})`
    })
  },
})

const clear: Action = action({
  name: 'clear',
  summary: 'remove all copies; they are made again when a program needs them',
  arguments: [],
  examples: ['weft cache clear'],
  run: async (_, context) => {
    const { clearFloatCopies, floatCopiesFolder } = await import('../checkpoint/index.js')
    const folder = floatCopiesFolder(context.env)
    const removed = folder === undefined ? [] : await clearFloatCopies(folder)
    context.result({ removed: removed.length, bytes: total(removed) }, () => `Removed ${counted(removed)}.`)
  },
})
