/** @file The card of MHR. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'mhr',
  title: 'Multi-Head Adapter Routing for Cross-Task Generalization',
  date: '2022-11-07',
  authors: 6,
  arxiv: '2211.03831',
  code: 'https://github.com/microsoft/mttl',
  family: 'adapt',
  guide: {
    choose:
      'For many related tasks, when new ones come with so few examples that only a row of routing should train (`--tune routing`).',
    avoid: 'For a single task, and on modules whose widths `splits` does not divide.',
    costs: 'The skills of poly; a new task costs a few hundred numbers.',
  },
  summary:
    'An inventory of low-rank skills is trained together with a table that says, for each task and for each slice of the input width, how the skills are mixed. A new task may tune all of it, only its row of the table (a few hundred numbers), or start from the average of the skills, which is a plain LoRA. Slicing the width lets tasks share in one place and part in another.',
  claims: [
    {
      quantity: 'better few-shot transfer to new tasks',
      baseline: 'Poly and one shared LoRA',
      condition: 'T0 tasks, comparable budgets',
    },
    {
      quantity: 'tuning only the mixture stays competitive',
      baseline: 'MHR',
      condition: 'MHR-z, few-shot',
    },
  ],
  terms: ['multi-task', 'LoRA', 'routing', 'skills', 'modular', 'mixture of adapters', 'Polytropon'],
}
