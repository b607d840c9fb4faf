/** @file The card of Model Breadcrumbs. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'breadcrumbs',
  title: 'Model Breadcrumbs: Scaling Multi-Task Model Merging with Sparse Masks',
  date: '2023-12-11',
  authors: 2,
  arxiv: '2312.06795',
  code: 'https://github.com/rezazzr/breadcrumbs',
  family: 'merge',
  guide: {
    choose: 'To join many fine-tunings of one base for different tasks without data.',
    avoid: 'For two models of one task (a soup keeps more), and for models of different bases.',
    costs: 'A pass over the tensors; memory of a block of rows.',
  },
  summary:
    'Every fine-tuning of a shared base is reduced to a sparse trail: of each layer the smallest changes are zeroed, and so are the very largest, which are taken for outliers. What is left of all tasks is scaled, summed and applied to the base. No data and no training are needed, and settings tuned on the first tasks stay good when others join.',
  claims: [
    {
      quantity: 'normalised accuracy above task arithmetic, the gap growing with the tasks',
      baseline: 'task arithmetic',
      condition: 'CLIP ViT, eight tasks',
    },
    {
      quantity: 'improves the target task',
      baseline: 'fine-tuning alone',
      condition: 'T5-base, GLUE-style tasks',
    },
  ],
  terms: ['task vector', 'task arithmetic', 'TIES', 'mask', 'sparsity', 'multi-task', 'mergekit'],
}
