/** @file The card of DSEE. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'dsee',
  title: 'DSEE: Dually Sparsity-embedded Efficient Tuning of Pre-trained Language Models',
  date: '2021-10-29',
  authors: 6,
  arxiv: '2111.00160',
  code: 'https://github.com/VITA-Group/DSEE',
  family: 'adapt',
  guide: {
    choose:
      'When the deployed model must be smaller too: the base is pruned, in entries or in heads and hidden units, while a small update trains.',
    avoid: 'When the base must stay dense and exact.',
    costs: 'lora and a few free entries a module; masks are found by decomposing the weights once.',
  },
  summary:
    'Two kinds of sparsity in one workflow. The update of a weight is a low-rank product plus a few free entries, whose places come from decomposing the weight; the weight itself is pruned by a mask, entry by entry or by whole heads and hidden units. The task file is tiny and the deployed model is cheaper to run.',
  claims: [
    {
      quantity: 'fewer inference FLOPs',
      value: 25,
      unit: 'percent',
      baseline: 'dense BERT',
      condition: 'comparable quality',
    },
    {
      quantity: 'trained parameters',
      value: 0.5,
      unit: 'percent',
      baseline: 'all parameters',
      condition: 'BERT',
    },
  ],
  terms: ['pruning', 'sparsity', 'LoRA', 'robust PCA', 'GreBsmo', 'PEFT', 'compression'],
}
