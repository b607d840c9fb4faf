/** @file The card of Fusion-X. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'fusion-x',
  title: 'Enabling Flexible Multi-LLM Integration for Scalable Knowledge Aggregation',
  date: '2025-05-28',
  authors: 13,
  arxiv: '2505.23844',
  code: 'https://github.com/ZLKong/LLM_Integration',
  family: 'merge',
  guide: {
    choose: 'To teach one model what several others know whose sizes and tokenizers differ.',
    avoid: 'When the models have one architecture and base: merging weights needs no training.',
    costs: 'Every source reads the data once; then a training of the target. The result costs one model.',
  },
  summary:
    'One target model is taught by several sources of other sizes and tokenizers. A selection network picks for each input which sources deserve a say, weights turn their aligned next-token distributions into one, and a feedback loss keeps the choice from collapsing onto a favourite. Adding sources then helps instead of disturbing, at the cost of one model when deployed.',
  claims: [
    {
      quantity: 'less knowledge interference',
      value: 50,
      unit: 'percent',
      baseline: 'FuseLLM',
      condition: 'at most, as sources are added',
    },
    { quantity: 'better and steadier averages', baseline: 'FuseLLM', condition: 'BBH, MMLU, commonsense' },
  ],
  terms: [
    'knowledge fusion',
    'FuseLLM',
    'distillation',
    'heterogeneous models',
    'token alignment',
    'ensemble',
    'teacher',
  ],
}
