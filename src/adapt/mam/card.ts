/** @file The mix-and-match adapter's card. */
import type { Paper } from '../../papers/card.js'
import { card as parallelCard } from '../parallel/card.js'

export const card: Paper = {
  ...parallelCard,
  id: 'mam',
  summary:
    'What the unified view recommends: few virtual keys and values where attention is, since there little capacity is ' +
    'enough, and a scaled adapter beside the feed-forward part, where most of the numbers are better spent.',
  terms: ['mix-and-match', 'MAM adapter', 'prefix', 'parallel adapter', 'hybrid', 'PEFT'],
}
