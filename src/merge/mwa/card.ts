/** @file The card of metrics-weighted averaging. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'mwa',
  title: 'Parameter-Efficient Checkpoint Merging via Metrics-Weighted Averaging',
  date: '2025-04-23',
  authors: 2,
  arxiv: '2504.18580',
  family: 'merge',
  guide: {
    choose: 'To mend the last checkpoint of one adapter run from its log alone: no data, no new run.',
    avoid: 'When a validation set is at hand: greedy-soup measures instead of guessing.',
    costs: 'Reading the checkpoints once.',
  },
  summary:
    'The saved checkpoints of one adapter training are averaged with weights taken from the training log: the lower the loss, or the later the step, the heavier, with an exponent that sets how sharply. It needs neither another run nor a validation pass and repairs a last checkpoint that came out noisy.',
  claims: [
    {
      quantity: 'task accuracy',
      value: 5,
      unit: 'percent',
      baseline: 'uniform merge',
      condition: 'at most; loss-weighted, mathematics, preference and instruction tuning with LoRA',
    },
  ],
  terms: ['checkpoint averaging', 'LoRA', 'SWA', 'EMA', 'training loss', 'weighted average'],
}
