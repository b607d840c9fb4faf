/** @file Planned papers of the family share. */
import type { Paper } from '../../papers/card.js'

export const share: readonly Paper[] = [
  {
    id: 'masa',
    title: 'Share Your Attention: Transformer Weight Sharing via Matrix-based Dictionary Learning',
    date: '2025-08-06',
    authors: 4,
    arxiv: '2508.04581',
    code: 'https://github.com/mts-ai/MASA',
    family: 'share',
    summary:
      'The query, key, value and output matrices of all layers are written as weighted sums of a small dictionary of full matrices, the atoms, and only coefficients belong to a layer. Trained from scratch, this keeps a third of the attention parameters at about the same loss. An existing model can be converted without training by principal components of its matrices plus a low-rank remainder.',
    claims: [
      {
        quantity: 'fewer attention parameters at equal quality',
        value: 66.7,
        unit: 'percent',
        baseline: 'vanilla transformer',
        condition: '729M, Q, K, V and O',
      },
      {
        quantity: 'WikiText perplexity',
        value: 72.82,
        unit: 'perplexity',
        baseline: 'vanilla 76.11',
        condition: '110M, Q, K, V and O',
      },
      {
        quantity: 'WikiText perplexity after 20 % off attention, no training',
        value: 12.61,
        unit: 'perplexity',
        baseline: 'SVD-LLM 15.08',
        condition: 'Llama 3.2 1B',
      },
    ],
    terms: ['weight sharing', 'dictionary learning', 'tied layers', 'matrix PCA', 'compression', 'GQA'],
  },
  {
    id: 'mor',
    title: 'Mixture-of-Recursions: Learning Dynamic Recursive Depths for Adaptive Token-Level Computation',
    date: '2025-07-14',
    authors: 11,
    arxiv: '2507.10524',
    code: 'https://github.com/raymin0223/mixture_of_recursions',
    family: 'share',
    summary:
      'One block of layers is run several times over, and a router decides token by token how often: easy tokens leave early, hard ones loop on. The parameters shrink by the number of loops, and both compute and key-value cache are spent only on tokens that are still active. Routing and weights are trained together, end to end.',
    claims: [
      {
        quantity: 'less perplexity, and more right answers from examples in the prompt',
        baseline: 'vanilla transformer',
        condition: 'equal training FLOPs, 135M to 1.7B',
      },
      {
        quantity: 'throughput',
        value: 2,
        unit: 'times',
        baseline: 'vanilla transformer',
        condition: 'at most',
      },
    ],
    terms: [
      'recursive transformer',
      'universal transformer',
      'early exit',
      'adaptive computation',
      'looped',
      'layer tying',
      'expert choice',
    ],
  },
  {
    id: 'foldgpt',
    title: 'FoldGPT: Simple and Effective Large Language Model Compression Scheme',
    date: '2024-06-30',
    authors: 7,
    arxiv: '2407.00928',
    family: 'share',
    summary:
      'Blocks whose output barely differs from their input are removed first; the remaining neighbours are folded in groups onto one stored copy of weights, with small gains and adapters of their own. What was lost is then healed by distilling the original for a while. Removal saves compute, folding saves bytes.',
    claims: [
      { quantity: 'outputs of most layers are very similar', condition: 'LLMs, more so in larger ones' },
      {
        quantity: 'better than earlier compression in depth',
        baseline: 'block removal',
        condition: 'LLaMA-2-7B, Gemma-2B, TinyLLaMA-1.1B',
      },
    ],
    terms: [
      'layer pruning',
      'block removal',
      'ShortGPT',
      'parameter sharing',
      'depth',
      'healing',
      'distillation',
      'mobile',
    ],
  },
  {
    id: 'stable-rps',
    title: 'In defense of parameter sharing for model-compression',
    date: '2023-10-17',
    authors: 2,
    arxiv: '2310.11611',
    code: 'https://github.com/apd10/FakeRoast',
    family: 'share',
    summary:
      'A whole network draws its weights from one short array by a hash, chunk by chunk, so that its size is set before training and independently of its architecture. Reuse is spread evenly, gradients are scaled by how often a number is used, and at full size the original model comes back exactly. That removes the two faults of earlier random sharing: dependence on the initial scale and loss at no compression.',
    claims: [
      {
        quantity: 'matches or beats smaller models and pruning at initialisation',
        baseline: 'MAG, SNIP, SynFlow, GraSP',
        condition: 'ResNet-20 and VGG-11, all compressions',
      },
      { quantity: 'beats lottery-ticket rewinding', condition: 'high compression only' },
    ],
    terms: ['hashing trick', 'ROAST', 'HashedNet', 'ROBE', 'compression', 'memory', 'pruning'],
  },
]
