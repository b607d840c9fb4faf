/** @file Mix-and-match adapters: see mam.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { mam } from './mam.js'

export { mam, type MamOptions } from './mam.js'

export const entry: Entry<typeof mam> = { card, method: mam, combines: ['parallel', 'prefix'] }
