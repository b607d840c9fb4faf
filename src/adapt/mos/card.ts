/** @file The card of MoS. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'mos',
  title: 'MoS: Unleashing Parameter Efficiency of Low-Rank Adaptation with Mixture of Shards',
  date: '2024-10-01',
  authors: 8,
  arxiv: '2410.00938',
  code: 'https://github.com/Forence1999/MoS',
  family: 'adapt',
  guide: {
    choose: "When thousands of adapters are kept: it buys a rank several times lora's at one size of file.",
    avoid: 'When one adapter is trained and folded: lora is simpler.',
    costs:
      'A pool of the size that `rank` says, shared by all layers. Assembled and folded it costs what lora costs.',
  },
  summary:
    'Low-rank adapters of all layers are cut into short vectors that live in one global pool. Fixed random index tables tell each layer which of these shards make up its A and B, so a trainable budget that would buy rank 2 gives every layer an update of a higher rank. Some shards are private to a layer, and A and B pick different ones, which keeps the layers from becoming alike. After assembly the adapter is an ordinary LoRA, which suits servers that hold hundreds of personal adapters.',
  claims: [
    {
      quantity: 'fewer trainable parameters at equal quality',
      value: 8,
      unit: 'times',
      baseline: 'LoRA',
      condition: 'LLaMA-2-7B',
    },
    {
      quantity: 'better than other ways of sharing',
      baseline: 'VeRA, Tied-LoRA, PRoLoRA',
      condition: 'equal parameter counts',
    },
  ],
  terms: ['LoRA', 'PEFT', 'parameter sharing', 'multi-tenant adapters', 'personalisation', 'rank'],
}
