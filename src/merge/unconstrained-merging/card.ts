/** @file The card of unconstrained model merging. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'unconstrained-merging',
  title: 'Unconstrained Model Merging for Enhanced LLM Reasoning',
  date: '2024-10-17',
  authors: 15,
  arxiv: '2410.13699',
  family: 'merge',
  guide: {
    choose:
      'When a small validation set tells good merges from bad ones and there is time to search: coefficients of their own for each layer.',
    avoid: 'When there is no validation set, or only minutes: task arithmetic or ties with usual values.',
    costs: 'One merge and one evaluation a candidate, some hundreds in all.',
  },
  summary:
    'A plan for whatever experts are at hand. Those of one architecture and base are merged with coefficients of their own for each layer, found by evolution (CMA-ES) against a small validation set. Those that differ are distilled: their next-token distributions on instruction data are aligned and fused into a pivot model.',
  claims: [
    {
      quantity: 'searched layer-wise coefficients beat one coefficient a task',
      baseline: 'TIES and task arithmetic',
      condition: '9 reasoning LLMs, 7 benchmarks',
    },
    { quantity: 'fused models show reasoning beyond the sum of their parts' },
  ],
  terms: [
    'evolutionary merging',
    'CMA-ES',
    'task arithmetic',
    'TIES',
    'DARE',
    'FuseLLM',
    'model fusion',
    'mathematics',
    'code',
  ],
}
