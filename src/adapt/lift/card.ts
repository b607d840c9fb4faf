/** @file The card of LIFT. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'lift',
  title:
    'LIFT the Veil for the Truth: Principal Weights Emerge after Rank Reduction for Reasoning-Focused Supervised Fine-Tuning',
  date: '2025-05-31',
  authors: 8,
  arxiv: '2506.00772',
  code: 'https://github.com/zihanghliu/LIFT',
  family: 'adapt',
  guide: {
    choose:
      'For reasoning on small data: it trains few entries of high rank, and forgets little of the source.',
    avoid:
      'When the number of trained entries must be tiny: its budget is usually as many as lora of a high rank has.',
    costs:
      '`density` of each matrix, with moments for these alone; choosing the entries takes a low-rank approximation of each matrix at each refresh. It folds exactly.',
  },
  summary:
    'Each weight matrix is first replaced, in thought, by its best low-rank approximation; the entries that are then largest in magnitude are the ones worth training. About one entry in twenty is updated, with optimiser state for these alone, and the choice is refreshed now and then. The update is sparse but of high rank, learns reasoning from small data and forgets little of the source.',
  claims: [
    {
      quantity: 'entries trained',
      value: 5,
      unit: 'percent',
      baseline: 'all entries',
      condition: 'better than full fine-tuning on reasoning',
    },
    {
      quantity: 'more source knowledge kept',
      value: 20,
      unit: 'percent',
      baseline: 'full fine-tuning and LoRA',
      condition: 'at most',
    },
  ],
  terms: ['sparse fine-tuning', 'mask', 'SVD', 'magnitude', 'forgetting', 'optimizer memory', 'PEFT'],
}
