/** @file The card of P-tuning. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'p-tuning',
  title: 'GPT Understands, Too',
  date: '2021-03-18',
  authors: 7,
  arxiv: '2103.10385',
  code: 'https://github.com/THUDM/P-tuning',
  family: 'adapt',
  guide: {
    choose: 'For questions that a prompt of words almost solves: it finds a better prompt.',
    avoid: 'For generation at length, and on small models.',
    costs: 'A small network in training, which is thrown away; then tokens x width numbers.',
  },
  summary:
    'Prompts of words are brittle: one word more or less changes the result. Embeddings that stand among the words of the ' +
    'input are trained instead. A small network makes them of embeddings of its own, so that neighbouring ones are tied and ' +
    'training is stable; it is not needed afterwards.',
  claims: [
    {
      quantity: 'better and steadier than prompts of words',
      baseline: 'manual prompts',
      condition: 'LAMA and SuperGLUE, GPT and BERT',
    },
  ],
  baseline: true,
  terms: ['soft prompt', 'virtual tokens', 'prompt encoder', 'PEFT'],
}
