/** @file The card of IST. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'ist',
  title:
    'Layer-wise Importance Matters: Less Memory for Better Performance in Parameter-efficient Fine-tuning of Large Language Models',
  date: '2024-10-15',
  authors: 7,
  arxiv: '2410.11772',
  code: 'https://github.com/Kaiseem/IST',
  family: 'adapt',
  guide: {
    choose:
      'When training memory is short: around any adapter, it updates a few layers a step and keeps less for them.',
    avoid:
      "On models of few layers, and where the adapter's own training schedule must see every step (adalora).",
    costs:
      "The inner adapter's file; in training 0.92 of LoRA's peak of memory and 1.09 of a step's time on 10 layers, and some more forward passes to score layers.",
  },
  summary:
    'A wrapper around any adapter that sits in layers. At each step only a quarter of the layers is updated, drawn by an importance score; now and then a few random choices are compared by their loss, and the scores move as in policy-gradient learning. Gradients and activations of the other layers need not be kept, and the adapter file does not change.',
  claims: [
    { quantity: 'layers trained in a step', value: 25, unit: 'percent', baseline: 'all layers' },
    {
      quantity: 'better results with less memory',
      baseline: 'updating all layers',
      condition: 'several LLMs, LoRA and adapters',
    },
  ],
  terms: ['layer selection', 'importance sampling', 'LoRA', 'memory saving', 'reinforcement', 'PEFT'],
}
