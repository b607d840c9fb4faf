/** @file Planned papers of the family curate. */
import type { Paper } from '../../papers/card.js'

export const curate: readonly Paper[] = [
  {
    id: 'data-filtering',
    title: 'Scaling Laws for Data Filtering -- Data Curation cannot be Compute Agnostic',
    date: '2024-04-10',
    authors: 5,
    arxiv: '2404.07177',
    code: 'https://github.com/locuslab/scaling_laws_data_filtering',
    family: 'curate',
    summary:
      'Filtering web data hard leaves good samples that are seen again and again; filtering little leaves fresh but poor ones. Each bucket of a ranked pool gets a utility and a half-life with which the utility decays on repetition, both fitted on that bucket alone. From them the error of any union of buckets at any compute follows, and with it how much of the pool to keep.',
    claims: [
      {
        quantity: 'the best share to keep depends on compute',
        condition: 'DataComp, 32M to 640M samples seen',
      },
      {
        quantity: 'laws fitted bucket by bucket rank their unions rightly',
        condition: 'DataComp medium',
      },
    ],
    terms: [
      'scaling law',
      'data curation',
      'repetition',
      'quality',
      'DataComp',
      'LAION',
      'CLIP',
      'pretraining corpus',
    ],
  },
  {
    id: 'projektor',
    title:
      'Performance Scaling via Optimal Transport: Enabling Data Selection from Partially Revealed Sources',
    date: '2023-07-05',
    authors: 4,
    arxiv: '2307.02460',
    family: 'curate',
    summary:
      'A buyer sees a small sample of each of several data sources. Pilot models on mixtures of these samples and the optimal-transport distance of each mixture to a validation set give a predictor of accuracy for every mixture; a projection carries it to sizes far beyond what was shown, without another fit. Ascending the prediction yields the mixture to acquire.',
    claims: [
      {
        quantity: 'lower error of prediction and cheaper to build',
        baseline: 'earlier performance scaling laws',
        condition: 'MNIST, CIFAR, ImageNet mixtures',
      },
      {
        quantity: 'parameters fitted for larger sizes',
        value: 0,
        unit: 'parameters',
        condition: 'second stage',
      },
    ],
    terms: [
      'data market',
      'data valuation',
      'optimal transport',
      'Wasserstein',
      'data mixture',
      'scaling law',
      'data selection',
    ],
  },
  {
    id: 'sft-pft-budget',
    title:
      'Balancing the Budget: Understanding Trade-offs Between Supervised and Preference-Based Finetuning',
    date: '2025-02-16',
    authors: 3,
    arxiv: '2502.11284',
    family: 'curate',
    summary:
      'A fixed annotation budget can buy demonstrations for supervised tuning or preference pairs for alignment. Over tasks, model sizes and budgets the paper maps which split does best: with little data all of it belongs in demonstrations; with more, the share of preferences grows; and preferences straight on the base model suffer from a cold start that a small supervised share cures.',
    claims: [
      {
        quantity: 'examples below which supervised tuning alone is best',
        value: 1000,
        unit: 'examples',
        condition: 'base model',
      },
      {
        quantity: 'gain from a supervised share below 10 %',
        value: 15,
        unit: 'percent',
        baseline: 'preference tuning alone',
        condition: 'GSM8K-like tests, 15 to 20',
      },
    ],
    terms: [
      'RLHF',
      'DPO',
      'SFT',
      'annotation cost',
      'labelling',
      'human feedback',
      'alignment',
      'data budget',
      'cold start',
    ],
  },
  {
    id: 'simcore',
    title: 'Coreset Sampling from Open-Set for Fine-Grained Self-Supervised Learning',
    date: '2023-03-20',
    authors: 3,
    arxiv: '2303.11101',
    code: 'https://github.com/sungnyun/openssl-simcore',
    family: 'curate',
    summary:
      'There is a small unlabelled set of the domain of interest and a huge, mostly unrelated pool. An encoder trained on the small set embeds both; rounds of nearest neighbours pick from the pool what lies close, and a stopping rule ends it when further picks are too far. Self-supervised pretraining on the union then does better than on either alone.',
    claims: [
      {
        quantity: 'linear accuracy',
        value: 10.5,
        unit: 'points',
        baseline: 'pretraining on the target alone',
        condition: 'average of eleven fine-grained sets',
      },
      { quantity: 'holds for seven pools, detection, segmentation and semi-supervised tasks' },
    ],
    terms: [
      'coreset',
      'data selection',
      'self-supervised',
      'contrastive',
      'SimCLR',
      'open-set',
      'nearest neighbour',
      'fine-grained',
    ],
  },
]
