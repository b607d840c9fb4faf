/** @file Towards a Unified View of Parameter-Efficient Transfer Learning (arXiv 2110.04366): see parallel.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { parallel } from './parallel.js'

export { parallel } from './parallel.js'

export const entry: Entry<typeof parallel> = { card, method: parallel }
