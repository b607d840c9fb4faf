/** @file The mix-and-match adapter's card. */
import type { Paper } from '../../papers/card.js'
import { card as parallelCard } from '../parallel/card.js'

export const card: Paper = {
  ...parallelCard,
  id: 'mam',
  guide: {
    choose:
      'When one of the best mixtures of the older methods is wanted at once: a short prefix and a scaled parallel adapter.',
    avoid: 'When the result must fold, or when lora already does.',
    costs: 'The prefix and the adapter together. It stays beside its base.',
  },
  summary:
    'What the unified view recommends: few virtual keys and values where attention is, since there little capacity is ' +
    'enough, and a scaled adapter beside the feed-forward part, where most of the numbers are better spent.',
  terms: ['mix-and-match', 'MAM adapter', 'prefix', 'parallel adapter', 'hybrid', 'PEFT'],
}
