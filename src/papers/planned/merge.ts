/** @file Planned papers of the family merge. */
import type { Paper } from '../card.js'

export const merge: readonly Paper[] = []
