/** @file Planned papers of the family adapt. */
import type { Paper } from '../../papers/card.js'

export const adapt: readonly Paper[] = []
