/** @file The card of AdaLoRA. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'adalora',
  title: 'AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning',
  date: '2023-03-18',
  authors: 8,
  arxiv: '2303.10512',
  code: 'https://github.com/QingruZhang/AdaLoRA',
  family: 'adapt',
  guide: {
    choose:
      'When the rank that a budget allows differs between modules and nobody knows where it belongs: training finds out.',
    avoid:
      'For short runs (the schedule of pruning needs steps to look around), and where a fixed rank already does: lora is simpler and faster.',
    costs:
      'r (in + out + 1) numbers a module at the first rank, half of the rank and more pruned on the way; importance scores cost a pass over the gradients each step.',
  },
  summary:
    'Low-rank updates need not have the same rank everywhere. Each is kept in the form of a singular value decomposition, and ' +
    'during training the directions that matter least, wherever they are, lose their singular value, by a score made of how ' +
    'strongly the loss depends on them and how sure that is. What is left of the budget sits where it helps most.',
  claims: [
    {
      quantity: 'better at small budgets',
      baseline: 'LoRA at an equal number of parameters',
      condition: 'DeBERTaV3-base on GLUE and SQuAD, BART-large on XSum',
    },
  ],
  baseline: true,
  terms: ['LoRA', 'rank allocation', 'SVD', 'pruning', 'PEFT'],
}
