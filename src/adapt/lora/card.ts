/** @file The card of LoRA. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'lora',
  title: 'LoRA: Low-Rank Adaptation of Large Language Models',
  date: '2021-06-17',
  authors: 8,
  arxiv: '2106.09685',
  code: 'https://github.com/microsoft/LoRA',
  family: 'adapt',
  guide: {
    choose:
      'Take it first. It works at every linear module, folds into the weights, and every server and library of the field loads the result.',
    avoid:
      'When the task needs more than a low rank gives (much new knowledge, long training on much data), or when so many adapters are kept that their size matters: look at lift, s2ft or mos.',
    costs:
      'r (in + out) trained numbers a module, with optimiser state for these alone. Folded, inference costs nothing more; beside its base it costs two thin products a module.',
  },
  summary:
    'A pretrained weight W is frozen, and a product of two thin matrices is trained beside it: y = W x + (alpha / r) B A x. ' +
    'B starts at zero, so that training starts from the pretrained model; after training the product is added to W, and ' +
    'inference costs what it did before. Only A and B need gradients and optimiser state, and only they are stored for a task.',
  claims: [
    {
      quantity: 'trainable parameters',
      value: 10_000,
      unit: 'times',
      baseline: 'full fine-tuning with Adam',
      condition: 'GPT-3 175B (as many times fewer)',
    },
    {
      quantity: 'training memory',
      value: 3,
      unit: 'times',
      baseline: 'full fine-tuning with Adam',
      condition: 'GPT-3 175B (as many times less)',
    },
    {
      quantity: 'added inference latency',
      value: 0,
      unit: 'percent',
      baseline: 'the unadapted model',
      condition: 'after folding',
    },
  ],
  baseline: true,
}
