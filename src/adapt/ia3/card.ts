/** @file The card of (IA)^3. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'ia3',
  title: 'Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning',
  date: '2022-05-11',
  arxiv: '2205.05638',
  code: 'https://github.com/r-three/t-few',
  family: 'adapt',
  guide: {
    choose: 'For few examples and many tasks: some thousand numbers a model, and one batch may mix tasks.',
    avoid: 'When there is much data: three vectors a block cannot learn what a matrix can.',
    costs: 'One number for each key, value and hidden unit of a block. It folds into the weights.',
  },
  summary:
    'Three vectors a block are trained, which scale the keys, the values and the hidden units of the feed-forward part; ' +
    'everything else stays frozen. They start at one, so that training starts from the pretrained model, and they fold into ' +
    'the rows and columns of the weights beside them. A batch may mix tasks, since each row can have vectors of its own.',
  claims: [
    {
      quantity: 'trainable parameters',
      value: 0.01,
      unit: 'percent',
      baseline: 'full fine-tuning',
      condition: 'T0-11B (about)',
    },
    {
      quantity: 'accuracy on RAFT',
      value: 75.8,
      unit: 'percent of answers',
      condition: 'T-Few with T0-11B, no tuning for the tasks',
    },
  ],
  baseline: true,
  terms: ['rescaling activations', 'T-Few', 'few-shot fine-tuning'],
}
