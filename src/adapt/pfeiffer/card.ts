/** @file The card of Pfeiffer et al., one adapter a block. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'pfeiffer',
  title: 'AdapterFusion: Non-Destructive Task Composition for Transfer Learning',
  date: '2020-05-01',
  authors: 5,
  arxiv: '2005.00247',
  code: 'https://github.com/adapter-hub/adapters',
  family: 'adapt',
  guide: {
    choose: "For houlsby's task at half its cost.",
    avoid: 'When the result must fold into plain weights.',
    costs:
      '2 d m numbers a block, at width d and bottleneck m. It stays beside its base: two thin products a block at inference.',
  },
  summary:
    'Adapters of several tasks are trained apart and then combined by attention over their outputs, which leaves each as it ' +
    'was. The adapter that its search over architectures settled on has one bottleneck a block, behind the feed-forward ' +
    'part with its residual sum and norm: half of what adapters after both parts need. That single adapter is what is here.',
  claims: [
    {
      quantity: 'better than single adapters and full fine-tuning by fusing them',
      baseline: 'full fine-tuning, single-task adapters',
      condition: '16 tasks, mean',
    },
  ],
  baseline: true,
  terms: ['adapter', 'serial adapter', 'bottleneck', 'AdapterHub', 'PEFT'],
}
