/** @file The card of prompt tuning. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'prompt',
  title: 'The Power of Scale for Parameter-Efficient Prompt Tuning',
  date: '2021-04-18',
  authors: 3,
  arxiv: '2104.08691',
  code: 'https://github.com/google-research/prompt-tuning',
  family: 'adapt',
  guide: {
    choose: 'For large models and many tasks in one batch: a task is a few rows.',
    avoid: 'On small models: there it stays behind every other method.',
    costs: 'tokens x width numbers. The sequence is longer by the virtual tokens, in training and inference.',
  },
  summary:
    'A few embeddings that stand for no word are put before the input, and nothing else is trained. Started from embeddings ' +
    'of real words they learn better than from random numbers. On small models they fall short of other ways; the larger the ' +
    'model, the smaller the gap to training all of it.',
  claims: [
    {
      quantity: 'quality of full fine-tuning',
      baseline: 'full fine-tuning',
      condition: 'T5 of billions of parameters, SuperGLUE',
    },
    {
      quantity: 'better transfer to other domains',
      baseline: 'full fine-tuning',
      condition: 'MRQA, QQP and MRPC',
    },
  ],
  baseline: true,
  terms: ['soft prompt', 'virtual tokens', 'PEFT'],
}
