/** @file The card of diversity-rewarded CFG distillation. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'cfg-distillation',
  title: 'Diversity-Rewarded CFG Distillation',
  date: '2024-10-08',
  authors: 8,
  arxiv: '2410.06084',
  family: 'merge',
  guide: {
    choose:
      'For generators that are sampled with guidance: it halves the cost of a sample, and keeps samples varied if asked.',
    avoid: 'For models that nobody samples with guidance.',
    costs: 'A training on its own samples: each step samples, and runs teacher and student.',
  },
  summary:
    'Classifier-free guidance doubles the cost of sampling and makes samples alike. Here a generator learns on its own samples to imitate its guided self, while a reward for unlike embeddings of two samples keeps it varied. Checkpoints trained for quality and for variety are then interpolated, which gives a dial between both at the time of use.',
  claims: [
    {
      quantity: 'the quality of guidance at half the sampling cost',
      baseline: 'classifier-free guidance',
      condition: 'MusicLM, text to music',
    },
    {
      quantity: 'interpolated models dominate the quality-diversity front',
      baseline: 'guidance over its scale',
      condition: 'MusicLM',
    },
  ],
  terms: [
    'classifier-free guidance',
    'on-policy distillation',
    'reinforcement learning',
    'music generation',
    'diversity',
    'LERP',
    'mode collapse',
  ],
}
