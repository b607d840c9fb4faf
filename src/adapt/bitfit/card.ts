/** @file The card of BitFit. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'bitfit',
  title: 'BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked Language-models',
  date: '2021-06-18',
  authors: 3,
  arxiv: '2106.10199',
  code: 'https://github.com/benzakenelad/BitFit',
  family: 'adapt',
  guide: {
    choose: 'For small data on encoders that have biases (BERT), and as the cheapest baseline.',
    avoid:
      'On models without biases (Llama and its kin), where they must be added and few formats have a place for them.',
    costs: 'The biases: about a thousandth of a model. It folds where the architecture has biases.',
  },
  summary:
    'Only the biases of a transformer are trained: those of its linear modules and of its layer norms. With little or ' +
    'middling data this does as well as fine-tuning everything, which suggests that fine-tuning brings out what a model ' +
    'knows rather than teaching it something new.',
  claims: [
    {
      quantity: 'trainable parameters',
      value: 0.1,
      unit: 'percent',
      baseline: 'full fine-tuning',
      condition: 'BERT (below)',
    },
    {
      quantity: 'accuracy on GLUE',
      baseline: 'full fine-tuning',
      condition: 'BERT, small and medium training data (competitive, at times better)',
    },
  ],
  baseline: true,
  terms: ['bias terms', 'bias-only fine-tuning'],
}
