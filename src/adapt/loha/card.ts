/** @file The card of LoHa. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'loha',
  title: 'FedPara: Low-Rank Hadamard Product for Communication-Efficient Federated Learning',
  date: '2021-08-13',
  authors: 3,
  arxiv: '2108.06098',
  code: 'https://github.com/South-hw/FedPara_ICLR22',
  family: 'adapt',
  guide: {
    choose:
      "When a low rank is too little and the budget is lora's: the product of two updates of rank r can have rank r squared.",
    avoid: 'Where other tools must load the adapter: fewer know it than know lora.',
    costs:
      '2 r (in + out) numbers a module, and in training the full update of a weight is made each step. It folds into the weights.',
  },
  summary:
    'Two low-rank products are multiplied element by element: of ranks r each, the result can have rank r squared, for ' +
    'twice the numbers of one. Made for federated learning, where fewer numbers travel; as an update beside a frozen ' +
    'weight it is known as LoHa, one of the LyCORIS methods.',
  claims: [
    {
      quantity: 'communication',
      value: 10.1,
      unit: 'times',
      baseline: 'the model with its original layers',
      condition: 'federated training of VGG16 to the same accuracy (at best 10.1, from 2.8 times lower)',
    },
  ],
  baseline: true,
  terms: ['LyCORIS', 'elementwise product'],
}
