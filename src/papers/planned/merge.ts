/** @file Planned papers of the family merge. */
import type { Paper } from '../card.js'

export const merge: readonly Paper[] = [
  {
    id: 'breadcrumbs',
    title: 'Model Breadcrumbs: Scaling Multi-Task Model Merging with Sparse Masks',
    date: '2023-12-11',
    authors: 2,
    arxiv: '2312.06795',
    code: 'https://github.com/rezazzr/breadcrumbs',
    family: 'merge',
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
  },
  {
    id: 'cfg-distillation',
    title: 'Diversity-Rewarded CFG Distillation',
    date: '2024-10-08',
    authors: 8,
    arxiv: '2410.06084',
    family: 'merge',
    summary:
      'Classifier-free guidance doubles the cost of sampling and makes samples alike. Here a generator learns on its own samples to imitate its guided self, while a reward for unlike embeddings of two samples keeps it varied. Checkpoints trained for quality and for variety are then interpolated, which gives a dial between both at the time of use.',
    claims: [
      {
        quantity: 'the quality of guidance at half the sampling cost',
        baseline: 'classifier-free guidance',
        condition: 'MusicLM, text to music',
      },
      {
        quantity: 'interpolated models dominate the quality-diversity front',
        baseline: 'guidance over its scale',
        condition: 'MusicLM',
      },
    ],
    terms: [
      'classifier-free guidance',
      'on-policy distillation',
      'reinforcement learning',
      'music generation',
      'diversity',
      'LERP',
      'mode collapse',
    ],
  },
  {
    id: 'deepweightflow',
    title: 'DeepWeightFlow: Re-Basined Flow Matching for Generating Neural Network Weights',
    date: '2026-01-08',
    authors: 6,
    arxiv: '2601.05052',
    code: 'https://github.com/NNeuralDynamics/DeepWeightFlow',
    family: 'merge',
    summary:
      'A hundred trainings of one architecture from different seeds are brought into the same order of hidden units by permutation, reduced by principal components where they are long, and taken as data: a flow-matching model learns to sample new weight vectors. Each sample is a complete model that works without fine-tuning, so that ensembles of hundreds come in minutes.',
    claims: [
      {
        quantity: 'sampled models reach about the accuracy of the zoo, without fine-tuning',
        baseline: 'trained models',
        condition: 'MLP, ResNet-18/20, ViT, BERT',
      },
      {
        quantity: 'Spearman correlation',
        value: 0.79,
        unit: 'correlation',
        condition: 'BERT, Yelp regression',
      },
      { quantity: 'far faster sampling', baseline: 'RPG, D2NWG, P-diff' },
    ],
    terms: [
      'weight generation',
      'hypernetwork',
      'generative model',
      'diffusion',
      'flow matching',
      'git re-basin',
      'permutation',
      'model zoo',
      'ensemble',
    ],
  },
]
