/** @file The card of He et al., parallel adapters. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'parallel',
  title: 'Towards a Unified View of Parameter-Efficient Transfer Learning',
  date: '2021-10-08',
  authors: 5,
  arxiv: '2110.04366',
  code: 'https://github.com/jxhe/unify-parameter-efficient-tuning',
  family: 'adapt',
  guide: {
    choose:
      'When a bottleneck adapter is wanted: beside the feed-forward part it was found better than behind it.',
    avoid: 'When the result must fold into plain weights.',
    costs: '2 d m numbers a block, at width d and bottleneck m. It stays beside its base.',
  },
  summary:
    'Adapters, prefix tuning and LoRA are written as one thing: a change added to a hidden state, which differs in its ' +
    'form, in where it stands and in how it is joined. Taking the best of each gives an adapter that reads the input of the ' +
    'feed-forward part and adds to its output with a scale, instead of standing behind it.',
  claims: [
    {
      quantity: 'better beside a part than behind it',
      baseline: 'serial adapters',
      condition: 'XSum and en-ro translation, equal parameter counts',
    },
    {
      quantity: 'trained parameters at the quality of full fine-tuning, with a prefix',
      value: 6.7,
      unit: 'percent',
      baseline: 'all parameters',
      condition: 'BART, XSum',
    },
  ],
  baseline: true,
  terms: ['parallel adapter', 'scaled parallel adapter', 'MAM adapter', 'bottleneck', 'PEFT'],
}
