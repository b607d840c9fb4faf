/** @file The card of LoKr. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'lokr',
  title: 'KronA: Parameter Efficient Tuning with Kronecker Adapter',
  date: '2022-12-20',
  authors: 5,
  arxiv: '2212.10650',
  family: 'adapt',
  guide: {
    choose: 'When the file must be as small as can be and the rank should still be high.',
    avoid: 'When widths are primes or nearly: the factors then come out lopsided.',
    costs:
      'The sizes of two small matrices whose Kronecker product is the update; the update is made whole each step. It folds into the weights.',
  },
  summary:
    'The update of a weight is the Kronecker product of two small matrices, which can have full rank at a budget where a ' +
    'low-rank product cannot, and which folds into the weight. LoKr, its form in LyCORIS, makes the larger of the two (or ' +
    'both) a low-rank product in turn.',
  claims: [
    { quantity: 'average score on GLUE', baseline: 'LoRA and other adapters', condition: 'T5-base (higher)' },
    { quantity: 'added inference latency', value: 0, unit: 'percent', condition: 'after folding' },
  ],
  baseline: true,
  terms: ['LyCORIS', 'Kronecker adapter', 'KronA'],
}
