/** @file The cards of the bottleneck adapters. */
import type { Paper } from '../../papers/card.js'

export const houlsbyCard: Paper = {
  id: 'houlsby',
  title: 'Parameter-Efficient Transfer Learning for NLP',
  date: '2019-02-02',
  authors: 8,
  arxiv: '1902.00751',
  code: 'https://github.com/google-research/adapter-bert',
  family: 'adapt',
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

export const pfeifferCard: Paper = {
  id: 'pfeiffer',
  title: 'AdapterFusion: Non-Destructive Task Composition for Transfer Learning',
  date: '2020-05-01',
  authors: 5,
  arxiv: '2005.00247',
  code: 'https://github.com/adapter-hub/adapters',
  family: 'adapt',
  summary:
    'Adapters of several tasks are trained apart and then combined by attention over their outputs, which leaves each as it ' +
    'was. The adapter that its search over architectures settled on has one bottleneck a block, behind the feed-forward ' +
    'part with its residual sum and norm: half of what adapters after both parts need. That single adapter is what is here.',
  claims: [
    {
      quantity: 'better than single adapters and full fine-tuning by fusing them',
      baseline: 'full fine-tuning, single-task adapters',
      condition: '16 tasks, mean',
    },
  ],
  baseline: true,
  terms: ['adapter', 'serial adapter', 'bottleneck', 'AdapterHub', 'PEFT'],
}

export const parallelCard: Paper = {
  id: 'parallel',
  title: 'Towards a Unified View of Parameter-Efficient Transfer Learning',
  date: '2021-10-08',
  authors: 5,
  arxiv: '2110.04366',
  code: 'https://github.com/jxhe/unify-parameter-efficient-tuning',
  family: 'adapt',
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

export const mamCard: Paper = {
  ...parallelCard,
  id: 'mam',
  summary:
    'What the unified view recommends: few virtual keys and values where attention is, since there little capacity is ' +
    'enough, and a scaled adapter beside the feed-forward part, where most of the numbers are better spent.',
  terms: ['mix-and-match', 'MAM adapter', 'prefix', 'parallel adapter', 'hybrid', 'PEFT'],
}
