/** @file The card of DeepWeightFlow. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'deepweightflow',
  title: 'DeepWeightFlow: Re-Basined Flow Matching for Generating Neural Network Weights',
  date: '2026-01-08',
  authors: 6,
  arxiv: '2601.05052',
  code: 'https://github.com/NNeuralDynamics/DeepWeightFlow',
  family: 'merge',
  guide: {
    choose: 'When very many small models of one kind are wanted, and a zoo of trained ones is at hand.',
    avoid:
      'For one better model (take a soup), and for large models: the zoo and the flow grow with the weights.',
    costs: "Training a flow on the zoo's weights; then a sample costs a few steps of a small network.",
  },
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
}
