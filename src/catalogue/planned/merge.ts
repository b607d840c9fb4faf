/** @file Planned papers of the family merge. */
import type { Paper } from '../../papers/card.js'

export const merge: readonly Paper[] = []
