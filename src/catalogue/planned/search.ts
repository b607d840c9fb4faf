/** @file Planned papers of the family search. */
import type { Paper } from '../../papers/card.js'

export const search: readonly Paper[] = [
  {
    id: 'tanglenas',
    title: 'Weight-Entanglement Meets Gradient-Based Neural Architecture Search',
    date: '2023-12-16',
    authors: 4,
    arxiv: '2312.10440',
    code: 'https://github.com/automl/TangleNAS',
    family: 'search',
    summary:
      'In an entangled supernet small candidates are slices of the largest one. Instead of sampling candidates and evolving afterwards, every choice gets an architecture parameter, the slices are padded with zeros and superimposed with its weights, and one forward pass over the sum trains network and architecture together by gradient. Width, heads, ratio, depth and kernel size fall out of a single run in the memory of the largest network.',
    claims: [
      {
        quantity: 'better architectures and any-time performance',
        baseline: 'SPOS with evolution or random search',
        condition: 'weight-entangled spaces: NB201, DARTS, AutoFormer, MobileNetV3, GPT',
      },
    ],
    terms: ['NAS', 'DARTS', 'DrNAS', 'supernet', 'AutoFormer', 'OFA', 'differentiable search', 'one-shot'],
  },
  {
    id: 'mixture-of-supernets',
    title:
      'Mixture-of-Supernets: Improving Weight-Sharing Supernet Training with Architecture-Routed Mixture-of-Experts',
    date: '2023-06-07',
    authors: 13,
    arxiv: '2306.04845',
    code: 'https://github.com/UBC-NLP/MoS',
    family: 'search',
    summary:
      'Sliced subnetworks of one supernet disagree about shared weights. Here each layer keeps a few expert copies, and a small router that reads a description of the architecture blends them, per layer or per neuron, before slicing. Subnetworks come closer to what they would reach alone; an extracted one has ordinary weights and needs little retraining.',
    claims: [
      { quantity: 'better trade-off of latency and BLEU', baseline: 'HAT', condition: 'machine translation' },
      {
        quantity: 'better models of several sizes',
        baseline: 'NAS-BERT and AutoDistil',
        condition: 'task-agnostic BERT',
      },
    ],
    terms: [
      'NAS',
      'supernet',
      'mixture of experts',
      'weight sharing',
      'HAT',
      'SuperShaper',
      'hypernetwork',
      'translation',
    ],
  },
  {
    id: 'gm-nas',
    title: 'Generalizing Few-Shot NAS with Gradient Matching',
    date: '2022-03-28',
    authors: 6,
    arxiv: '2203.15207',
    code: 'https://github.com/skhu101/GM-NAS',
    family: 'search',
    summary:
      'One supernet ranks badly because operations that want different things share weights; one supernet a choice is too dear. The gradients that two operations of an edge cause in the shared weights tell whether they agree: edges with the strongest disagreement are cut, operations are grouped by a minimum cut, and the supernet is split into a handful.',
    claims: [
      {
        quantity: 'CIFAR-10 top-1',
        value: 97.65,
        unit: 'accuracy',
        condition: 'released model, GM with DARTS (1st)',
      },
      {
        quantity: 'better than few-shot counterparts',
        baseline: 'few-shot NAS',
        condition: 'NB201, DARTS and MobileNet spaces',
      },
    ],
    terms: [
      'NAS',
      'few-shot NAS',
      'supernet',
      'gradient similarity',
      'DARTS',
      'splitting',
      'graph partition',
    ],
  },
  {
    id: 'variant',
    title: 'Progressive Supernet Training for Efficient Visual Autoregressive Modeling',
    date: '2025-11-20',
    authors: 8,
    arxiv: '2511.16546',
    code: 'https://github.com/Nola-chen/VARiant',
    family: 'search',
    summary:
      'A visual autoregressive model predicts an image scale by scale, and its last scales cost most but need least. They may run through an evenly spaced subset of the layers while the first scales keep them all, within one set of weights. Training raises the share of shortened passes step by step, so that full and short paths both stay good; the number of layers is chosen when the model is used, and cache and latency fall with it.',
    claims: [
      {
        quantity: 'FID with 16 of 30 layers',
        value: 2.05,
        unit: 'FID',
        baseline: 'full model 1.95',
        condition: 'ImageNet 256',
      },
      {
        quantity: 'speed with 2 layers',
        value: 3.5,
        unit: 'times',
        baseline: 'full model',
        condition: 'FID 2.97',
      },
      { quantity: 'less memory with 2 layers', value: 80, unit: 'percent', baseline: 'full model' },
    ],
    terms: [
      'VAR',
      'image generation',
      'next-scale prediction',
      'elastic depth',
      'layer dropping',
      'KV cache',
      'once-for-all',
    ],
  },
  {
    id: 'autodistil',
    title:
      'AutoDistil: Few-shot Task-agnostic Neural Architecture Search for Distilling Large Language Models',
    date: '2022-01-29',
    authors: 8,
    arxiv: '2201.12507',
    code: 'https://github.com/microsoft/autodistil',
    family: 'search',
    summary:
      'The space of students is cut into three compact size classes, and for each a weight-sharing student is distilled from one teacher on unlabelled text by imitating the relations inside its last attention layer. For any later budget the best student is read off by that same loss and fine-tuned on a task of choice, with no distillation of its own.',
    claims: [
      {
        quantity: 'less computation',
        value: 2.7,
        unit: 'times',
        baseline: 'leading compression methods',
        condition: 'at most; GLUE, negligible loss',
      },
    ],
    terms: [
      'knowledge distillation',
      'NAS',
      'BERT',
      'MiniLM',
      'TinyBERT',
      'supernet',
      'student',
      'compression',
    ],
  },
  {
    id: 'pa-da',
    title: 'PA&DA: Jointly Sampling PAth and DAta for Consistent NAS',
    date: '2023-02-28',
    authors: 7,
    arxiv: '2302.14772',
    code: 'https://github.com/ShunLu91/PA-DA',
    family: 'search',
    summary:
      'Uniform sampling makes the gradients of a one-shot supernet noisy. Paths are drawn in proportion to the gradient norm of their operations and training examples in proportion to theirs, both smoothed and updated once an epoch from numbers at hand. Lower variance gives a supernet whose ranking of architectures is closer to that of networks trained alone.',
    claims: [
      {
        quantity: 'lower gradient variance and more reliable ranking',
        baseline: 'SPOS, FairNAS, SUMNAS',
        condition: 'NB201 and others, negligible cost',
      },
    ],
    terms: ['NAS', 'importance sampling', 'supernet', 'Kendall tau', 'SPOS', 'gradient variance', 'one-shot'],
  },
]
