/** @file The card of UniPELT. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'unipelt',
  title: 'UniPELT: A Unified Framework for Parameter-Efficient Language Model Tuning',
  date: '2021-10-14',
  authors: 8,
  arxiv: '2110.07577',
  code: 'https://github.com/morningmoni/UniPELT',
  family: 'adapt',
  guide: {
    choose: 'When it is not known which kind of adapter a task needs and data is scarce: gates choose.',
    avoid: 'When inference must be cheap: all parts run.',
    costs: 'lora, a prefix and an adapter together, and a gate each. It stays beside its base.',
  },
  summary:
    'Which way of tuning is best depends on the task and on how much data there is. Several are put into one model, each ' +
    'behind a gate that the hidden state decides, so that those that suit the task are used more.',
  claims: [
    {
      quantity: 'better than the best of its parts',
      baseline: 'adapters, prefix tuning, LoRA, BitFit',
      condition: 'BERT-base, GLUE, 1 to 4 points',
    },
  ],
  baseline: true,
  terms: ['hybrid', 'gating', 'LoRA', 'prefix', 'adapter', 'PEFT'],
}
