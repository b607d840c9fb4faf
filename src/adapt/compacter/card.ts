/** @file The card of Compacter. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'compacter',
  title: 'Compacter: Efficient Low-Rank Hypercomplex Adapter Layers',
  date: '2021-06-08',
  authors: 3,
  arxiv: '2106.04647',
  code: 'https://github.com/rabeehk/compacter',
  family: 'adapt',
  guide: {
    choose: 'For very small adapters with a non-linearity: tens of kilobytes a task.',
    avoid:
      'When the result must fold, or when a step must be fast: Kronecker products are assembled in each.',
    costs:
      'About d + m numbers an adapter where others have d m, and n cubed shared numbers (n: `divisions`).',
  },
  summary:
    'A bottleneck adapter whose two matrices are sums of Kronecker products: small square factors shared by all layers, ' +
    'multiplied with rank-one factors of each layer. The parameters of a layer then grow with the sum of its width and ' +
    'bottleneck instead of their product, so a task fits in tens of kilobytes while the non-linearity of an adapter stays. ' +
    'It cannot be folded into the base.',
  claims: [
    {
      quantity: 'trained parameters at the quality of full fine-tuning',
      value: 0.047,
      unit: 'percent',
      baseline: 'all parameters',
      condition: 'Compacter++, T5-base, GLUE',
    },
    {
      quantity: 'better than full fine-tuning',
      baseline: 'full fine-tuning',
      condition: 'SuperGLUE and low-resource settings',
    },
  ],
  terms: ['adapter', 'PHM layer', 'hypercomplex', 'Kronecker', 'PEFT', 'few-shot'],
}
