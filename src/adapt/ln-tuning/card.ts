/** @file The card of norm tuning. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'ln-tuning',
  title: 'Tuning LayerNorm in Attention: Towards Efficient Multi-Modal LLM Finetuning',
  date: '2023-12-18',
  arxiv: '2312.11420',
  family: 'adapt',
  guide: {
    choose: 'As a cheap baseline, and to make a language model take in another kind of input.',
    avoid: 'When the task needs new knowledge: scales can only weigh what is there.',
    costs: 'Two numbers for each unit of the stream and norm. It folds into the weights.',
  },
  summary:
    'Only the scales (and shifts) of the layer norms are trained, every other weight is frozen. The norms of a language ' +
    'model suffice to make it take in another modality, at a small part of the memory that low-rank updates need.',
  claims: [
    {
      quantity: 'performance averaged over five multi-modal tasks',
      value: 20,
      unit: 'percent',
      baseline: 'LoRA',
      condition: '13B models (more by)',
    },
    {
      quantity: 'trainable parameters',
      value: 41.9,
      unit: 'percent',
      baseline: 'LoRA',
      condition: '13B models (fewer by)',
    },
    {
      quantity: 'GPU memory in training',
      value: 17.6,
      unit: 'percent',
      baseline: 'LoRA',
      condition: '13B models (less by)',
    },
  ],
  baseline: true,
  terms: ['normalization layers', 'layer norm', 'RMS norm'],
}
