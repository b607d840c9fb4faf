/** @file The card of model soups. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'model-soups',
  title:
    'Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing inference time',
  date: '2022-03-10',
  authors: 11,
  arxiv: '2203.05482',
  code: 'https://github.com/mlfoundations/model-soups',
  family: 'merge',
  guide: {
    choose:
      'When several fine-tunings of one base and one task are at hand: greedy soup is hardly ever worse than the best of them.',
    avoid:
      'For models from different starts (their weights do not lie in one valley): pleas. For different tasks: breadcrumbs or ties.',
    costs:
      'One evaluation a model for greedy soup, none for uniform; learned soup trains the coefficients. The result costs one model.',
  },
  summary:
    'The checkpoints of a hyperparameter sweep from one pretrained start are averaged instead of keeping only the best of them. The greedy soup goes through them in order of validation score and admits a checkpoint only where the average gets better; the learned soup fits mixing coefficients. The result costs what one model costs and is usually more accurate, also under distribution shift.',
  claims: [
    {
      quantity: 'ImageNet top-1 of the greedy soup',
      value: 90.94,
      unit: 'accuracy',
      baseline: 'best single model 90.78',
      condition: 'ViT-G/14',
    },
    {
      quantity: 'ImageNet top-1 of the greedy soup',
      value: 81.03,
      unit: 'accuracy',
      baseline: 'best single model 80.39',
      condition: 'CLIP ViT-B/32, 72 models',
    },
    {
      quantity: 'average of five shifted sets, greedy soup',
      value: 50.9,
      unit: 'accuracy',
      baseline: 'best single model 48.0',
      condition: 'CLIP ViT-B/32, 72 models',
    },
  ],
  terms: [
    'weight averaging',
    'ensemble',
    'interpolation',
    'linear mode connectivity',
    'robustness',
    'CLIP',
    'sweep',
  ],
}
