/** @file Planned papers of the family adapt. */
import type { Paper } from '../card.js'

export const adapt: readonly Paper[] = [
  {
    id: 'vl-adapter',
    title: 'VL-Adapter: Parameter-Efficient Transfer Learning for Vision-and-Language Tasks',
    date: '2021-12-13',
    authors: 3,
    arxiv: '2112.06825',
    code: 'https://github.com/ylsung/VL_adapter',
    family: 'adapt',
    summary:
      'Frozen image features are projected into a frozen text encoder-decoder, and one small adapter, shared by all tasks, learns question answering, reasoning over pairs of images and captioning at once. A word in front of the input tells the tasks apart. The paper compares ways of sharing and finds that a single adapter does better than one a task, at a fraction of the parameters.',
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
  },
  {
    id: 'dsee',
    title: 'DSEE: Dually Sparsity-embedded Efficient Tuning of Pre-trained Language Models',
    date: '2021-10-29',
    authors: 6,
    arxiv: '2111.00160',
    code: 'https://github.com/VITA-Group/DSEE',
    family: 'adapt',
    summary:
      'Two kinds of sparsity in one workflow. The update of a weight is a low-rank product plus a few free entries, whose places come from decomposing the weight; the weight itself is pruned by a mask, entry by entry or by whole heads and hidden units. The task file is tiny and the deployed model is cheaper to run.',
    claims: [
      {
        quantity: 'fewer inference FLOPs',
        value: 25,
        unit: 'percent',
        baseline: 'dense BERT',
        condition: 'comparable quality',
      },
      {
        quantity: 'trained parameters',
        value: 0.5,
        unit: 'percent',
        baseline: 'all parameters',
        condition: 'BERT',
      },
    ],
    terms: ['pruning', 'sparsity', 'LoRA', 'robust PCA', 'GreBsmo', 'PEFT', 'compression'],
  },
]
