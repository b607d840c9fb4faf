/** @file Planned papers of the family adapt. */
import type { Paper } from '../card.js'

export const adapt: readonly Paper[] = []
