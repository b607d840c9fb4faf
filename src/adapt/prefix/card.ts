/** @file The card of prefix tuning. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'prefix',
  title: 'Prefix-Tuning: Optimizing Continuous Prompts for Generation',
  date: '2021-01-01',
  authors: 2,
  arxiv: '2101.00190',
  code: 'https://github.com/XiangLisaLi/PrefixTuning',
  family: 'adapt',
  guide: {
    choose: 'For generation with many tasks in one batch, where the model itself must not be touched.',
    avoid: 'When positions are scarce or training is unstable without `projection`: lora is easier to train.',
    costs: '2 x tokens x width numbers a layer; every attention reads so many more keys and values.',
  },
  summary:
    'Every attention module of a frozen model is given a few more keys and values, which all tokens can attend to as if words ' +
    'stood before them. They are trained, at first through a small network that is thrown away afterwards, since training them ' +
    'directly was found unstable. A task costs a short table, and one batch may mix tasks.',
  claims: [
    {
      quantity: 'trained parameters at comparable quality',
      value: 0.1,
      unit: 'percent',
      baseline: 'all parameters',
      condition: 'GPT-2, table to text',
    },
    {
      quantity: 'better with few data',
      baseline: 'full fine-tuning',
      condition: 'GPT-2 and BART, low-data settings',
    },
  ],
  baseline: true,
  terms: ['virtual tokens', 'soft prompt', 'P-tuning v2', 'key-value cache', 'PEFT'],
}
