/** @file The card of S2FT. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 's2ft',
  title: 'S^{2}FT: Efficient, Scalable and Generalizable LLM Fine-tuning by Structured Sparsity',
  date: '2024-12-09',
  authors: 8,
  arxiv: '2412.06289',
  code: 'https://github.com/Infini-AI-Lab/S2FT',
  family: 'adapt',
  guide: {
    choose:
      "When memory and time of a step matter and full fine-tuning's quality is wanted: gradients are small dense slices.",
    avoid:
      'Where modules have no heads or channels that others share (look at the error, which names those that have).',
    costs:
      '`ratio` of the units of the chosen matrices, with optimiser state for these alone. It folds exactly.',
  },
  summary:
    'Only a handful of attention heads and feed-forward channels of each block are trained. Coupled matrices are permuted together so that the chosen rows lie side by side, and training touches one dense slice: sparse fine-tuning with dense kernels. What is learned is a small set of rows with their indices, which can be swapped, added or served beside others.',
  claims: [
    {
      quantity: 'accuracy',
      value: 4.6,
      unit: 'points',
      baseline: 'LoRA',
      condition: 'average of commonsense tasks',
    },
    {
      quantity: 'accuracy',
      value: 1.3,
      unit: 'points',
      baseline: 'LoRA',
      condition: 'average of arithmetic tasks',
    },
    {
      quantity: 'accuracy in other domains',
      value: 11.5,
      unit: 'points',
      baseline: 'full fine-tuning',
      condition: 'after instruction tuning',
    },
    {
      quantity: 'less training memory',
      value: 3,
      unit: 'times',
      baseline: 'full fine-tuning',
      condition: 'at most',
    },
  ],
  terms: ['sparse fine-tuning', 'structured sparsity', 'forgetting', 'adapter switching', 'PEFT'],
}
