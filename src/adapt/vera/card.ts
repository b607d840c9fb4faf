/** @file The card of VeRA. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'vera',
  title: 'VeRA: Vector-based Random Matrix Adaptation',
  date: '2023-10-17',
  authors: 3,
  arxiv: '2310.11454',
  family: 'adapt',
  guide: {
    choose:
      'When thousands of adapters must be stored or sent: the random matrices are made anew from a seed.',
    avoid:
      "When training time is what matters: the shared matrices are multiplied at full rank, so a step costs more than lora's at the same number of trained numbers.",
    costs: 'r + out trained numbers a module. It folds into the weights.',
  },
  summary:
    'A low-rank update whose two matrices are random, frozen and the same at every module; what is trained are two vectors ' +
    'a module that scale the rank and the outputs. Far fewer numbers than LoRA need to be trained and stored for a task, ' +
    'and the update still folds into the weight.',
  claims: [
    {
      quantity: 'trainable parameters',
      value: 10,
      unit: 'times',
      baseline: 'LoRA',
      condition: 'instruction tuning of 7B and 13B models (fewer by an order of magnitude, same quality)',
    },
    { quantity: 'added inference latency', value: 0, unit: 'percent', condition: 'after folding' },
  ],
  baseline: true,
  terms: ['shared random projections', 'scaling vectors'],
}
