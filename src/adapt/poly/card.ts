/** @file The card of Poly. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'poly',
  title: 'Combining Modular Skills in Multitask Learning',
  date: '2022-02-28',
  authors: 4,
  arxiv: '2202.13914',
  code: 'https://github.com/microsoft/mttl',
  family: 'adapt',
  guide: {
    choose: 'For many related tasks at once, above all when new tasks with few examples come later.',
    avoid: 'For a single task: there is nothing to share.',
    costs: 'One lora a skill (`skills`), and a row of routing a task. For a given task it folds.',
  },
  summary:
    'Many tasks share an inventory of skills, each a low-rank update of every adapted module. Which skills a task uses is ' +
    'learnt with them: a row of the routing matrix a task, sampled in training and normalised to weights by which the ' +
    'skills are averaged. A new task needs few examples, since it may recombine skills that are there.',
  claims: [
    {
      quantity: 'few-shot performance on CrossFit',
      baseline: 'one shared, task-specific, conditionally generated and sparse experts',
      condition: 'BART (higher)',
    },
    {
      quantity: 'sample efficiency on BabyAI',
      baseline: 'one shared and task-specific policies',
      condition: 'instruction following (higher)',
    },
  ],
  baseline: true,
  terms: ['polytropon', 'task routing', 'skill inventory', 'mixture of LoRA'],
}
