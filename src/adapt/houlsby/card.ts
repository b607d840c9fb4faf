/** @file The card of Houlsby et al., serial adapters. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'houlsby',
  title: 'Parameter-Efficient Transfer Learning for NLP',
  date: '2019-02-02',
  authors: 8,
  arxiv: '1902.00751',
  code: 'https://github.com/google-research/adapter-bert',
  family: 'adapt',
  guide: {
    choose: 'When there is enough data for a non-linear update and inference may cost a little more.',
    avoid: 'When the result must fold into plain weights, which a non-linearity cannot.',
    costs:
      '2 m (2 d m + m + d) numbers for two adapters of bottleneck m a block, at width d: about twice pfeiffer. It stays beside its base: four thin products a block at inference.',
  },
  summary:
    'Small two-layer networks are put into every block of a frozen model: after attention and after the feed-forward part, ' +
    'each narrows the hidden state to a few units, applies a non-linearity and widens it again, and its result is added. ' +
    'They begin as the identity. A task costs only these layers, so that many tasks share one model.',
  claims: [
    {
      quantity: 'trained parameters for each task within 0.4 % of full fine-tuning',
      value: 3.6,
      unit: 'percent',
      baseline: 'all parameters',
      condition: 'BERT-Large, GLUE',
    },
  ],
  baseline: true,
  terms: ['adapter', 'serial adapter', 'bottleneck', 'PEFT', 'BERT'],
}
