/** @file Papers whose method is not here yet: their cards stand in for it. A method's own card replaces its line. */
import type { Paper } from '../card.js'

export const planned: readonly Paper[] = []
