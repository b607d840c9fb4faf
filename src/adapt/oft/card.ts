/** @file The card of OFT. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'oft',
  title: 'Controlling Text-to-Image Diffusion by Orthogonal Finetuning',
  date: '2023-06-12',
  arxiv: '2306.07280',
  code: 'https://github.com/Zeju1997/oft',
  family: 'adapt',
  guide: {
    choose:
      'When what the model knows must stay: it rotates weights instead of adding to them. Known from tuning image generators to a subject.',
    avoid: 'When memory or time is short: each step inverts small matrices and multiplies the whole weight.',
    costs: 'in (b - 1) / 2 numbers a module for blocks of width b. It folds into the weights.',
  },
  summary:
    'A weight is not added to but rotated: an orthogonal matrix of small blocks is trained, parametrised so that it stays ' +
    'orthogonal. Angles between neurons, and with them what the pretrained model knows, are kept; training is stabler and ' +
    'converges sooner than with low-rank updates on generating images of a subject or under a control signal.',
  claims: [
    {
      quantity: 'quality and speed of convergence',
      baseline: 'LoRA and DreamBooth; ControlNet',
      condition: 'subject-driven and controllable generation with Stable Diffusion (better)',
    },
    { quantity: 'added inference latency', value: 0, unit: 'percent', condition: 'after folding' },
  ],
  baseline: true,
  terms: ['orthogonal finetuning', 'Cayley transform', 'rotation', 'hyperspherical energy'],
}
