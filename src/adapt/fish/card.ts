/** @file The card of FISH mask. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'fish',
  title: 'Training Neural Networks with Fixed Sparse Masks',
  date: '2021-11-18',
  authors: 3,
  arxiv: '2111.09839',
  code: 'https://github.com/varunnair18/FISH',
  family: 'adapt',
  guide: {
    choose:
      'As a sparse baseline, or when the same few entries must be sent between workers again and again.',
    avoid: 'When no data can be looked at before training.',
    costs: '`density` of all adapted entries; before training one gradient for each calibration row.',
  },
  summary:
    'A small share of the weights trains, chosen once before training by how much the outputs depend on them: the diagonal of ' +
    'the Fisher information, estimated as squared gradients on a few samples. Updates are then sparse, cheap to store and to ' +
    'send, and the same for many steps or for all workers.',
  claims: [
    {
      quantity: 'trained parameters at the quality of full fine-tuning',
      value: 0.5,
      unit: 'percent',
      baseline: 'all parameters',
      condition: 'BERT-Large, GLUE',
    },
  ],
  baseline: true,
  terms: ['sparse fine-tuning', 'mask', 'Fisher information', 'selective', 'PEFT'],
}
