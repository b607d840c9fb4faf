/** @file The card of PLeaS. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'pleas',
  title: 'PLeaS -- Merging Models with Permutations and Least Squares',
  date: '2024-07-02',
  authors: 4,
  arxiv: '2407.02447',
  code: 'https://github.com/SewoongLab/PLeaS-Merging',
  family: 'merge',
  guide: {
    choose: 'For two models of one architecture that share no ancestor, with some unlabelled inputs.',
    avoid: 'For fine-tunings of one base: there a soup or ties is cheaper and as good.',
    costs:
      'Running both models over the data a few times, an assignment a group and a least-squares problem a layer. The result is between one and two models wide (`-p budget=`).',
  },
  summary:
    'Two networks of one architecture that share no ancestor are merged in two steps. Their features are matched layer by layer by a permutation, and only pairs that agree well are joined while the others stay apart, so that the merged width lies anywhere between one model and two. Then the weights of every layer are solved by least squares, such that the merged layer reproduces what both originals compute on unlabelled inputs.',
  claims: [
    {
      quantity: 'accuracy',
      value: 15,
      unit: 'points',
      baseline: 'best earlier merging',
      condition: 'at most; equal compute, DomainNet and fine-grained sets',
    },
  ],
  terms: [
    'permutation alignment',
    'git re-basin',
    'ZipIt',
    'RegMean',
    'different initialisation',
    'assignment',
    'model fusion',
    'partial merging',
  ],
}
