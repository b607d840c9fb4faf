/** @file The card of VL-Adapter. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'vl-adapter',
  title: 'VL-Adapter: Parameter-Efficient Transfer Learning for Vision-and-Language Tasks',
  date: '2021-12-13',
  authors: 3,
  arxiv: '2112.06825',
  code: 'https://github.com/ylsung/VL_adapter',
  family: 'adapt',
  guide: {
    choose:
      'To teach a frozen text encoder-decoder several image tasks at once, on features that a frozen image model made.',
    avoid: 'For text alone (take houlsby or lora), and for models without an encoder.',
    costs: "One adapter for all tasks and a projection of the image's features.",
  },
  summary:
    'Frozen image features are projected into a frozen text encoder-decoder, and one small adapter, shared by all tasks, ' +
    'learns question answering, reasoning over pairs of images and captioning at once. A word in front of the input tells ' +
    'the tasks apart. The paper compares ways of sharing and finds that a single adapter does better than one a task, at a ' +
    'fraction of the parameters.',
  claims: [
    {
      quantity: 'trained parameters at the quality of full fine-tuning',
      value: 4.18,
      unit: 'percent',
      baseline: 'all parameters',
      condition: 'single adapter, image and text',
    },
    {
      quantity: 'trained parameters at the quality of full fine-tuning',
      value: 3.39,
      unit: 'percent',
      baseline: 'all parameters',
      condition: 'single adapter, video and text',
    },
  ],
  terms: ['vision-language', 'VQA', 'captioning', 'multimodal', 'CLIP', 'BART', 'T5', 'PEFT', 'multi-task'],
}
